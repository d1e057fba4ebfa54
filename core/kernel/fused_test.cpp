// The fused pieces against ATen's compositions in float64: values, and gradients of all inputs. Tolerance 2e-6 of the
// largest value: float32 keeps 1.2e-7, sums over a group add a few of these.
#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <limits>

namespace t2i {
namespace {

template <class... In>
at::Tensor run(const char* name, In... in) {
  static_assert(sizeof...(In) > 0);
  c10::Stack stack{c10::IValue(in)...};
  c10::Dispatcher::singleton().findSchemaOrThrow(name, "").callBoxed(stack);
  return stack.front().toTensor();
}

void expect_near(const at::Tensor& got, const at::Tensor& want, const std::string& what) {
  ASSERT_EQ(got.sizes(), want.sizes()) << what;
  double size = want.abs().max().item<double>(), off = (got.to(at::kDouble) - want).abs().max().item<double>();
  EXPECT_LE(off, 2e-6 * std::max(size, 1.0)) << what;
}

at::Tensor leaf(at::IntArrayRef shape, double spread = 1) { return at::randn(shape).mul_(spread).requires_grad_(true); }
at::Tensor as_double(const at::Tensor& t) { return t.detach().to(at::kDouble).requires_grad_(true); }

TEST(fused, group_norm_silu_is_atens) {
  at::manual_seed(1);
  struct Case {
    std::vector<int64_t> shape;
    int64_t groups;
    bool affine;
  };
  // rows that fill vectors and rows that do not, one number a channel, one group, as many groups as channels
  for (const Case& c : {Case{{32, 48, 8, 8}, 16, true}, Case{{2, 12, 5, 7}, 4, true}, Case{{3, 10}, 2, true},
                        Case{{1, 6, 33}, 1, true}, Case{{2, 8, 3, 3}, 8, false}, Case{{1, 320, 64, 64}, 32, true}}) {
    at::Tensor x = leaf(c.shape, 3), x64, weight, bias, weight64, bias64;
    {
      at::NoGradGuard no_grad;
      x.add_(5);
    }  // a mean that is not small beside the spread
    x64 = as_double(x);
    if (c.affine)
      weight = leaf(c.shape[1]), bias = leaf(c.shape[1]), weight64 = as_double(weight), bias64 = as_double(bias);
    auto maybe = [](const at::Tensor& t) { return t.defined() ? std::optional(t) : std::nullopt; };
    at::Tensor y = run("t2i::group_norm_silu", x, c.groups, maybe(weight), maybe(bias), 1e-5);
    at::Tensor want = at::silu(at::group_norm(x64, c.groups, maybe(weight64), maybe(bias64), 1e-5));
    at::Tensor g = at::randn(y.sizes());
    std::string what = "group_norm_silu " + std::to_string(x.numel());
    expect_near(y, want, what);
    torch::autograd::backward({y}, {g});
    torch::autograd::backward({want}, {g.to(at::kDouble)});
    expect_near(x.grad(), x64.grad(), what + " gradient of the input");
    if (!c.affine) continue;
    expect_near(weight.grad(), weight64.grad(), what + " gradient of the weight");
    expect_near(bias.grad(), bias64.grad(), what + " gradient of the bias");
  }
}

TEST(fused, geglu_is_atens) {
  at::manual_seed(2);
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{{2, 7, 64}, {3, 5, 22}, {4, 2}}) {
    at::Tensor x = leaf(shape, 4), x64 = as_double(x), g = at::randn(shape).narrow(-1, 0, shape.back() / 2);
    auto halves = x64.chunk(2, -1);
    at::Tensor y = run("t2i::geglu", x), want = halves[0] * at::gelu(halves[1]);
    expect_near(y, want, "geglu");
    torch::autograd::backward({y}, {g});
    torch::autograd::backward({want}, {g.to(at::kDouble)});
    expect_near(x.grad(), x64.grad(), "gradient of geglu");
  }
}

TEST(fused, far_values_and_nan_come_through) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  at::Tensor x = at::tensor({1.f, 1.f, 1.f, 1.f, 1.f, 200.f, -200.f, inf, nan, 0.f}).view({1, 10});
  at::Tensor y = run("t2i::geglu", x), want = at::tensor({200.f, -0.f, inf, nan, 0.f});
  EXPECT_TRUE(at::allclose(y.view({5}), want, 1e-6, 1e-6, /*equal_nan=*/true)) << y;
  at::Tensor normed = run("t2i::group_norm_silu", at::tensor({1.f, nan, 3.f, 4.f}).view({1, 2, 2}), int64_t{1},
                          std::optional<at::Tensor>(), std::optional<at::Tensor>(), 1e-5);
  EXPECT_TRUE(normed.isnan().all().item<bool>()) << normed;
}

// What has no rows of its own goes to ATen: another type, another layout, a shape that ATen refuses.
TEST(fused, other_types_and_layouts) {
  at::manual_seed(3);
  at::Tensor x = at::randn({2, 8, 4, 4}), w = at::randn({8}), b = at::randn({8});
  at::Tensor want = at::silu(at::group_norm(x, 4, w, b, 1e-5));
  auto call = [&](const at::Tensor& t) {
    return run("t2i::group_norm_silu", t, int64_t{4}, std::optional(w.to(t.scalar_type())),
               std::optional(b.to(t.scalar_type())), 1e-5);
  };
  EXPECT_TRUE(at::allclose(call(x.to(at::kDouble)).to(at::kFloat), want, 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(call(x.to(at::kBFloat16)).to(at::kFloat), want, 0, 0.05));
  EXPECT_TRUE(at::allclose(call(x.contiguous(at::MemoryFormat::ChannelsLast)), want, 1e-5, 1e-6));
  EXPECT_THROW(call(at::randn({2, 6, 4})), c10::Error);
}

}  // namespace
}  // namespace t2i
