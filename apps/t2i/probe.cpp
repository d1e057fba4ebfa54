#include <fmt/format.h>

#include <algorithm>

#include "apps/t2i/options.h"
#include "core/commands.h"

namespace t2i {

int probe_command(const Command& self, const std::vector<std::string>& arguments) {
  Options options(self);
  options.positional("what", 1, {"tokens", "text", "encode", "decode", "forward", "step"})
      .add("model", "DIR", "a model folder, org/name in the local hub cache, or a single file with --set model.base=FOLDER")
      .add("plugin", "F", "the model family's plugin (else as the model folder says)")
      .add("task", "T", "what the model follows")
      .add("loss", "L", "the training objective, for step")
      .add_list("set", "KEY=VALUE", "set any key of the configuration, as loss.gamma=5; may be repeated")
      .add("dtype", "D", "float32, bfloat16 or float16 (float32)", {"float32", "bfloat16", "float16"})
      .add("device", "D", "auto, cpu or cuda (cpu)", {"auto", "cpu", "cuda"})
      .add("inputs", "IN.safetensors", "the tensors to read")
      .add_words("prompt", "TEXT", "for tokens and text; may be repeated")
      .add("grads", "", "step also writes grad.NAME for every trainable parameter")
      .add("outputs", "OUT.safetensors", "the tensors to write")
      .add_list("plugin-path", "PATH", "a plugin library, or a folder of them, besides the built-in ones");
  const char* pieces =
      "\nWHAT      reads → writes\n"
      "tokens    prompts → tokens, tokens_2, … (one per tokenizer of the folder)\n"
      "text      prompts → prompt_embeds, pooled\n"
      "encode    pixels → mean, logvar, latents\n"
      "decode    latents → pixels\n"
      "forward   latents, timesteps, prompt_embeds, … → prediction\n"
      "step      latents, noise, timesteps, prompt_embeds, … → noisy, target, prediction, loss, loss_per_sample\n";
  if (!options.parse(arguments, pieces)) return 0;

  const Texts known = {"tokens", "text", "encode", "decode", "forward", "step"};
  ProbeOptions out;
  Texts what = options.texts("what");
  if (what.empty()) {
    options.problem("t2i probe", "WHAT is missing", fmt::format("one of {}", fmt::join(known, ", ")), "E1023");
  } else if (out.what = what[0]; std::find(known.begin(), known.end(), out.what) == known.end()) {
    auto near = nearest(out.what, known);
    options.problem("t2i probe", fmt::format("'{}' is no piece to probe", out.what),
                    near ? fmt::format("did you mean {}?", *near) : fmt::format("one of {}", fmt::join(known, ", ")));
  }
  options.require("model");
  options.require("outputs");
  bool reads_prompts = out.what == "tokens" || out.what == "text";
  if (reads_prompts) options.require("prompt");
  else if (!out.what.empty()) options.require("inputs");
  out.inputs = options.text("inputs");
  out.outputs = options.text("outputs");
  out.prompts = options.texts("prompt");
  out.dtype = options.choice("dtype", {"float32", "bfloat16", "float16"}, out.dtype);
  out.device = options.choice("device", {"auto", "cpu", "cuda"}, out.device);
  out.grads = options.has("grads");
  if (out.grads && out.what != "step") options.problem("--grads", "only step has gradients", "leave it out");
  out.plugin_paths = options.texts("plugin-path");
  std::vector<Setting> settings =
      options.settings({{"model", "model.path"}, {"plugin", "plugin"}, {"task", "task"}, {"loss", "loss"}});
  options.finish();
  out.config = load_config(std::nullopt, settings);
  return call_engine("probe", &out);
}

}  // namespace t2i
