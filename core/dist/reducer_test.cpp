// The reducer in a pretended world: the other rank has the gradients of `peer`, and every reduction is recorded with
// what backward had reached by then.
#include "core/dist/reducer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace t2i {
namespace {

struct PretendedGroup final : Group {
  at::Tensor flat, peer;                             // this rank's gradient buffer; the other rank's gradients
  std::vector<std::pair<int64_t, int64_t>> started;  // begin and end of each reduction
  int waited = 0;

  struct Sum final : Pending {
    PretendedGroup& group;
    at::Tensor mine, theirs;
    Sum(PretendedGroup& g, at::Tensor m, at::Tensor t) : group(g), mine(m), theirs(t) {}
    void wait() override { mine.add_(theirs), ++group.waited; }  // late, so that a late gradient would be seen
  };
  int rank() const override { return 0; }
  int world() const override { return 2; }
  std::unique_ptr<Pending> start_all_reduce(at::Tensor tensor, const std::string& what) override {
    EXPECT_EQ(what, "gradients " + std::to_string(started.size()));
    int64_t begin = tensor.storage_offset() - flat.storage_offset();
    started.emplace_back(begin, begin + tensor.numel());
    // The peer divides before it sends, as this rank does.
    return std::make_unique<Sum>(*this, tensor, peer.narrow(0, begin, tensor.numel()) / 2);
  }
  void broadcast(at::Tensor, int, const std::string&) override {}
  double sum_on_hosts(double number, const std::string&) override { return number; }
  std::vector<std::string> gather_text(const std::string&, const std::string&) override { return {}; }
  void barrier(const std::string&) override {}
};

// Four 4×4 matrices in one flat buffer, each with 16 elements of gradient.
struct Matrices {
  at::Tensor flat = at::zeros({64});
  std::vector<ReducedParameter> parameters;
  PretendedGroup group;
  Matrices() {
    at::Tensor values = at::arange(64, at::kFloat).div(64).sub(0.5);
    for (int64_t i = 0; i < 4; ++i) {
      at::Tensor value = values.narrow(0, 16 * i, 16).view({4, 4}).clone().requires_grad_(true);
      value.mutable_grad() = flat.narrow(0, 16 * i, 16).view({4, 4});
      parameters.push_back({value, 16 * i, 16});
    }
    group.flat = flat;
    group.peer = at::arange(64, at::kFloat);
  }
  at::Tensor operator[](size_t i) const { return parameters[i].value; }
};

// What backward had started when it came to the input of the model, that is, when it was done but for nothing.
struct Watch : torch::autograd::Function<Watch> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, at::Tensor x, std::function<void()> seen) {
    ctx->saved_data["seen"] = reinterpret_cast<int64_t>(new std::function<void()>(std::move(seen)));
    return x.clone();
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    std::unique_ptr<std::function<void()>> seen(
        reinterpret_cast<std::function<void()>*>(ctx->saved_data["seen"].toInt()));
    (*seen)();
    return {grads[0], at::Tensor()};
  }
};

// A block that keeps its input alone and runs again in backward: gradients come from a backward inside the backward.
struct Again : torch::autograd::Function<Again> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, at::Tensor x, at::Tensor weight) {
    ctx->save_for_backward({x, weight});
    return at::tanh(at::matmul(x, weight));
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    auto saved = ctx->get_saved_variables();
    at::AutoGradMode with_grad(true);
    at::Tensor x = saved[0].detach().requires_grad_(true);
    at::Tensor y = at::tanh(at::matmul(x, saved[1]));
    torch::autograd::backward({y}, {grads[0]});
    return {x.grad(), at::Tensor()};
  }
};

constexpr int64_t one_matrix = 16 * sizeof(float);

at::Tensor chain(const Matrices& m, const std::function<void()>& seen) {
  at::Tensor x = at::ones({2, 4}).requires_grad_(true);
  x = at::matmul(x, m[0]);
  if (seen) x = Watch::apply(x, seen);
  for (size_t i = 1; i < 4; ++i) x = at::tanh(at::matmul(x, m[i]));
  return x.sum();
}

