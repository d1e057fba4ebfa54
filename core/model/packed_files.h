// How bitsandbytes' packed weights lie in files (docs/quantization.md): the codes under the weight's own name, and beside
// them, under longer names, what they are unpacked with.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/checkpoint/model_folder.h"
#include "core/model/packed.h"

namespace t2i {

// Of a tensor that a model takes for floating-point numbers: does it hold codes?
bool is_packed(const TensorEntry& weight);
// By its type: uint8 are halves, int8 are whole.
PackedWeight::Form form_of(const TensorEntry& weight);

// What lies beside the codes, as far as it is there.
std::vector<const TensorEntry*> beside(const WeightSet& weights, const TensorEntry& weight);

struct PackedProblems {
  std::vector<std::string> missing;  // names of tensors
  std::vector<std::string> wrong;    // "NAME is packed as fp4"
};
// A copy of the weight; nothing where there were problems, which are added.
std::optional<PackedWeight> read_packed(const WeightSet& weights, const TensorEntry& weight, PackedProblems& problems);
// E7151 (tensors are missing) and E7152 (another form), of all of them.
std::vector<Error> packed_errors(const PackedProblems& problems, const std::string& where);

// The tensors that a weight becomes, under `name`. It is packed when they are written, twice (what is unpacked with comes
// before the codes in the file, and to keep all codes until then would take the model's size). `dtype`: rounded to that first.
std::vector<TensorSource> packing_sources(const std::string& name, const TensorEntry& entry, const WeightSet& weights, PackedWeight::Form form,
                                          std::optional<at::ScalarType> dtype);
// The tensors of a packed weight as they are, under `name`.
std::vector<TensorSource> packed_sources(const std::string& name, const TensorEntry& weight, const WeightSet& weights);
// The weight as numbers of `dtype`, else of the type that it was packed from. Failure E7151, E7152.
TensorSource unpacking_source(const std::string& name, const TensorEntry& weight, const WeightSet& weights, std::optional<at::ScalarType> dtype,
                              const std::string& where);

// "quantization_config" of config.json. `skipped`: modules that are not packed although they could be.
Json quantization_config(PackedWeight::Form form, at::ScalarType compute, const std::vector<std::string>& skipped);

}  // namespace t2i
