// Stored tensors on their way into another file: converted, and where a file's form asks for it put together. They go a piece at
// a time (stored_pieces.h), so that writing a model takes a few megabytes; those that are edited or transposed go whole.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/checkpoint/file_names.h"
#include "core/checkpoint/model_folder.h"

namespace t2i {

// Changes on the way, by the entry that is changed: its values in float32, to what is to be written of the same shape.
using TensorEdits = std::map<const TensorEntry*, std::function<at::Tensor(const at::Tensor&)>>;

// `weights` and `edits` must outlive the write. `dtype`: of floating-point tensors; nothing keeps what they are. `no_float8`: they
// become bfloat16, which holds every value of theirs, because readers of folders take them for nothing else.
TensorSource converted_source(const std::string& name, const TensorEntry& entry, const WeightSet& weights,
                              std::optional<at::ScalarType> dtype, bool no_float8, const TensorEdits* edits = nullptr);

// The entries one behind another by rows, then changed as a file's form has it.
TensorSource joined_source(const std::string& name, const std::vector<const TensorEntry*>& entries, FileRow::Change change,
                           const WeightSet& weights, std::optional<at::ScalarType> dtype, const TensorEdits* edits = nullptr);

// Another tensor in the place of one of the set's, of the stored type of that.
void replace_tensor(WeightSet& weights, const std::string& name, const at::Tensor& value);

bool is_identity(const TensorEntry& entry);
// "float16", as configurations write it.
std::string torch_name(at::ScalarType dtype);

}  // namespace t2i
