// The layers against ATen's own: values, and gradients of input, weight and bias. Tolerance 1e-5 of the largest value:
// sums of up to 10,000 products in another order.
#include "core/kernel/dense.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

namespace t2i {
namespace {

at::Tensor leaf(at::IntArrayRef shape, bool with_grad = true) {
  at::Tensor t = at::randn(shape).requires_grad_(true);
  if (with_grad) t.mutable_grad() = at::full(shape, 0.25);  // there is something already: it must be added to
  return t;
}

void expect_near(const at::Tensor& got, const at::Tensor& want, const std::string& what) {
  ASSERT_EQ(got.sizes(), want.sizes()) << what;
  double size = want.abs().max().item<double>(), off = (got - want).abs().max().item<double>();
  EXPECT_LE(off, 1e-5 * std::max(size, 1.0)) << what;
}

template <class Ours, class Theirs>
void compare(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, Ours ours, Theirs theirs,
             const std::string& what) {
  ASSERT_TRUE(adds_in_place(x, weight)) << what;
  at::Tensor x2 = x.detach().clone().requires_grad_(true), w2 = weight.detach().clone().requires_grad_(true),
             b2 = bias.detach().clone().requires_grad_(true);
  for (const at::Tensor* t : {&x2, &w2, &b2}) t->mutable_grad() = at::full(t->sizes(), 0.25);
  at::Tensor y = ours(x, weight, bias), y2 = theirs(x2, w2, b2);
  expect_near(y, y2, what + " value");
  at::Tensor g = at::randn(y.sizes());
  void* place = weight.grad().data_ptr();
  torch::autograd::backward({y}, {g});
  torch::autograd::backward({y2}, {g});
  expect_near(x.grad(), x2.grad(), what + " gradient of the input");
  expect_near(weight.grad(), w2.grad(), what + " gradient of the weight");
  expect_near(bias.grad(), b2.grad(), what + " gradient of the bias");
  EXPECT_EQ(weight.grad().data_ptr(), place) << "the gradient must stay in the flat buffer";
}

TEST(dense, linear_is_atens) {
  at::manual_seed(1);
  for (auto shape : std::vector<std::vector<int64_t>>{{7, 40}, {2, 5, 40}, {1, 3, 2, 40}}) {
    compare(
        leaf(shape), leaf({24, 40}), leaf({24}), [](auto& x, auto& w, auto& b) { return t2i::linear(x, w, b); },
        [](auto& x, auto& w, auto& b) { return at::linear(x, w, b); }, "linear");
  }
}

TEST(dense, conv2d_is_atens) {
  at::manual_seed(2);
  struct Case {
    int64_t batch, in, out, side, kernel, stride, padding;
  };
  // few positions, many, unfolded in pieces, strides, 1 x 1, odd sizes, more padding than a picture has
  for (Case c : {Case{1, 256, 256, 8, 3, 1, 1}, Case{3, 256, 260, 7, 3, 1, 1}, Case{1, 256, 256, 9, 3, 2, 1},
                 Case{2, 256, 256, 64, 3, 1, 1}, Case{1, 256, 256, 33, 3, 2, 1}, Case{2, 800, 640, 6, 1, 1, 0},
                 Case{1, 800, 640, 40, 1, 1, 0}, Case{1, 256, 256, 1, 3, 1, 1}, Case{1, 256, 256, 8, 3, 2, 0}}) {
    std::string what = "conv " + std::to_string(c.batch) + " " + std::to_string(c.in) + " " + std::to_string(c.side) +
                       " " + std::to_string(c.kernel) + " " + std::to_string(c.stride);
    compare(
        leaf({c.batch, c.in, c.side, c.side}), leaf({c.out, c.in, c.kernel, c.kernel}), leaf({c.out}),
        [&](auto& x, auto& w, auto& b) { return t2i::conv2d(x, w, b, c.stride, c.padding, 1, 1); },
        [&](auto& x, auto& w, auto& b) { return at::conv2d(x, w, b, c.stride, c.padding); }, what);
  }
}

TEST(dense, a_channels_last_input_and_no_bias) {
  at::manual_seed(3);
  at::Tensor weight = leaf({256, 256, 3, 3}),
             x = at::randn({2, 256, 8, 8}).contiguous(at::MemoryFormat::ChannelsLast).requires_grad_(true);
  at::Tensor y = t2i::conv2d(x, weight, std::nullopt, 1, 1, 1, 1);
  expect_near(y, at::conv2d(x.detach().contiguous(), weight.detach(), {}, 1, 1), "value");
  torch::autograd::backward({y.sum()}, {});
  EXPECT_TRUE(x.grad().defined());
}

TEST(dense, the_reducer_hears_of_every_gradient) {
  struct Count final : torch::autograd::PostAccumulateGradHook {
    int& n;
    explicit Count(int& count) : n(count) {}
    void operator()(const at::Tensor&) override { ++n; }
  };
  int linear_count = 0, conv_count = 0;
  at::Tensor w = leaf({24, 40}), k = leaf({256, 256, 3, 3});
  torch::autograd::impl::set_post_acc_grad_hooks(w, std::make_unique<Count>(linear_count));
  torch::autograd::impl::set_post_acc_grad_hooks(k, std::make_unique<Count>(conv_count));
  torch::autograd::backward({(t2i::linear(leaf({3, 40}), w, std::nullopt).sum() +
                              t2i::conv2d(leaf({1, 256, 4, 4}), k, std::nullopt, 1, 1, 1, 1).sum())},
                            {});
  EXPECT_EQ(linear_count, 1);
  EXPECT_EQ(conv_count, 1);
}

TEST(dense, frozen_weights_and_no_grad_take_atens_way) {
  at::Tensor x = at::randn({3, 40}), frozen = at::randn({24, 40});
  EXPECT_FALSE(adds_in_place(x, frozen));
  at::NoGradGuard no_grad;
  EXPECT_FALSE(adds_in_place(x, leaf({24, 40})));
}

}  // namespace
}  // namespace t2i
