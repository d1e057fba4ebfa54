#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "apps/t2i/options.h"
#include "core/commands.h"

namespace t2i {
namespace {

constexpr int64_t largest = std::numeric_limits<int64_t>::max();
const Texts model_keys = {"model.base",           "model.vae",     "model.text_encoder", "model.text_encoder_2",
                          "model.text_encoder_3", "model.variant", "model.quantization", "model.text_encoder_quantization"};  // the others are of training

void parse_size(Options& options, GenerateOptions& out) {
  if (!options.has("size")) return;
  std::string text = options.text("size");
  const char* last = text.data() + text.size();
  auto [middle, first_error] = std::from_chars(text.data(), last, out.width);
  bool sound = first_error == std::errc() && middle != last && *middle == 'x';
  if (sound) {
    auto [end, error] = std::from_chars(middle + 1, last, out.height);
    sound = error == std::errc() && end == last;
  }
  if (!sound || out.width < 8 || out.height < 8 || out.width > 65536 || out.height > 65536)
    options.problem("--size", fmt::format("{} is not a width and a height in pixels", text), "write --size 768x512");
}

}  // namespace

int generate_command(const Command& self, const std::vector<std::string>& arguments) {
  Options options(self);
  options.add("model", "DIR", "a model folder, org/name in the local hub cache, or a single file with --set model.base=FOLDER")
      .add("plugin", "F", "the model family's plugin (else as the model folder says)")
      .add_list("lora", "FILE[:SCALE]", "add this adapter, a file or a run's final/, with this weight (1); may be repeated")
      .add("task", "T", "what the model follows")
      .add_words("image", "FILE", "input images, one per prompt or one for all, where the task reads one")
      .add_words("prompt", "TEXT", "what to draw; may be repeated")
      .add("prompts", "FILE", "one prompt a line")
      .add("negative", "TEXT", "what to steer away from")
      .add("steps", "N", "sampling steps; left out, as many as the family usually takes")
      .add("guidance", "G", "how strongly the prompt guides; 1 is no guidance")
      .add("image-guidance", "G", "how strongly the input image guides")
      .add("sampler", "S",
           "ddim, ddpm, pndm, euler, euler_a, dpm++2m, dpm++2m_karras, flow_euler; else the model folder's own", known_samplers())
      .add("seed", "N", "the initial noise follows from it (0)")
      .add("size", "WxH", "pixels; else what the model was made for")
      .add("count", "N", "images per prompt (1)")
      .add("batch", "N", "images drawn at once (1)")
      .add("format", "F", "simple: PNG files; coco: numbered files with their annotations (simple)", {"simple", "coco"})
      .add("output", "PATH", "a .png for one image, else a folder")
      .add("latents", "IN.safetensors", "begin from this noise")
      .add("save-latents", "OUT.safetensors", "also write the latents of the results")
      .add("resume", "", "leave pictures that are there and were drawn with the same prompt, seed and settings")
      .add("dtype", "D", "float32, bfloat16 or float16 (float32)", {"float32", "bfloat16", "float16"})
      .add("device", "D", "auto, cpu or cuda (auto)", {"auto", "cpu", "cuda"})
      .add_list("set", "KEY=VALUE",
                "an option of the family or of the task, as plugin.clip_skip=1, or model.base, model.vae, "
                "model.text_encoder, …_2, …_3, model.variant, model.quantization, model.text_encoder_quantization; may be repeated")
      .add_list("plugin-path", "PATH", "a plugin library, or a folder of them, besides the built-in ones");
  if (!options.parse(arguments)) return 0;

  GenerateOptions out;
  options.require("model");
  options.require("output");
  if (options.has("prompt") == options.has("prompts"))
    options.problem("t2i generate",
                    options.has("prompt") ? "--prompt and --prompts exclude each other" : "there is no prompt",
                    "give --prompt TEXT or --prompts FILE", "E1023");
  out.loras = options.loras();
  out.images = options.texts("image");
  out.prompts = options.texts("prompt");
  out.prompts_file = options.text("prompts");
  if (out.images.size() > 1 && !out.prompts.empty() && out.images.size() != out.prompts.size())
    options.problem("--image", fmt::format("there are {} images and {} prompts", out.images.size(), out.prompts.size()),
                    "give one image per prompt, or one for all");
  out.negative = options.text("negative");
  out.steps = options.integer("steps", 1, 10000);
  out.guidance = options.number("guidance", 0, 1000);
  out.image_guidance = options.number("image-guidance", 0, 1000);
  out.sampler = options.choice("sampler", known_samplers(), "");
  out.seed = options.integer("seed", 0, largest).value_or(0);
  parse_size(options, out);
  out.count = options.integer("count", 1, 1000000).value_or(1);
  out.batch = options.integer("batch", 1, 65536).value_or(1);
  out.format = options.choice("format", {"simple", "coco"}, "simple");
  out.output = options.text("output");
  out.latents = options.text("latents");
  out.save_latents = options.text("save-latents");
  out.resume = options.has("resume");
  if (out.resume && !out.save_latents.empty()) options.problem("--resume", "--save-latents needs every picture to be drawn", "leave one of them out");
  out.dtype = options.choice("dtype", {"float32", "bfloat16", "float16"}, out.dtype);
  out.device = options.choice("device", {"auto", "cpu", "cuda"}, out.device);
  out.plugin_paths = options.texts("plugin-path");
  std::vector<Setting> settings = options.settings({{"plugin", "plugin"}, {"task", "task"}});
  for (const Setting& s : settings)
    if (!s.key.starts_with("plugin") && !s.key.starts_with("task") && std::ranges::count(model_keys, s.key) == 0)
      options.problem(s.origin, "is no setting of generate",
                      fmt::format("keys that begin with plugin. or task. are, and {}", fmt::join(model_keys, ", ")),
                      "E1023");
  options.finish();
  Config asked = load_config(std::nullopt, settings);
  out.plugin = asked.plugin, out.task = asked.task, out.model = asked.model;
  out.model.path = options.text("model");
  return call_engine("generate", &out);
}

}  // namespace t2i
