// Linear and convolution layers over the core's parameters. On a CPU in float32 they do what ATen's do, faster: the
// gradient of a weight is added straight into its place in the flat gradient buffer (ATen makes a tensor and adds that:
// two more passes over memory as large as the model), and a convolution whose weight is larger than its picture, as in
// the lower half of a UNet, is one matrix product over unfolded patches (oneDNN rewrites the whole weight first); 3 x 3
// kernels over larger pictures go by Winograd (winograd.h).
#pragma once
#include <ATen/core/Tensor.h>

namespace t2i {

// Left out: zeros stand for the result, and gradients pass as if it had been computed. For a block that is run again in
// backward, where nothing keeps what its last layer makes. Only where may_leave_out() says so.
enum class Values { made, left_out };
bool may_leave_out(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias);

// x [..., in], weight [out, in], bias [out] or undefined -> [..., out].
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias, Values values = Values::made);

// x [B,C,H,W], weight [O,C/groups,kh,kw], bias [O] or undefined -> [B,O,H',W'].
at::Tensor conv2d(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias, int64_t stride,
                  int64_t padding, int64_t dilation, int64_t groups, Values values = Values::made);

// True when gradients of `weight` may be added to gradient_place() in place: a trained leaf in float32 on the CPU.
bool adds_in_place(const at::Tensor& weight);

// weight.grad(), zeros where there is none yet.
at::Tensor gradient_place(const at::Tensor& weight);

// For its lifetime a trained leaf may be without a gradient and gets one when backward has something to add.
class GradientsOnDemand {
 public:
  GradientsOnDemand();
  ~GradientsOnDemand();
  GradientsOnDemand(const GradientsOnDemand&) = delete;
};

// True when a product with x is done in float32.
bool in_float32(const at::Tensor& x);

}  // namespace t2i
