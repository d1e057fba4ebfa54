#include "core/train/fused_backward.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/base/error.h"
#include "core/kernel/dense.h"
#include "core/model/block.h"

namespace t2i {
namespace {

struct Weights {
  ParamStore store{"test"};
  Optimizer optimizer;
  std::unique_ptr<FusedBackward> fused;

  explicit Weights(std::vector<std::string> names) {
    for (const std::string& name : names) store.declare(name, {8, 8}, "ones");
    store.keeps_gradients = false;
    store.allocate(at::kFloat, at::kCPU, [](const std::string&) { return true; });
    store.initialize(0);
    OptimizerConfig config;
    config.learning_rate = 0.1;
    optimizer = Optimizer(config, store, 0);
    fused = std::make_unique<FusedBackward>(store, optimizer, std::vector<const Parameter*>{});
  }
  at::Tensor value(size_t i) const { return store.parameters[i].value; }
  void begin() { fused->begin({0, 0.1, at::ones({}), at::zeros({1})}, false); }
  at::Tensor layer(const at::Tensor& x, size_t i) const { return t2i::linear(x, value(i), std::nullopt); }
};

std::vector<at::Tensor> block(const Weights& w, const at::Tensor& x, size_t i) {
  return run_recomputed({x}, [&w, i](const std::vector<at::Tensor>& in) { return std::vector<at::Tensor>{w.layer(in[0], i)}; });
}

TEST(FusedBackward, UpdatesFreesAndCountsOnce) {
  Weights w({"first", "second", "unused"});
  GradientsOnDemand none_is_kept;
  at::Tensor before = w.store.trained.clone();
  w.begin();
  at::Tensor loss = w.layer(w.layer(at::ones({2, 8}), 0), 1).sum();
  torch::autograd::backward({loss}, {});
  FusedBackward::Result result = w.fused->finish();
  EXPECT_FALSE(w.store.trained_grad.defined());
  for (size_t i = 0; i < 3; ++i) EXPECT_FALSE(w.value(i).grad().defined()) << i;
  // d loss / d first = 16 everywhere, d loss / d second = 16.
  EXPECT_NEAR(result.grad_norm.item<double>(), 16 * std::sqrt(128.0), 1e-3);
  // AdamW's first step is the learning rate whatever the gradient, and a share of the weight is taken away.
  const double kept = 1 - 0.1 * 0.01;
  EXPECT_NEAR(w.value(0).min().item<double>(), kept - 0.1, 1e-6);
  EXPECT_NEAR(w.value(1).max().item<double>(), kept - 0.1, 1e-6);
  EXPECT_NEAR(w.value(2).min().item<double>(), kept, 1e-6) << "as with a gradient of zeros";
  EXPECT_EQ(w.optimizer.scalars().at(0).second.item<double>(), 1);
}

TEST(FusedBackward, AWeightUsedTwiceInOneGraphIsUpdatedOnce) {
  Weights w({"both"});
  GradientsOnDemand none_is_kept;
  w.begin();
  torch::autograd::backward({w.layer(w.layer(at::ones({2, 8}), 0), 0).sum()}, {});
  FusedBackward::Result result = w.fused->finish();
  EXPECT_NEAR(result.grad_norm.item<double>(), 32 * 8.0, 1e-3);
}

TEST(FusedBackward, TwoRecomputedBlocksThatShareAWeightAreRefused) {
  Weights w({"both"});
  GradientsOnDemand none_is_kept;
  w.begin();
  at::Tensor x = at::ones({2, 8}).requires_grad_(true);
  at::Tensor loss = block(w, block(w, x, 0)[0], 0)[0].sum();
  try {
    torch::autograd::backward({loss}, {});
    FAIL() << "the second block's share came after the update";
  } catch (const Failure& f) {
    EXPECT_EQ(f.errors.at(0).id, "E7203");
  }
}

}  // namespace
}  // namespace t2i
