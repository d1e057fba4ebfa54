// A dry run has the shapes, the strides and the memory of the same in earnest, and touches none of it.
#include "core/memory/dry_run.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/memory/host_allocator.h"

namespace t2i {
namespace {

// Layers as models have them, and their gradients.
std::vector<at::Tensor> a_step(int64_t side) {
  at::Tensor x = at::zeros({2, 64, side, side}), conv = at::zeros({64, 64, 3, 3}), linear = at::zeros({192, 64}), scale = at::zeros({64});
  for (at::Tensor* t : {&x, &conv, &linear, &scale}) t->requires_grad_(true);
  at::Tensor y = at::conv2d(x, conv, {}, 1, 1);
  y = at::silu(at::group_norm(y, 32, scale, scale));
  y = at::conv2d(y, conv, {}, 2, 1);
  at::Tensor tokens = y.flatten(2).transpose(1, 2);
  tokens = at::layer_norm(tokens, {64}, scale, scale);
  auto qkv = at::linear(tokens, linear).chunk(3, -1);
  auto heads = [](const at::Tensor& t) { return t.view({t.size(0), t.size(1), 4, 16}).transpose(1, 2); };
  at::Tensor attended = at::scaled_dot_product_attention(heads(qkv[0]), heads(qkv[1]), heads(qkv[2])).transpose(1, 2).flatten(2);
  attended = at::gelu(attended) + at::softmax(tokens, -1) * tokens.mean(-1, true);
  at::Tensor up = at::upsample_nearest2d(attended.transpose(1, 2).reshape({2, 64, side / 2, side / 2}), {side, side});
  at::Tensor joined = at::cat({up, x}, 1).index_select(1, at::arange(0, 128, 2));
  torch::autograd::backward({joined.pow(2).to(at::kBFloat16).to(at::kFloat).sum()}, {});
  return {y, tokens, attended, up, joined, x.grad(), conv.grad(), linear.grad(), scale.grad()};
}

size_t touched_bytes(const at::Tensor& t) {
  constexpr size_t page = 4096;
  const auto begin = reinterpret_cast<uintptr_t>(t.const_data_ptr()) / page * page;
  std::vector<unsigned char> pages(t.nbytes() / page);
  EXPECT_EQ(mincore(reinterpret_cast<void*>(begin), pages.size() * page, pages.data()), 0);
  size_t count = 0;
  for (unsigned char p : pages) count += p & 1;
  return count * page;
}

TEST(DryRun, HasTheShapesOfWhatIsComputed) {
  use_host_arena();
  const std::vector<at::Tensor> real = a_step(32);
  std::vector<at::Tensor> dry;
  {
    DryRun now(DryRunOf::cpu);
    dry = a_step(32);
  }
  ASSERT_EQ(dry.size(), real.size());
  for (size_t i = 0; i < real.size(); ++i) {
    EXPECT_EQ(dry[i].sizes(), real[i].sizes()) << i;
    EXPECT_EQ(dry[i].strides(), real[i].strides()) << i;
    EXPECT_EQ(dry[i].scalar_type(), real[i].scalar_type()) << i;
  }
}

TEST(DryRun, TouchesNoMemoryAndComputesNothingLarge) {
  use_host_arena();
  DryRun now(DryRunOf::cpu);
  // 128 x the batch of 2 x 64 channels in float32: 8 MB a tensor.
  for (const at::Tensor& t : a_step(128))
    if (t.nbytes() > 1'000'000) {
      EXPECT_EQ(touched_bytes(t), 0u) << t.sizes();
    }
  EXPECT_EQ(computed_in_dry_runs(), std::vector<std::string>());
}

TEST(DryRun, ComputesWhatIsSmall) {
  DryRun now(DryRunOf::cpu);
  at::Tensor t = at::arange(10) * 2;
  EXPECT_EQ(t.sum().item<int64_t>(), 90);
  EXPECT_EQ(at::linspace(0, 1, 5)[4].item<float>(), 1.0f);
}

TEST(DryRun, CountsWhatALargeMachineWouldNeed) {
  use_host_arena();
  DryRun now(DryRunOf::cpu);
  const size_t before = dry_arena().use().live;
  at::Tensor huge = at::empty({int64_t{1} << 36}, at::kFloat);  // 256 GiB
  at::Tensor other = huge * 2;
  EXPECT_EQ(dry_arena().use().live - before, size_t{1} << 39);
}

TEST(DryRun, EndsWithItsScope) {
  { DryRun now(DryRunOf::gpu); }
  EXPECT_FALSE(in_dry_run());
  EXPECT_EQ((at::ones({1 << 20}) * 2).sum().item<float>(), static_cast<float>(1 << 21));
}

}  // namespace
}  // namespace t2i
