// 3 x 3 convolutions by Winograd's minimal filtering F(m x m, 3 x 3) (Lavin & Gray 2015, arXiv:1509.09308, §4.1): a
// tile of m x m outputs takes (m+2)^2 multiplications instead of 9 m^2. Stride 1, padding 1, float32 on the CPU.
//     Y = A^T [ (G g G^T) * (B^T d B) ] A      with the sum over input channels inside the brackets
// The brackets are (m+2)^2 matrix products, one for each position of a tile. Measured with 320 to 1920 channels, the
// largest error over the largest value, against float64: m = 2: 5e-7, m = 4: 7e-6; oneDNN's direct sums: 4e-6.
#pragma once
#include <ATen/core/Tensor.h>

namespace t2i {

// Ask has_wide_floats() first.

// x [B,C,H,W], weight [O,C,3,3], bias [O] or undefined -> [B,O,H,W]. All contiguous. m is 2 or 4.
at::Tensor winograd_forward(int64_t m, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias);

// Adds the weight's gradient to `grad_weight` [O,C,3,3]; returns the input's gradient [B,C,H,W] where it is wanted.
at::Tensor winograd_backward(int64_t m, const at::Tensor& g, const at::Tensor& x, const at::Tensor& weight,
                             at::Tensor grad_weight, bool wants_grad_x);

// The input's gradient alone, [B,C,H,W] as `x_sizes` say.
at::Tensor winograd_input_gradient(int64_t m, const at::Tensor& g, at::IntArrayRef x_sizes, const at::Tensor& weight);

}  // namespace t2i
