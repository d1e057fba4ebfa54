// The layers against ATen's own: values, and gradients of input, weight and bias. Tolerance 1e-5 of the largest value:
// sums of up to 10,000 products in another order. Winograd's tiles of 4 multiply rounding errors by up to 8 (the
// entries of its matrices), hence 3e-5 where they are used.
#include "core/kernel/dense.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/kernel/rounded.h"

namespace t2i {
namespace {

at::Tensor leaf(at::IntArrayRef shape, bool with_grad = true) {
  at::Tensor t = at::randn(shape).requires_grad_(true);
  if (with_grad) t.mutable_grad() = at::full(shape, 0.25);  // there is something already: it must be added to
  return t;
}

void expect_near(const at::Tensor& got_as, const at::Tensor& want_as, const std::string& what, double near = 1e-5) {
  at::Tensor got = got_as.to(at::kFloat), want = want_as.to(at::kFloat);
  ASSERT_EQ(got.sizes(), want.sizes()) << what;
  double size = want.abs().max().item<double>(), off = (got - want).abs().max().item<double>();
  EXPECT_LE(off, near * std::max(size, 1.0)) << what;
}

template <class Ours, class Theirs>
void compare(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, Ours ours, Theirs theirs,
             const std::string& what, double near = 1e-5) {
  ASSERT_TRUE(adds_in_place(weight)) << what;
  at::Tensor x2 = x.detach().clone().requires_grad_(true), w2 = weight.detach().clone().requires_grad_(true),
             b2 = bias.detach().clone().requires_grad_(true);
  for (const at::Tensor* t : {&x2, &w2, &b2}) t->mutable_grad() = at::full(t->sizes(), 0.25);
  at::Tensor y = ours(x, weight, bias), y2 = theirs(x2, w2, b2);
  ASSERT_EQ(y.scalar_type(), y2.scalar_type()) << what;
  expect_near(y, y2, what + " value", near);
  at::Tensor g = at::randn(y.sizes()).to(y.scalar_type());
  void* place = weight.grad().data_ptr();
  torch::autograd::backward({y}, {g});
  torch::autograd::backward({y2}, {g});
  expect_near(x.grad(), x2.grad(), what + " gradient of the input", near);
  expect_near(weight.grad(), w2.grad(), what + " gradient of the weight", near);
  expect_near(bias.grad(), b2.grad(), what + " gradient of the bias", near);
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
  // few positions, many, unfolded in pieces, strides, 1 x 1, odd sizes, more padding than a picture has; tiles of 2, of
  // 2 at odd sizes, of 4, of 4 at odd sizes, a batch in parts, small pictures in lanes
  for (Case c : {Case{1, 256, 256, 8, 3, 1, 1}, Case{3, 256, 260, 7, 3, 1, 1}, Case{1, 256, 256, 9, 3, 2, 1},
                 Case{2, 256, 256, 64, 3, 1, 1}, Case{1, 256, 256, 33, 3, 2, 1}, Case{2, 800, 640, 6, 1, 1, 0},
                 Case{1, 800, 640, 40, 1, 1, 0}, Case{1, 256, 256, 1, 3, 1, 1}, Case{1, 256, 256, 8, 3, 2, 0},
                 Case{1, 256, 264, 16, 3, 1, 1}, Case{5, 256, 256, 7, 3, 1, 1}, Case{1, 264, 256, 32, 3, 1, 1},
                 Case{1, 256, 256, 33, 3, 1, 1}, Case{13, 256, 256, 64, 3, 1, 1}, Case{32, 48, 64, 8, 3, 1, 1},
                 Case{9, 40, 24, 5, 3, 1, 1}, Case{40, 24, 40, 15, 3, 1, 1}}) {
    std::string what = "conv " + std::to_string(c.batch) + " " + std::to_string(c.in) + " " + std::to_string(c.side) +
                       " " + std::to_string(c.kernel) + " " + std::to_string(c.stride);
    compare(
        leaf({c.batch, c.in, c.side, c.side}), leaf({c.out, c.in, c.kernel, c.kernel}), leaf({c.out}),
        [&](auto& x, auto& w, auto& b) { return t2i::conv2d(x, w, b, c.stride, c.padding, 1, 1); },
        [&](auto& x, auto& w, auto& b) { return at::conv2d(x, w, b, c.stride, c.padding); }, what,
        c.side > 16 || c.batch > 8 ? 3e-5 : 1e-5);
  }
}

// Beside an adapter: the weight is frozen, gradients pass to the input, and a bias may be trained alone.
TEST(dense, frozen_conv2d_is_atens) {
  at::manual_seed(6);
  struct Case {
    int64_t batch, in, out, side, kernel, stride, padding, groups;
  };
  // Winograd with tiles of 4 and 2, in parts and in lanes; a product over patches; ATen's own with strides, groups, few channels
  for (Case c : {Case{1, 32, 48, 24, 3, 1, 1, 1}, Case{2, 264, 256, 33, 3, 1, 1, 1}, Case{5, 256, 256, 7, 3, 1, 1, 1}, Case{32, 48, 64, 8, 3, 1, 1, 1},
                 Case{3, 256, 260, 7, 3, 1, 1, 1}, Case{1, 800, 640, 6, 1, 1, 0, 1}, Case{2, 32, 48, 17, 3, 2, 1, 1}, Case{2, 32, 48, 16, 3, 1, 1, 4},
                 Case{2, 3, 8, 24, 3, 1, 1, 1}}) {
    const std::string what = "frozen conv " + std::to_string(c.in) + " " + std::to_string(c.side) + " " + std::to_string(c.groups);
    at::Tensor weight = at::randn({c.out, c.in / c.groups, c.kernel, c.kernel});
    at::Tensor x = leaf({c.batch, c.in, c.side, c.side}, false), bias = leaf({c.out}, false), x2 = x.detach().clone().requires_grad_(true),
               bias2 = bias.detach().clone().requires_grad_(true);
    at::Tensor y = t2i::conv2d(x, weight, bias, c.stride, c.padding, 1, c.groups), y2 = at::conv2d(x2, weight, bias2, c.stride, c.padding, 1, c.groups);
    expect_near(y, y2, what, 3e-5);
    at::Tensor g = at::randn(y.sizes());
    torch::autograd::backward({y}, {g});
    torch::autograd::backward({y2}, {g});
    expect_near(x.grad(), x2.grad(), what + " gradient of the input", 3e-5);
    expect_near(bias.grad(), bias2.grad(), what + " gradient of the bias");
    at::NoGradGuard no_grad;
    EXPECT_TRUE(at::equal(t2i::conv2d(x, weight, bias, c.stride, c.padding, 1, c.groups), y)) << what << ": the same bits without a graph";
  }
}

// A block that is run again in backward is first run without a graph.
TEST(dense, a_trained_conv2d_makes_the_same_bits_without_a_graph) {
  at::manual_seed(7);
  for (int64_t side : {6, 12, 24}) {  // a product, tiles of 2, tiles of 4
    at::Tensor x = at::randn({3, 256, side, side}), weight = leaf({256, 256, 3, 3}), bias = leaf({256});
    at::Tensor y = t2i::conv2d(x, weight, bias, 1, 1, 1, 1);
    at::NoGradGuard no_grad;
    EXPECT_TRUE(at::equal(t2i::conv2d(x, weight, bias, 1, 1, 1, 1), y.detach())) << side;
  }
}

// Against torch's own bfloat16 products, under autocast, with a processor that is said to lack them. Both round
// operands and results to 8 bits, so neighbours lie up to 2^-7 apart, and torch adds the nine taps of an input's
// gradient in bfloat16: two units, 2^-6 of the largest value.
TEST(dense, bfloat16_without_its_arithmetic_is_autocast) {
  at::manual_seed(4);
  RoundOnEveryProcessor rounding;
  at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
  at::autocast::set_autocast_enabled(at::kCPU, true);
  compare(
      leaf({5, 40}), leaf({24, 40}), leaf({24}), [](auto& x, auto& w, auto& b) { return t2i::linear(x, w, b); },
      [](auto& x, auto& w, auto& b) { return at::linear(x, w, b); }, "linear", 1.0 / 64);
  for (int64_t side : {4, 16}) {  // a product over patches, Winograd
    compare(
        leaf({1, 256, side, side}), leaf({256, 256, 3, 3}), leaf({256}),
        [](auto& x, auto& w, auto& b) { return t2i::conv2d(x, w, b, 1, 1, 1, 1); },
        [](auto& x, auto& w, auto& b) { return at::conv2d(x, w, b, 1, 1); }, "conv2d", 1.0 / 64);
  }
  at::Tensor x = at::randn({1, 8, 6, 6}), frozen = at::randn({8, 8, 3, 3}), bias = at::randn({8});
  expect_near(t2i::conv2d(x, frozen, bias, 1, 1, 1, 1), at::conv2d(x, frozen, bias, 1, 1), "frozen", 1.0 / 64);
  at::autocast::set_autocast_enabled(at::kCPU, false);
  at::autocast::clear_cache();
}

TEST(dense, weights_held_in_bfloat16) {
  at::manual_seed(5);
  RoundOnEveryProcessor rounding;
  auto low = [](at::IntArrayRef shape) { return at::randn(shape).to(at::kBFloat16); };
  at::Tensor x = low({2, 8, 6, 6}), weight = low({8, 8, 3, 3}), bias = low({8}),
             y = t2i::conv2d(x, weight, bias, 1, 1, 1, 1);
  ASSERT_EQ(y.scalar_type(), at::kBFloat16);
  expect_near(y, at::conv2d(x, weight, bias, 1, 1), "conv2d", 1.0 / 64);
  x = low({5, 40}), weight = low({24, 40}), bias = low({24}), y = t2i::linear(x, weight, bias);
  ASSERT_EQ(y.scalar_type(), at::kBFloat16);
  expect_near(y, at::linear(x, weight, bias), "linear", 1.0 / 64);
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

TEST(dense, frozen_weights_and_no_grad_have_no_gradient_to_add_to) {
  at::Tensor x = at::randn({3, 40}), frozen = at::randn({24, 40});
  EXPECT_FALSE(adds_in_place(frozen));
  at::NoGradGuard no_grad;
  EXPECT_FALSE(adds_in_place(leaf({24, 40})));
}

}  // namespace
}  // namespace t2i
