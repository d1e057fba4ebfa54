// Frozen matrices that come block by block, by pretended copies: in time, each into its place, and with the bits of those
// that stay.
#include "core/model/block_swap.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/base/error.h"
#include "core/model/params.h"
#include "core/plug/handle.h"
#include "core/plug/services/services.h"

namespace t2i {
namespace {

// A place holds nothing but NaN from the moment that it is to be filled until somebody waits: what is used too early or too
// long shows.
struct PretendedCopies final : SlotCopies {
  struct Told {
    std::vector<std::string> order;
    int64_t bytes = 0;
  };
  std::shared_ptr<Told> told;
  std::vector<std::pair<at::Tensor, std::vector<at::Tensor>>> under_way = std::vector<std::pair<at::Tensor, std::vector<at::Tensor>>>(2);
  explicit PretendedCopies(std::shared_ptr<Told> t) : told(std::move(t)) {}

  at::Tensor host_room(int64_t bytes) override { return at::empty({bytes}, at::kByte); }
  at::Tensor device_room(int64_t bytes) override { return at::full({bytes}, 0xff, at::kByte); }
  void begin(size_t slot, const at::Tensor& place, const std::vector<at::Tensor>& pieces) override {
    place.fill_(0xff);
    under_way.at(slot) = {place, pieces};
    told->order.push_back("begin " + std::to_string(slot));
  }
  void wait(size_t slot) override {
    auto& [place, pieces] = under_way.at(slot);
    int64_t at = 0;
    for (const at::Tensor& piece : pieces) place.narrow(0, at, piece.numel()).copy_(piece), at += piece.numel();
    told->bytes += at;
    told->order.push_back("wait " + std::to_string(slot));
  }
};

enum class Held { float32, bfloat16, nf4 };

// y = x + b(gelu(a(x))) in each block; a layer before them. Biases are trained.
struct Chain {
  static constexpr int64_t blocks = 4, width = 8;
  ParamStore store{"part"};
  std::shared_ptr<PretendedCopies::Told> told = std::make_shared<PretendedCopies::Told>();
  bool reads_a_matrix = false;  // of block 1, on its own

  Chain(Held held, int64_t swap) {
    const std::vector<int64_t> square{width, width};
    store.declare("before.weight", square, "default");
    for (int64_t i = 0; i < blocks; ++i) {
      const std::string name = "blocks." + std::to_string(i);
      store.declare(name + ".a.weight", square, "default");
      store.declare(name + ".a.bias", {width}, "default");
      store.declare(name + ".b.weight", square, "default");
    }
    // Pieces end within weights.
    if (swap) store.swap = std::make_shared<BlockSwap>(swap, at::kCPU, std::make_unique<PretendedCopies>(told), "the.key", 100);
    store.allocate(at::kFloat, at::kCPU, [](const std::string& name) { return name.ends_with("bias"); },
                   [&](const Parameter& p) { return held == Held::nf4 && p.shape.size() == 2; },
                   held == Held::bfloat16 ? std::optional(at::kBFloat16) : std::nullopt);
    at::NoGradGuard no_grad;
    at::manual_seed(1);
    for (Parameter& p : store.parameters) {
      const at::Tensor numbers = at::randn(p.shape);
      if (p.value.defined()) p.value.copy_(numbers);
      else p.packed = std::make_shared<const PackedWeight>(pack(numbers, PackedWeight::Form::nf4));
    }
    if (store.swap) store.swap->adopt(store);
  }

  struct Context {
    Chain* chain;
    uint32_t block;
  };
  t2i_tensor layer(t2i_tensor x, t2i_param weight, t2i_param bias) {
    t2i_tensor y = nullptr;
    EXPECT_EQ(param_service()->linear(&store, x, weight, bias, &y), T2I_OK);
    return y;
  }
  static int32_t body(void* context, const t2i_tensor* in, uint32_t, t2i_tensor* out, uint32_t) {
    auto [chain, block] = *static_cast<Context*>(context);
    const t2i_param first = 1 + 3 * block;
    const at::Tensor x = unwrap(in[0]), h = take(chain->layer(in[0], first, first + 1));
    at::Tensor y = x + take(chain->layer(borrow(at::gelu(h)), first + 2, T2I_NO_PARAM));
    if (chain->reads_a_matrix && block == 1) {
      t2i_tensor matrix = nullptr;
      EXPECT_EQ(param_service()->get(&chain->store, first + 2, &matrix), T2I_OK);
      y = y + y.mm(take(matrix)) * 0.1;
    }
    out[0] = wrap(y);
    return T2I_OK;
  }

