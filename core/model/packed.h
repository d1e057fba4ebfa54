// A frozen weight in fewer bits than a float, as bitsandbytes has it: NF4 with scales packed twice (core/kernel/nf4.h), or
// eight bits with a scale for each row (core/kernel/unpack.h). A convolution's weight is packed as the matrix
// [O, C * kh * kw].
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace t2i {

struct PackedWeight {
  enum class Form { nf4, int8 };
  Form form = Form::nf4;
  std::vector<int64_t> shape;
  at::Tensor codes;         // nf4: uint8 [n / 2, rounded up]; int8: [O, n / O]
  at::Tensor scales;        // nf4: uint8, one for 64 weights, or float32 where they are packed once; int8: float32 [O]
  at::Tensor block_scales;  // nf4: float32, one for 256 scales; undefined where they are packed once
  float mean = 0;           // nf4: of the scales

  int64_t numel() const;
  uint64_t bytes() const;
  std::vector<at::Tensor> tensors() const;  // those that are defined
};

// "nf4", "int8"; nothing for "none".
std::optional<PackedWeight::Form> packed_form(const std::string& word);
const char* packed_word(PackedWeight::Form form);

// Packs a tensor of two dimensions or more, of any floating-point type, in host memory: what comes is the same whatever
// the number of threads. Takes the codes and a few megabytes, no second copy of the weight.
PackedWeight pack(const at::Tensor& weight, PackedWeight::Form form);

PackedWeight to_device(PackedWeight weight, at::Device device);

// The weight in its shape, in new memory (which the host's arena and torch's GPU allocator keep for the next).
at::Tensor unpacked(const PackedWeight& weight, at::ScalarType type);

}  // namespace t2i
