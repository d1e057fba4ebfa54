// Scalars measured during a step, kept as tensors on their device and read late, in one transfer, at a logging step.
#pragma once
#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace t2i {

// Adds a scalar to this process's running step; the mean of everything put under one name is what will be read.
void meter_put(const std::string& name, const at::Tensor& scalar);
// Means since the last read. Waits for the device: call it at logging steps only.
std::map<std::string, double> meter_read();
void meter_clear();

}  // namespace t2i
