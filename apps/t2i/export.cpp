#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "apps/t2i/options.h"
#include "core/commands.h"

namespace t2i {

int export_command(const Command& self, const std::vector<std::string>& arguments) {
  Options options(self);
  options.add("model", "PATH", "a model folder, org/name in the local hub cache, or a single file with --set model.base=FOLDER")
      .add("output", "PATH", "what to write: a .safetensors file, else a folder; nothing is overwritten")
      .add("format", "F", "diffusers or single-file (as --output's name says)", {"diffusers", "single-file"})
      .add("dtype", "D", "float32, bfloat16 or float16 (each tensor as it is stored)", {"float32", "bfloat16", "float16"})
      .add_list("lora", "FILE[:SCALE]", "merge this adapter, a file or a run's final/, into the weights; may be repeated")
      .add("quantization", "Q", "nf4 or int8: pack the denoiser's linear layers as bitsandbytes does; none: unpack them (as they are)", {"none", "nf4", "int8"})
      .add("text-encoder-quantization", "Q", "the same of the text encoders", {"none", "nf4", "int8"})
      .add("task", "T", "the task whose pipeline a folder's model_index.json names (else the one it came with)")
      .add("plugin", "F", "the model family's plugin (else as the model folder says)")
      .add_list("set", "KEY=VALUE", "model.base, model.vae, model.text_encoder, …_2, …_3 or model.variant; may be repeated")
      .add_list("plugin-path", "PATH", "a plugin library, or a folder of them, besides the built-in ones");
  if (!options.parse(arguments)) return 0;

  ExportOptions out;
  options.require("model");
  options.require("output");
  out.output = options.text("output");
  while (out.output.size() > 1 && out.output.ends_with('/')) out.output.pop_back();
  out.format = options.choice("format", {"diffusers", "single-file"}, out.output.ends_with(".safetensors") ? "single-file" : "diffusers");
  if (options.has("dtype")) out.dtype = options.choice("dtype", {"float32", "bfloat16", "float16"}, "float32");
  out.quantization = options.choice("quantization", {"none", "nf4", "int8"}, "");
  out.text_encoder_quantization = options.choice("text-encoder-quantization", {"none", "nf4", "int8"}, "");
  for (const char* name : {"quantization", "text-encoder-quantization"})
    if (options.has(name) && out.format == "single-file") options.problem(fmt::format("--{}", name), "a single file has no packed weights", "leave it out, or export a folder");
  out.task = options.text("task");
  if (!out.task.empty() && out.format == "single-file") options.problem("--task", "a single file names no pipeline", "leave it out");
  out.loras = options.loras();
  out.plugin_paths = options.texts("plugin-path");
  std::vector<Setting> settings = options.settings({{"plugin", "plugin"}});
  const Texts keys = {"model.base", "model.vae", "model.text_encoder", "model.text_encoder_2", "model.text_encoder_3", "model.variant"};
  for (const Setting& s : settings)
    if (!s.key.starts_with("plugin") && std::ranges::count(keys, s.key) == 0)
      options.problem(s.origin, "is no setting of export", fmt::format("one of {}", fmt::join(keys, ", ")), "E1023");
  options.finish();
  Config asked = load_config(std::nullopt, settings);
  out.plugin = asked.plugin, out.model = asked.model;
  out.model.path = options.text("model");
  return call_engine("export", &out);
}

}  // namespace t2i
