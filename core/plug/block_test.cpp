// Which blocks run again in backward, and that gradients do not tell.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/model/params.h"
#include "core/plug/handle.h"
#include "core/plug/services/services.h"

namespace t2i {
namespace {

struct Chain {
  static constexpr int64_t blocks = 5;
  ParamStore store{"part"};
  std::vector<int> runs = std::vector<int>(blocks, 0);
  bool nested = false;

  // What a plugin's closure is: bytes that are copied.
  struct Closure {
    Chain* chain;
    int64_t number;
  };

  Chain() {
    for (int64_t i = 0; i < blocks; ++i) store.declare("weight" + std::to_string(i), {3, 3}, "default");
    store.allocate(at::kFloat, at::kCPU, [](const std::string&) { return true; });
    store.initialize(1);
    store.trained_grad.zero_();
  }

  static int32_t body(void* context, const t2i_tensor* in, uint32_t, t2i_tensor* out, uint32_t) {
    auto [chain, number] = *static_cast<Closure*>(context);
    ++chain->runs[static_cast<size_t>(number)];
    // The input twice, so that its gradient is a sum, whose order tells.
    const at::Tensor &x = unwrap(in[0]), &w = chain->store.parameters[static_cast<size_t>(number)].value;
    at::Tensor y = at::gelu(x.mm(w)) + x * 0.3 + at::sin(x);
    if (chain->nested) y = chain->inner(y);
    out[0] = wrap(y);
    return T2I_OK;
  }
  static int32_t inner_body(void*, const t2i_tensor* in, uint32_t, t2i_tensor* out, uint32_t) {
    out[0] = wrap(at::tanh(unwrap(in[0])) + unwrap(in[0]));
    return T2I_OK;
  }
  at::Tensor inner(const at::Tensor& x) {
    t2i_tensor in = borrow(x), out = nullptr;
    EXPECT_EQ(block_service()->run(&store, "inner", inner_body, "", 1, &in, 1, &out, 1), T2I_OK);
    return take(out);
  }

  // The gradients of all weights and of the input, one after the other.
  at::Tensor gradients(const RecomputePlan& plan) {
    store.recompute = plan, store.blocks_met = 0;
    store.trained_grad.zero_();
    std::fill(runs.begin(), runs.end(), 0);
    at::Tensor first = at::linspace(-2, 2, 12).view({4, 3}).requires_grad_(true), x = first;
    for (int64_t i = 0; i < blocks; ++i) {
      Closure closure{this, i};
      t2i_tensor in = borrow(x), out = nullptr;
      EXPECT_EQ(block_service()->run(&store, "block", body, &closure, sizeof closure, &in, 1, &out, 1), T2I_OK);
      x = take(out);
      // A later part of the model looks at what every block made, as skip connections do.
      if (i == 1) x = x + first;
    }
    torch::autograd::backward({(x * x).sum()}, {});
    return at::cat({store.trained_grad.clone(), first.grad().flatten()});
  }
};

RecomputePlan every(int64_t n) { return {n, {}}; }

TEST(Block, EveryNthRunsAgain) {
  Chain chain;
  chain.gradients(every(0));
  EXPECT_EQ(chain.runs, (std::vector{1, 1, 1, 1, 1}));
  chain.gradients(every(1));
  EXPECT_EQ(chain.runs, (std::vector{2, 2, 2, 2, 2}));
  chain.gradients(every(2));
  EXPECT_EQ(chain.runs, (std::vector{2, 1, 2, 1, 2}));
  chain.gradients(every(3));
  EXPECT_EQ(chain.runs, (std::vector{2, 1, 1, 2, 1}));
  chain.gradients({1, {false, true, false, false, true}});
  EXPECT_EQ(chain.runs, (std::vector{1, 2, 1, 1, 2}));
}

TEST(Block, ABlockWithinAnotherIsNotCounted) {
  Chain chain;
  chain.nested = true;
  chain.gradients(every(2));
  EXPECT_EQ(chain.runs, (std::vector{2, 1, 2, 1, 2}));
  EXPECT_EQ(chain.store.blocks_met, Chain::blocks);
}

TEST(Block, GradientsAreTheSameBits) {
  for (bool nested : {false, true}) {
    Chain chain;
    chain.nested = nested;
    const at::Tensor kept = chain.gradients(every(0));
    EXPECT_GT(kept.abs().max().item<double>(), 0);
    for (const RecomputePlan& plan : {every(1), every(2), every(3), RecomputePlan{0, {true, false, true, true, false}}})
      EXPECT_TRUE(chain.gradients(plan).equal(kept)) << plan.every << " nested " << nested;
  }
}

TEST(Block, NothingIsCountedWithoutGradients) {
  Chain chain;
  at::NoGradGuard no_grad;
  chain.store.recompute = every(1);
  Chain::Closure closure{&chain, 0};
  at::Tensor x = at::ones({4, 3});
  t2i_tensor in = borrow(x), out = nullptr;
  ASSERT_EQ(block_service()->run(&chain.store, "block", Chain::body, &closure, sizeof closure, &in, 1, &out, 1), T2I_OK);
  take(out);
  EXPECT_EQ(chain.store.blocks_met, 0);
}

}  // namespace
}  // namespace t2i
