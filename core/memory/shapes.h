// What operations of a CPU would allocate that LibTorch has no shapes for (its own are in Python), by name.
#pragma once
#include <ATen/core/ivalue.h>

#include <string>
#include <vector>

namespace t2i {

// Gives the results of an operation for its arguments: tensors without contents.
using Shapes = std::vector<c10::IValue> (*)(c10::ArrayRef<c10::IValue> arguments);

// Null where there is none.
Shapes shapes_of(const std::string& operation);

}  // namespace t2i
