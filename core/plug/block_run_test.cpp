// A block that is run again leaves the product of its last layer out, where nothing keeps it: the gradients must not tell,
// whatever comes after that layer.
#include "core/model/block_run.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/model/params.h"
#include "core/plug/handle.h"
#include "core/plug/services/services.h"

namespace t2i {
namespace {

enum class End { add, half, gate, square, gelu, scale, two_layers };

struct Block {
  ParamStore store{"part"};
  End end = End::add;
  bool convolution = false;
  int products_left_out = 0, runs = 0;

  void build(bool first_trained, bool last_trained) {
    auto shape = [&](int64_t n) { return convolution ? std::vector<int64_t>{n, n, 3, 3} : std::vector<int64_t>{n, n}; };
    store.declare("first.weight", shape(4), "default");
    store.declare("last.weight", shape(4), "default");
    store.declare("last.bias", {4}, "default");
    store.allocate(at::kFloat, at::kCPU, [&](const std::string& name) { return name.starts_with("first") ? first_trained : last_trained; });
    store.initialize(3);
  }

  t2i_tensor layer(t2i_tensor x, t2i_param weight, t2i_param bias) {
    t2i_tensor y = nullptr;
    int32_t rc = convolution ? param_service()->conv2d(&store, x, weight, bias, 1, 1, 1, 1, &y) : param_service()->linear(&store, x, weight, bias, &y);
    EXPECT_EQ(rc, T2I_OK);
    return y;
  }

  static t2i_tensor call(const char* name, const char* overload, std::initializer_list<t2i_value> values) {
    t2i_op op = nullptr;
    t2i_tensor out = nullptr;
    EXPECT_EQ(op_service()->find(name, overload, &op), T2I_OK);
    EXPECT_EQ(op_service()->call(op, values.begin(), static_cast<uint32_t>(values.size()), &out, 1), T2I_OK);
    return out;
  }
  static t2i_value tensor(t2i_tensor t) { return {T2I_TENSOR, 0, {.t = t}}; }

  static int32_t body(void* context, const t2i_tensor* in, uint32_t, t2i_tensor* out, uint32_t) {
    Block& self = **static_cast<Block**>(context);
    ++self.runs;
    t2i_tensor h = self.layer(in[0], 0, T2I_NO_PARAM), y = self.layer(h, 1, 2), last = y;
    if (at::Tensor values = unwrap(y).detach(); values.abs().max().item<float>() == 0) ++self.products_left_out;
    auto release = [&](t2i_tensor t) { at::Tensor gone = take(t); };
    t2i_value two{T2I_FLOAT, 0, {.d = 2.0}};
    switch (self.end) {
      case End::add: last = call("aten::add", "Tensor", {tensor(y), tensor(in[0])}); break;
      case End::half: last = call("aten::div", "Scalar", {tensor(y), two}); break;
      case End::gate: last = call("aten::mul", "Tensor", {tensor(y), tensor(in[1])}); break;   // in[1] wants no gradient
      case End::scale: last = call("aten::mul", "Tensor", {tensor(y), tensor(in[0])}); break;  // in[0] does
      case End::square: last = call("aten::mul", "Tensor", {tensor(y), tensor(y)}); break;
      case End::gelu: last = call("aten::gelu", "", {tensor(y)}); break;
      case End::two_layers: last = self.layer(y, 0, T2I_NO_PARAM); break;
    }
    out[0] = last;
    release(h);
    if (last != y) release(y);
    return T2I_OK;
  }

  // Gradients of the input and of the weights.
  at::Tensor gradients(bool recompute, bool input_wants) {
    store.recompute.every = recompute, store.blocks_met = 0;
    runs = 0;
    if (store.trained_grad.defined()) store.trained_grad.zero_();
    at::Tensor x = at::linspace(-2, 3, 64).view(convolution ? at::IntArrayRef{1, 4, 4, 4} : at::IntArrayRef{16, 4}).clone().requires_grad_(input_wants);
    at::Tensor gate = at::linspace(0.5, 2, 64).view(x.sizes());
    Block* self = this;
    t2i_tensor in[] = {borrow(x), borrow(gate)}, out = nullptr;
    EXPECT_EQ(block_service()->run(&store, "block", body, &self, sizeof self, in, 2, &out, 1), T2I_OK);
    at::Tensor y = take(out);
    if (!y.requires_grad()) return {};
    torch::autograd::backward({(y * y).sum()}, {});
    at::Tensor all = x.grad().defined() ? x.grad().flatten() : at::zeros({1});
    return store.trained_grad.defined() ? at::cat({all, store.trained_grad}) : all;
  }
};

struct Ends : testing::TestWithParam<std::tuple<End, bool, bool, bool>> {};

TEST_P(Ends, GradientsAreTheSameBits) {
  auto [end, convolution, first_trained, last_trained] = GetParam();
  Block block;
  block.end = end, block.convolution = convolution;
  block.build(first_trained, last_trained);
  const at::Tensor kept = block.gradients(false, true);
  ASSERT_GT(kept.abs().max().item<float>(), 0);
  const bool nothing_kept = end == End::add || end == End::half || end == End::gate || end == End::two_layers;
  for (int step = 0; step < 2; ++step) {
    block.products_left_out = 0;
    EXPECT_TRUE(block.gradients(true, true).equal(kept)) << "step " << step;
    // Where the values were needed, that is found once and remembered.
    EXPECT_EQ(block.runs, !nothing_kept && step == 0 ? 3 : 2);
    EXPECT_EQ(block.store.recomputed_whole["block"], !nothing_kept);
    if (convolution && last_trained) continue;  // small convolutions that are trained are left to ATen
    EXPECT_EQ(block.products_left_out, end == End::two_layers ? 0 : nothing_kept || step == 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Blocks, Ends,
                         testing::Combine(testing::Values(End::add, End::half, End::gate, End::square, End::gelu, End::scale, End::two_layers),
                                          testing::Bool(), testing::Bool(), testing::Bool()));

TEST(BlockRun, ABlockWithoutGradientsIsRunOnce) {
  Block block;
  block.build(false, false);
  EXPECT_FALSE(block.gradients(true, false).defined());
  EXPECT_EQ(block.runs, 1);
  Block trained;
  trained.build(true, false);
  EXPECT_TRUE(trained.gradients(true, false).equal(trained.gradients(false, false)));
}

}  // namespace
}  // namespace t2i
