// Weights from files into a part's buffers, straight from the memory map, converted to the buffers' dtype on the way.
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/checkpoint/model_folder.h"
#include "core/model/packed.h"
#include "core/model/params.h"

namespace t2i {

struct LoadRules {
  std::string where;            // "weights/sd/unet", for messages
  std::string optional_prefix;  // names in the file may carry or lack it ("text_model.")
  std::vector<std::pair<std::string, std::string>> aliases;  // a piece of a name → what older files have instead (".to_q." → ".query.")
  std::vector<std::string> ignored;                          // tensors that files may hold beside the parameters
  std::string todo_about_shapes = "use the config.json that belongs to these weights";
  std::vector<std::string> added;  // parameters whose names begin so are new: initialised where the weights lack them
  uint64_t seed = 0;               // of what is initialised
  std::vector<std::string> not_packed;  // patterns (* is any text) of what stays as it is
  std::optional<PackedWeight::Form> packing{};  // of the parameters without a place whose tensors are not packed yet
  std::string widened;          // this convolution may have fewer input channels in the file: the new ones start at zero
};

// The tensor that holds a parameter, under its name or one that the rules allow; null where there is none.
const TensorEntry* find_tensor(const WeightSet& weights, const std::string& parameter, const LoadRules& rules);

// Fills every parameter; one without a place gets Parameter::packed, tensor by tensor as the file is read, so that no more
// than one of them is ever there unpacked. Packed tensors of parameters with a place are unpacked into it. Returns notices
// (tensors in the file that the model does not have, parameters that are new). Failure with every missing name and wrong
// shape at once (E2102, E2103, E7151, E7152), and E2104 where new ones are not trained: what they begin as is random.
std::vector<std::string> load_weights(ParamStore& store, const WeightSet& weights, const LoadRules& rules);

// The element type of a stored tensor as torch names it; throws c10::Error for what torch cannot hold.
at::ScalarType scalar_type(Dtype dtype);
Dtype stored_dtype(at::ScalarType type);

// A view of a stored tensor's bytes, valid while its file is open. Never write to it.
at::Tensor stored_tensor(const TensorEntry& entry);
// A tensor's bytes as the writer takes them; the tensor must be contiguous, on the CPU, and outlive the write.
TensorSource tensor_source(const std::string& name, const at::Tensor& tensor);

}  // namespace t2i
