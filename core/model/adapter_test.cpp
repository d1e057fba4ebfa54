#include "core/model/adapter.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "core/model/block.h"
#include "core/model/dropout.h"
#include "core/model/layer.h"

namespace t2i {
namespace {

Parameter weight_with(std::vector<int64_t> shape, int adapters, bool magnitudes, double dropout = 0) {
  at::manual_seed(static_cast<uint64_t>(shape[0] * 31 + adapters));
  Parameter p{"layer.weight", shape, "default", false, 0, at::randn(shape)};
  Adapter adapter;
  for (int i = 0; i < adapters; ++i) {
    std::vector<int64_t> down = shape, up(shape.size(), 1);
    down[0] = 3, up[0] = shape[0], up[1] = 3;
    LowRank l{at::randn(down), at::randn(up), 0.5 + i, dropout, {}};
    if (magnitudes) l.magnitude = at::rand({shape[0]}) + 0.5;
    adapter.low_rank.push_back(l);
  }
  p.adapter = std::make_shared<const Adapter>(adapter);
  return p;
}

// A layer with adapters is the layer of the merged weight.
TEST(Adapter, MergedDoesWhatTheLayerDoes) {
  at::NoGradGuard no_grad;
  for (bool magnitudes : {false, true})
    for (int adapters : {1, 2}) {
      Parameter linear = weight_with({7, 5}, adapters, magnitudes), bias{"layer.bias", {7}, "zeros", false, 0, at::randn({7})};
      at::Tensor x = at::randn({2, 4, 5});
      at::Tensor want = at::linear(x, merged(linear.value, *linear.adapter), bias.value);
      EXPECT_TRUE(at::allclose(linear_layer(x, linear, &bias), want, 1e-4, 1e-4));

      Parameter conv = weight_with({6, 4, 3, 3}, adapters, magnitudes), conv_bias{"layer.bias", {6}, "zeros", false, 0, at::randn({6})};
      at::Tensor picture = at::randn({2, 4, 8, 8});
      want = at::conv2d(picture, merged(conv.value, *conv.adapter), conv_bias.value, 2, 1);
      EXPECT_TRUE(at::allclose(conv2d_layer(picture, conv, &conv_bias, {.stride = 2, .padding = 1}), want, 1e-4, 1e-3));
    }
}

TEST(Adapter, DropoutKeepsItsShareAndTheMean) {
  at::Tensor rng = at::tensor({7, 3, 0, 7, 3, 1}, at::kLong).view({2, 3}), x = at::ones({2, 100, 50});
  EXPECT_TRUE(t2i::dropout(x, 0.3, "a").is_same(x)) << "outside of a scope nothing is dropped";
  DropoutScope scope(rng);
  EXPECT_TRUE(t2i::dropout(x, 0, "a").is_same(x));
  at::Tensor y = t2i::dropout(x, 0.3, "a");
  EXPECT_TRUE(at::equal(y, t2i::dropout(x, 0.3, "a"))) << "the same draws";
  EXPECT_FALSE(at::equal(y, t2i::dropout(x, 0.3, "b"))) << "every layer its own";
  EXPECT_FALSE(at::equal(y[0], y[1])) << "every sample its own";
  // 10,000 draws: the mean's standard deviation is 0.0065.
  EXPECT_NEAR(y.mean().item<double>(), 1, 0.03);
  EXPECT_NEAR(y.count_nonzero().item<double>() / 10000, 0.7, 0.02);
  EXPECT_TRUE(at::allclose(y.masked_select(y > 0), at::tensor(1 / 0.7, at::kFloat)));
  {
    DropoutScope other(rng + at::tensor({0, 1, 0}, at::kLong));
    EXPECT_FALSE(at::equal(y, t2i::dropout(x, 0.3, "a"))) << "every step its own";
  }
  EXPECT_TRUE(at::equal(y, t2i::dropout(x, 0.3, "a")));
  at::Tensor first = t2i::dropout(x.narrow(0, 0, 1).expand({2, 100, 50}), 0.3, "a");
  EXPECT_TRUE(at::equal(first, y)) << "a sample's draws do not depend on what is beside it";
}

// With recompute and without, bit for bit, dropout on.
TEST(Adapter, RecomputedGradientsAreTheSame) {
  Parameter p = weight_with({7, 5}, 1, true, 0.4);
  const LowRank& l = p.adapter->low_rank[0];
  for (const at::Tensor& t : {l.down, l.up, l.magnitude}) t.requires_grad_(true);
  at::Tensor x = at::randn({2, 4, 5}).requires_grad_(true), rng = at::tensor({7, 3, 0, 7, 3, 1}, at::kLong).view({2, 3});
  std::vector<std::vector<at::Tensor>> runs;
  for (bool recompute : {false, true}) {
    DropoutScope scope(rng);
    BlockBody body = [&](const std::vector<at::Tensor>& in) { return std::vector<at::Tensor>{linear_layer(in[0], p, nullptr)}; };
    at::Tensor y = recompute ? run_recomputed({x}, body)[0] : body({x})[0];
    for (const at::Tensor& t : {x, l.down, l.up, l.magnitude}) t.mutable_grad() = at::Tensor();
    y.pow(2).sum().backward();
    runs.push_back({x.grad().clone(), l.down.grad().clone(), l.up.grad().clone(), l.magnitude.grad().clone()});
    EXPECT_FALSE(p.value.grad().defined());
  }
  for (size_t i = 0; i < runs[0].size(); ++i) EXPECT_TRUE(at::equal(runs[0][i], runs[1][i])) << i;
}

}  // namespace
}  // namespace t2i