// Gradients of this rank alone, by plain autograd on copies.
at::Tensor plain_gradient(const std::function<at::Tensor(const Matrices&)>& loss) {
  Matrices fresh;
  torch::autograd::backward({loss(fresh)});
  return fresh.flat;
}

void expect_mean(const at::Tensor& got, const at::Tensor& mine, const at::Tensor& peer) {
  // Halving is exact in binary floating point, so there is no tolerance.
  EXPECT_TRUE(at::equal(got, mine / 2 + peer / 2)) << got << mine << peer;
}

TEST(reducer, buckets_start_from_the_end_while_backward_runs) {
  Matrices m;
  Reducer reducer(m.group, m.flat, m.parameters, one_matrix);
  size_t started_at_watch = 99;
  auto step = [&] {
    m.flat.zero_();
    m.group.started.clear();
    reducer.arm();
    torch::autograd::backward({chain(m, [&] { started_at_watch = m.group.started.size(); })});
    reducer.finish();
  };
  at::Tensor alone = plain_gradient([](const Matrices& f) { return chain(f, nullptr); });
  std::vector<std::pair<int64_t, int64_t>> all{{48, 64}, {32, 48}, {16, 32}, {0, 16}};
  step();
  EXPECT_EQ(started_at_watch, 0u) << "the first armed backward only counts";
  EXPECT_EQ(m.group.started, all);
  expect_mean(m.flat, alone, m.group.peer);
  for (int repeat = 0; repeat < 3; ++repeat) {
    step();
    EXPECT_EQ(started_at_watch, 3u);
    EXPECT_EQ(m.group.started, all);
    expect_mean(m.flat, alone, m.group.peer);
  }
}

TEST(reducer, only_the_armed_backward_reduces) {
  Matrices m;
  Reducer reducer(m.group, m.flat, m.parameters, one_matrix);
  at::Tensor alone = plain_gradient([](const Matrices& f) { return chain(f, nullptr); });
  for (int step = 0; step < 2; ++step) {
    m.flat.zero_();
    m.group.started.clear();
    torch::autograd::backward({chain(m, nullptr)});  // accumulation: not armed
    EXPECT_TRUE(m.group.started.empty());
    reducer.arm();
    torch::autograd::backward({chain(m, nullptr)});
    reducer.finish();
    EXPECT_EQ(m.group.started.size(), 4u);
    expect_mean(m.flat, alone + alone, m.group.peer);
  }
}

TEST(reducer, buckets_hold_neighbours_and_cover_everything) {
  struct Row {
    int64_t bytes;
    std::vector<std::pair<int64_t, int64_t>> buckets;
  };
  for (const Row& row : {Row{1, {{48, 64}, {32, 48}, {16, 32}, {0, 16}}}, Row{2 * one_matrix, {{32, 64}, {0, 32}}},
                         Row{3 * one_matrix, {{16, 64}, {0, 16}}}, Row{1 << 20, {{0, 64}}}}) {
    Matrices m;
    Reducer reducer(m.group, m.flat, m.parameters, row.bytes);
    reducer.arm();
    reducer.finish();
    EXPECT_EQ(m.group.started, row.buckets) << row.bytes;
  }
}

TEST(reducer, an_unused_parameter_holds_its_bucket_until_the_end) {
  Matrices m;
  Reducer reducer(m.group, m.flat, m.parameters, one_matrix);
  auto loss = [](const Matrices& f) {  // f[2] has no gradient here
    return at::matmul(at::tanh(at::matmul(at::ones({2, 4}), f[0])), at::matmul(f[1], f[3])).sum();
  };
  at::Tensor alone = plain_gradient(loss);
  for (int step = 0; step < 3; ++step) {
    m.flat.zero_();
    m.group.started.clear();
    reducer.arm();
    torch::autograd::backward({loss(m)});
    EXPECT_EQ(m.group.started.size(), step ? 1u : 0u)
        << "behind f[2] nothing may start: other ranks keep the order too";
    reducer.finish();
    EXPECT_EQ(m.group.started.size(), 4u);
    expect_mean(m.flat, alone, m.group.peer);
  }
}

