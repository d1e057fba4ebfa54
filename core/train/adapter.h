// The adapter that a run trains: its factors are parameters of the denoiser's store like any others, so that the
// optimizer, the average, reductions and checkpoints know nothing of it.
#pragma once
#include <string>
#include <vector>

#include "core/config/config.h"
#include "core/model/adapter_load.h"
#include "core/session.h"

namespace t2i {

// A weight that is adapted, of the denoiser or of a text encoder.
struct AdaptedWeight {
  std::string part, name;
  std::vector<int64_t> shape;
};

// The weights of linear and convolution layers that lora.targets means, in the denoiser's order, none where that is frozen,
// then those of lora.text_encoders. E7100 for a name or pattern that means none, E7101 where the rank is above the width of a layer; of
// "all" such layers are left out, and told of.
std::vector<AdaptedWeight> adapter_targets(Session& session, const Config& config, const ParamStore& denoiser);

// Before the denoiser's store is allocated: the factors' places in it, "LAYER.lora_A.weight" and "LAYER.lora_B.weight", of DoRA
// "LAYER.lora_magnitude_vector" too; behind a text encoder's name for its layers, so that all are in one flat buffer.
void declare_adapter(ParamStore& denoiser, const Config& config, const std::vector<AdaptedWeight>& targets);

// After the weights are loaded: the factors as peft begins them (A uniform in ±1/sqrt(inputs), B zero, magnitudes as long as
// the weight's rows), or those of lora.init_from, and the adapters beside their weights. E7114 where that has other
// layers or another rank. The text encoders among the targets must be loaded.
void begin_adapter(Session& session, const Config& config, ParamStore& denoiser, const std::vector<AdaptedWeight>& targets);

// alpha / rank, or what rsLoRA has in its place.
double adapter_scale(const LoraConfig& lora);

// The adapter as it is in `flat` (the weights, or their average), in float32 in host memory. `part` is what the weights'
// names are those of; the result points into it.
std::vector<LayerAdapter> trained_layers(const ParamStore& denoiser, const at::Tensor& flat, const LoraConfig& lora, const AdapterPart& part);

// "LoRA: rank 16, alpha 8, beside 32 layers of unet", for the log; empty where there is none.
std::string adapter_summary(const Session& session, const LoraConfig& lora);

}  // namespace t2i
