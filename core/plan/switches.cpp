#include "core/plan/switches.h"

#include <fmt/format.h>

#include "core/config/knob.h"

namespace t2i {
namespace {

// The configuration with these settings; nothing where this build does not know one, or nothing would change.
std::optional<Config> with(const Config& config, const std::vector<Setting>& settings) {
  for (const Setting& s : settings)
    if (!find_knob(s.key)) return std::nullopt;
  try {
    Config changed = load_config_text(write_config(config), "plan", settings);
    changed.positions = config.positions;
    if (config_hash(changed) == config_hash(config) || !nothing_to_swap(changed).empty()) return std::nullopt;
    return changed;
  } catch (const Failure&) {
    return std::nullopt;  // a value of another build, or one that does not go with the rest
  }
}

struct Row {
  const char* text;
  std::vector<Setting> settings;
  bool gpu_alone = false;
};

// A line each. New ways to save memory are added here.
std::vector<Row> table() {
  return {
      {"train.gradient_checkpointing: true",
       {{"train.gradient_checkpointing", "true", ""}, {"train.checkpoint_every_n_blocks", "1", ""}, {"train.activation_memory_gb", "null", ""}}},
      {"train.offload_activations: true", {{"train.gradient_checkpointing", "true", ""}, {"train.offload_activations", "true", ""}}},
      {"train.blocks_to_swap: 10", {{"train.blocks_to_swap", "10", ""}}, true},
      {"train.blocks_to_swap: 20", {{"train.blocks_to_swap", "20", ""}}, true},
      {"train.blocks_to_swap: 1000 (every block)", {{"train.blocks_to_swap", "1000", ""}}, true},
      {"optimizer.fused_backward: true", {{"optimizer.fused_backward", "true", ""}}},
      {"optimizer: adamw8bit", {{"optimizer.name", "adamw8bit", ""}}},
      {"train.use_ema: false", {{"train.use_ema", "false", ""}}},
      {"model.dtype: bfloat16", {{"model.dtype", "bfloat16", ""}}},
      {"train.text_encoders: []",
       {{"train.text_encoders", "[]", ""}, {"optimizer.text_encoder_lr", "null", ""}, {"optimizer.text_encoder_2_lr", "null", ""},
        {"optimizer.text_encoder_3_lr", "null", ""}}},
      {"lora.rank: 16", {{"lora.rank", "16", ""}}},
      {"model.quantization: nf4", {{"model.quantization", "nf4", ""}}},
      {"train.parameters: [attention]", {{"train.parameters", "[attention]", ""}}},
  };
}

}  // namespace

std::vector<Switch> memory_switches(const Config& config, bool gpu) {
  std::vector<Switch> switches;
  auto add = [&](const std::string& text, const std::vector<Setting>& settings) {
    if (auto changed = with(config, settings)) switches.push_back({text, std::move(*changed)});
  };
  const std::vector<Row> rows = table();
  add(rows[0].text, rows[0].settings);
  // The same samples a step, fewer at once.
  const int64_t n = config.train.train_batch_size, micro = config.train.gradient_accumulation_steps;
  for (int64_t part = 2; part <= n; part *= 2)
    if (n % part == 0)
      add(fmt::format("train.train_batch_size: {} with train.gradient_accumulation_steps: {}", n / part, micro * part),
          {{"train.train_batch_size", std::to_string(n / part), ""}, {"train.gradient_accumulation_steps", std::to_string(micro * part), ""}});
  for (size_t i = 1; i < rows.size(); ++i)
    if (gpu || !rows[i].gpu_alone) add(rows[i].text, rows[i].settings);
  return switches;
}

}  // namespace t2i
