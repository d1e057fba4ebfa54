// What recomputed blocks run on, moved away and brought back by pretended copies: in time, once, and with the same bits.
#include "core/model/offload.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/model/block.h"

namespace t2i {
namespace {

// The "host" is another tensor; what was given back is overwritten, so that using it too early or too long shows.
struct PretendedCopies final : Copies {
  struct Told {
    int out = 0, back = 0, waited = 0;
    std::vector<std::string> order;
  };
  std::shared_ptr<Told> told;
  explicit PretendedCopies(std::shared_ptr<Told> t) : told(std::move(t)) {}

  at::Tensor to_host(const at::Tensor& t) override {
    ++told->out;
    return t.clone();
  }
  Fetched to_device(const at::Tensor& host, at::Device) override {
    told->order.push_back("fetch " + std::to_string(++told->back));
    at::Tensor arrives = at::full_like(host, NAN);
    return {arrives, [arrives, host, t = told] {
              arrives.copy_(host);  // not there before
              ++t->waited;
              t->order.push_back("use " + std::to_string(t->waited));
            }};
  }
};

constexpr int64_t wide = 1024;  // squared in float32: 4 MB, above what stays

// Gradients of a chain of blocks that all also take `shared`.
std::vector<at::Tensor> gradients(int64_t blocks, const std::shared_ptr<Offload>& offload, const at::Tensor& shared) {
  at::Tensor weight = at::linspace(-1, 1, wide * wide).view({wide, wide}).div(wide).requires_grad_(true);
  at::Tensor first = at::linspace(-2, 3, wide * wide).view({wide, wide}).requires_grad_(true), x = first;
  for (int64_t i = 0; i < blocks; ++i)
    x = run_recomputed({x, shared}, [weight](const std::vector<at::Tensor>& in) {
      return std::vector<at::Tensor>{at::tanh(in[0].mm(weight)) + in[0] * in[1]};
    }, nullptr, offload)[0];
  torch::autograd::backward({x.pow(2).sum()}, {});
  return {first.grad(), weight.grad()};
}

TEST(Offload, ChangesNoBit) {
  auto told = std::make_shared<PretendedCopies::Told>();
  auto offload = std::make_shared<Offload>(std::make_unique<PretendedCopies>(told));
  const at::Tensor shared = at::linspace(0, 1, wide);
  const auto kept = gradients(4, nullptr, shared);
  for (int pass = 0; pass < 2; ++pass) {
    offload->restart();
    const auto moved = gradients(4, offload, shared);
    for (size_t i = 0; i < kept.size(); ++i) EXPECT_TRUE(moved[i].equal(kept[i])) << i;
  }
  EXPECT_EQ(told->out, 8);
  EXPECT_EQ(told->back, 8);
  EXPECT_EQ(told->waited, 8);
}

TEST(Offload, FetchesAheadInReverse) {
  auto told = std::make_shared<PretendedCopies::Told>();
  auto offload = std::make_shared<Offload>(std::make_unique<PretendedCopies>(told));
  gradients(4, offload, at::linspace(0, 1, wide));
  // While block 3 runs again, the input of block 2 is on its way.
  EXPECT_EQ(told->order, (std::vector<std::string>{"fetch 1", "fetch 2", "use 1", "fetch 3", "use 2", "fetch 4", "use 3", "use 4"}));
}

TEST(Offload, WhatIsSmallOrSharedStays) {
  auto told = std::make_shared<PretendedCopies::Told>();
  Offload offload(std::make_unique<PretendedCopies>(told));
  const at::Tensor small = at::ones({16}), text = at::ones({wide, wide});
  const at::Tensor a = at::ones({wide, wide}), b = at::ones({wide, wide});
  EXPECT_EQ(offload.keep({a, small, text, at::Tensor()}), 0);
  EXPECT_EQ(told->out, 2);
  EXPECT_EQ(offload.keep({b, small, text.view({-1})}), 1);  // the text is there for the block before
  EXPECT_EQ(told->out, 3);
  const auto inputs = offload.take(1);
  EXPECT_EQ(inputs[1].data_ptr(), small.data_ptr());
  EXPECT_EQ(inputs[2].data_ptr(), text.data_ptr());
  EXPECT_FALSE(offload.take(0)[3].defined());
  EXPECT_ANY_THROW(offload.take(0));
}

TEST(Offload, IsNotForCpus) { EXPECT_EQ(offload_for(at::kCPU), nullptr); }

}  // namespace
}  // namespace t2i
