// Which weights of a part are packed, by the configuration, by what the family says of the part (describe():
// "not_quantized"), and by what the folder holds already.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/model/packed_files.h"
#include "core/session.h"

namespace t2i {

// What is asked for a part: model.quantization for the denoiser, model.text_encoder_quantization for a text encoder.
std::string quantization_of(const Session& session, const ModelConfig& model, const std::string& part);

// May this weight be packed? Two dimensions or more, and not among rules.not_packed.
bool may_be_packed(const LoadRules& rules, const std::string& name, const std::vector<int64_t>& shape);

// Sets rules.packing; tells ParamStore::allocate which parameters are packed: those that the folder holds so, and where
// `asked` is a form all others that may be. Failure E7153 where the folder holds another form than is asked for.
std::function<bool(const Parameter&)> packing_of(const WeightSet& weights, LoadRules& rules, const std::string& asked, const std::string& key);

// Are any of them packed?
bool holds_packed(const WeightSet& weights);

// The tensors of a part's folder, and in `config` what they are packed as. `asked`: "" leaves packed what is packed,
// "none" unpacks it, a form packs the matrices among the parameters (bitsandbytes knows linear layers alone). `dtype` as in
// core/model/tensor_source.h; of what stays packed it changes nothing but the rest.
std::vector<TensorSource> sources_in_form(const Session& session, const ModelPart& part, const WeightSet& weights, const std::string& asked,
                                          std::optional<at::ScalarType> dtype, Json& config);

// Those of a part of which some parameters were trained and others are not held as exactly as the folder has them: `trained`
// as they are now, the rest as the folder has it, each under its parameter's name and in its parameter's shape.
std::vector<TensorSource> sources_beside_trained(const Session& session, const ParamStore& store, const WeightSet& weights,
                                                 const std::function<TensorSource(const Parameter&)>& trained, Json& config);

// "packed as nf4: transformer (6.7 GB)"; empty where no loaded part has packed weights.
std::string packed_text(const Session& session);

}  // namespace t2i