TEST(reducer, blocks_run_again_in_backward_may_share_a_parameter) {
  Matrices m;
  Reducer reducer(m.group, m.flat, m.parameters, one_matrix);
  auto loss = [](const Matrices& f) {
    at::Tensor x = at::ones({2, 4}).requires_grad_(true);
    for (size_t i : {3u, 0u, 1u, 2u, 3u}) x = Again::apply(x, f[i]);  // f[3] first and last: two accumulations
    return x.sum();
  };
  at::Tensor alone = plain_gradient(loss);
  for (int step = 0; step < 3; ++step) {
    m.flat.zero_();
    m.group.started.clear();
    reducer.arm();
    torch::autograd::backward({loss(m)});
    EXPECT_EQ(m.group.started.size(), step ? 4u : 0u);
    reducer.finish();
    expect_mean(m.flat, alone, m.group.peer);
  }
}

TEST(reducer, a_gradient_after_its_reduction_is_refused) {
  Matrices m;
  Reducer reducer(m.group, m.flat, m.parameters, one_matrix);
  auto loss = [&](int times) {
    at::Tensor x = at::ones({2, 4}).requires_grad_(true);
    for (int i = 0; i < times; ++i) x = Again::apply(x, m[3]);
    return x.sum();
  };
  reducer.arm();
  torch::autograd::backward({loss(1)});
  reducer.finish();
  m.group.started.clear();
  reducer.arm();
  EXPECT_THROW(torch::autograd::backward({loss(2)}), c10::Error);
}

TEST(reducer, a_failing_reduction_ends_backward_with_its_own_error) {
  struct Broken final : Group {
    int rank() const override { return 0; }
    int world() const override { return 2; }
    std::unique_ptr<Pending> start_all_reduce(at::Tensor, const std::string& what) override {
      if (broken) fail({what, "rank 1 is gone", "", "", "E5001", Exit::peer_failed});
      return single_group()->start_all_reduce({}, what);
    }
    void broadcast(at::Tensor, int, const std::string&) override {}
    double sum_on_hosts(double number, const std::string&) override { return number; }
    std::vector<std::string> gather_text(const std::string&, const std::string&) override { return {}; }
    void barrier(const std::string&) override {}
    bool broken = false;
  } group;
  Matrices m;
  Reducer reducer(group, m.flat, m.parameters, one_matrix);
  reducer.arm();
  torch::autograd::backward({chain(m, nullptr)});
  reducer.finish();
  group.broken = true;
  reducer.arm();
  try {
    torch::autograd::backward({chain(m, nullptr)});
    FAIL() << "backward went on";
  } catch (const Failure& f) {
    EXPECT_EQ(f.exit(), Exit::peer_failed);
    EXPECT_EQ(f.errors.at(0).what, "rank 1 is gone");
  }
}

TEST(reducer, a_world_of_one_has_no_hooks) {
  Matrices m;
  auto group = single_group();
  Reducer reducer(*group, m.flat, m.parameters);
  EXPECT_FALSE(torch::autograd::impl::post_acc_grad_hooks(m[0]));
  reducer.arm();
  torch::autograd::backward({chain(m, nullptr)});
  reducer.finish();
  EXPECT_TRUE(at::equal(m.flat, plain_gradient([](const Matrices& f) { return chain(f, nullptr); })));
}

TEST(reducer, takes_its_hooks_away) {
  Matrices m;
  { Reducer reducer(m.group, m.flat, m.parameters); }
  EXPECT_FALSE(torch::autograd::impl::post_acc_grad_hooks(m[0]));
}

}  // namespace
}  // namespace t2i