  at::Tensor forward() {
    store.blocks_met = 0;
    if (store.swap) store.swap->forward_begins();
    at::Tensor x = take(layer(borrow(at::linspace(-1, 1, 5 * width).view({5, width})), 0, T2I_NO_PARAM));
    for (uint32_t i = 0; i < blocks; ++i) {
      Context context{this, i};
      t2i_tensor in = borrow(x), out = nullptr;
      EXPECT_EQ(block_service()->run(&store, "block", body, &context, sizeof context, &in, 1, &out, 1), T2I_OK);
      x = take(out);
    }
    if (store.swap) store.swap->forward_ends(store);
    return x;
  }
  at::Tensor step(bool recompute) {
    store.recompute.every = recompute;
    store.trained_grad.zero_();
    at::Tensor y = forward();
    torch::autograd::backward({(y * y).sum()}, {});
    return at::cat({y.detach().flatten(), store.trained_grad});
  }
};

using Case = std::tuple<Held, int64_t, bool>;
struct BlockSwaps : testing::TestWithParam<Case> {};

TEST_P(BlockSwaps, ChangesNoBit) {
  auto [held, swap, recompute] = GetParam();
  Chain stays(held, 0), moves(held, swap);
  const at::Tensor wanted = stays.step(recompute);
  ASSERT_TRUE(at::isfinite(wanted).all().item<bool>());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(moves.step(recompute).equal(wanted)) << "step " << i;
  at::NoGradGuard no_grad;
  EXPECT_TRUE(moves.forward().equal(stays.forward()));
  EXPECT_GT(moves.told->bytes, 0);
}

INSTANTIATE_TEST_SUITE_P(Kinds, BlockSwaps,
                         testing::Combine(testing::Values(Held::float32, Held::bfloat16, Held::nf4), testing::Values(1, 2, 3, 100), testing::Bool()));

// Two places hold the first blocks when a step begins and the last ones when backward does, so half of them need not come.
TEST(BlockSwap, ComesOneBlockAhead) {
  for (bool recompute : {true, false}) {
    Chain chain(Held::bfloat16, Chain::blocks);
    chain.step(recompute);
    chain.step(recompute);
    chain.told->order.clear();
    chain.step(recompute);
    // Blocks 2 and 3, then 1 and 0.
    EXPECT_EQ(chain.told->order, (std::vector<std::string>{"begin 0", "wait 0", "begin 1", "wait 1", "begin 1", "wait 1", "begin 0", "wait 0"}));
  }
}

TEST(BlockSwap, TellsWhatWaits) {
  Chain chain(Held::bfloat16, 2);
  EXPECT_EQ(chain.store.swap->summary(), "");
  const uint64_t matrix = Chain::width * Chain::width * 2;
  EXPECT_EQ(chain.store.swap->device_bytes(), 9 * matrix) << "of a CPU: all of them";
  chain.step(true);
  EXPECT_EQ(chain.store.swap->summary(), "2 of 4 blocks (512 bytes) wait in host memory, 2 at a time on the device (512 bytes)");
  EXPECT_EQ(chain.store.swap->device_bytes(), 9 * matrix + 2 * 2 * matrix);
  int waiting = 0;
  for (const Parameter& p : chain.store.parameters) waiting += p.swapped != nullptr;
  EXPECT_EQ(waiting, 9);
}

// What a model computes with on its own is kept by the graph, so it must not be in a place that is filled again.
TEST(BlockSwap, WhatAModelReadsItselfStays) {
  Chain stays(Held::bfloat16, 0), moves(Held::bfloat16, 4);
  stays.reads_a_matrix = moves.reads_a_matrix = true;
  const at::Tensor wanted = stays.step(true);
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(moves.step(true).equal(wanted));
  Chain later(Held::bfloat16, 4);
  later.step(true);
  later.reads_a_matrix = true;  // when its place was given already
  EXPECT_TRUE(later.step(true).equal(wanted));
}

TEST(BlockSwap, NothingToMoveIsSaid) {
  auto id_of = [](auto body) -> std::string {
    try {
      body();
    } catch (const Failure& f) {
      return f.errors.front().id;
    }
    return "";
  };
  ParamStore no_matrix("part");
  no_matrix.declare("bias", {4}, "zeros");
  no_matrix.swap = std::make_shared<BlockSwap>(1, at::kCPU, slot_copies_for(at::kCPU), "the.key");
  EXPECT_EQ(id_of([&] { no_matrix.allocate(at::kFloat, at::kCPU, [](const std::string&) { return false; }); }), "E7301");
  Chain chain(Held::float32, 1);
  chain.store.swap->forward_begins();
  EXPECT_EQ(id_of([&] { chain.store.swap->forward_ends(chain.store); }), "E7301") << "a forward pass without blocks";
}

// On a CPU the copies are made all the same.
TEST(BlockSwap, CopiesOfACpu) {
  auto copies = slot_copies_for(at::kCPU);
  at::Tensor place = copies->device_room(6), host = copies->host_room(4);
  host.fill_(3), place.fill_(0);
  copies->begin(0, place, {host, host.narrow(0, 0, 2) + 1});
  copies->wait(0);
  EXPECT_TRUE(place.equal(at::tensor({3, 3, 3, 3, 4, 4}, at::kByte)));
}

}  // namespace
}  // namespace t2i
