// The pieces of diffusion transformers against ATen's compositions in float64: values, and gradients of all inputs.
// Tolerance 2e-6 of the largest value: float32 keeps 1.2e-7, sums over a row or over all rows add a few of these.
#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>

namespace t2i {
namespace {

using List = std::vector<at::Tensor>;

at::Tensor run(const char* name, const List& in, std::optional<double> eps) {
  c10::Stack stack(in.begin(), in.end());
  if (eps) stack.emplace_back(*eps);
  c10::Dispatcher::singleton().findSchemaOrThrow(name, "").callBoxed(stack);
  return stack.front().toTensor();
}

void expect_near(const at::Tensor& got, const at::Tensor& want, const std::string& what) {
  ASSERT_EQ(got.sizes(), want.sizes()) << what;
  double size = want.abs().max().item<double>(), off = (got.to(at::kDouble) - want).abs().max().item<double>();
  EXPECT_LE(off, 2e-6 * std::max(size, 1.0)) << what;
}

// One op with its composition in ATen.
struct Piece {
  const char* name;
  std::optional<double> eps;
  std::function<at::Tensor(const List&)> composed;
};
const Piece pieces[] = {
    {"t2i::ada_layer_norm", 1e-6, [](const List& in) { return at::layer_norm(in[0], {in[0].size(-1)}, {}, {}, 1e-6) * (in[1] + 1.0) + in[2]; }},
    {"t2i::gated_add", {}, [](const List& in) { return in[0] + in[1] * in[2]; }},
    {"t2i::rms_norm", 1e-6, [](const List& in) { return in[0] * (in[0].square().mean(-1, true) + 1e-6).rsqrt() * in[1]; }},
};

List inputs_of(const Piece& piece, int64_t b, int64_t l, int64_t w) {
  const std::string name = piece.name;
  at::Tensor x = at::randn({b, l, w}).mul_(3).add_(1), modulation = at::randn({b, 1, w});
  if (name == "t2i::ada_layer_norm") return {x, modulation, at::randn({b, 1, w})};
  if (name == "t2i::gated_add") return {x, modulation, at::randn({b, l, w})};
  return {x, at::randn({w})};
}

TEST(modulation, pieces_are_atens) {
  at::manual_seed(1);
  // rows that fill vectors and rows that do not; more rows than a block has, and one
  for (const auto& [b, l, w] : std::vector<std::array<int64_t, 3>>{{2, 7, 64}, {3, 5, 22}, {1, 1, 3}, {2, 700, 96}, {1, 300, 576}})
    for (const Piece& piece : pieces) {
      List in, in64;
      for (const at::Tensor& t : inputs_of(piece, b, l, w))
        in.push_back(t.clone().requires_grad_(true)), in64.push_back(t.to(at::kDouble).requires_grad_(true));
      at::Tensor y = run(piece.name, in, piece.eps), want = piece.composed(in64), g = at::randn(y.sizes());
      const std::string what = std::string(piece.name) + " of " + std::to_string(l) + " x " + std::to_string(w);
      expect_near(y, want, what);
      torch::autograd::backward({y}, {g});
      torch::autograd::backward({want}, {g.to(at::kDouble)});
      for (size_t i = 0; i < in.size(); ++i) expect_near(in[i].grad(), in64[i].grad(), what + ", gradient of input " + std::to_string(i));
    }
}

// Sums over rows must not depend on how many threads share them: a run resumed on another machine goes on bit for bit.
TEST(modulation, any_number_of_threads_gives_the_same_bits) {
  at::manual_seed(2);
  const int threads = at::get_num_threads();
  for (const Piece& piece : pieces) {
    const List given = inputs_of(piece, 2, 900, 96);
    at::Tensor g = at::randn({2, 900, 96});
    List first;
    for (int n : {1, 2, 3}) {
      at::set_num_threads(n);
      List in;
      for (const at::Tensor& t : given) in.push_back(t.clone().requires_grad_(true));
      torch::autograd::backward({run(piece.name, in, piece.eps)}, {g});
      for (size_t i = 0; i < in.size(); ++i) {
        if (n == 1) first.push_back(in[i].grad());
        EXPECT_TRUE(at::equal(in[i].grad(), first[i])) << piece.name << ", input " << i << ", " << n << " threads";
      }
    }
  }
  at::set_num_threads(threads);
}

// What has no rows of its own goes to ATen: another type, a slice as it lies, a shape that ATen broadcasts.
TEST(modulation, other_types_and_shapes) {
  at::manual_seed(3);
  for (const Piece& piece : pieces) {
    List in = inputs_of(piece, 2, 6, 32), halves;
    at::Tensor want = piece.composed(in);
    for (const at::Tensor& t : in) halves.push_back(t.to(at::kBFloat16));
    EXPECT_TRUE(at::allclose(run(piece.name, halves, piece.eps).to(at::kFloat), want, 0.05, 0.1)) << piece.name;
    List slices = in;
    slices[0] = at::cat({in[0], in[0]}, 1).narrow(1, 6, 6);
    EXPECT_TRUE(at::allclose(run(piece.name, slices, piece.eps), want, 1e-5, 1e-5)) << piece.name;
  }
  List one = inputs_of(pieces[0], 1, 6, 32);
  one[0] = one[0].expand({4, 6, 32});
  EXPECT_TRUE(at::allclose(run("t2i::ada_layer_norm", one, 1e-6), pieces[0].composed(one), 1e-5, 1e-5));
}

}  // namespace
}  // namespace t2i
