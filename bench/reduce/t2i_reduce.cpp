// One rank of a timing: the same backward with its gradients averaged by t2i's reducer and by c10d's (the one inside
// torch's DistributedDataParallel), over Gloo, in turns and in one pair of processes. Rank 0 prints the table.
//
//     torchrun --nproc-per-node=2 --no-python build/bin/t2i_reduce [layers [width [rows [repeats]]]]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "core/dist/group.h"
#include "core/dist/reducer.h"

namespace {

constexpr int64_t bucket_bytes = int64_t{25} << 20;  // both sides: DistributedDataParallel's own

struct Work {
  int64_t layers = 48, width = 1024, rows = 256;
  int repeats = 15;
};

// A chain of square matrices and what goes in; each side has its own, with equal values.
struct Chain {
  std::vector<at::Tensor> weights;
  at::Tensor x;
  Chain(const Work& work, int rank) {
    auto draw = at::make_generator<at::CPUGeneratorImpl>(uint64_t{7});
    double scale = 1 / std::sqrt(static_cast<double>(work.width));
    for (int64_t i = 0; i < work.layers; ++i)
      weights.push_back((at::randn({work.width, work.width}, draw) * scale).requires_grad_(true));
    auto own = at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(100 + rank));
    x = at::randn({work.rows, work.width}, own);
  }
  at::Tensor loss() const {
    at::Tensor y = x;
    for (const at::Tensor& w : weights) y = at::matmul(y, w);
    return y.square().mean();
  }
};

c10::intrusive_ptr<c10d::ProcessGroup> gloo(const t2i::Launch& launch) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(launch.master_port);
  options.isServer = false;  // torchrun serves it
  auto store = c10::make_intrusive<c10d::PrefixStore>(
      "t2i_reduce", c10::make_intrusive<c10d::TCPStore>(launch.master_address, options));
  auto backend = c10::make_intrusive<c10d::ProcessGroupGloo>(
      store, launch.rank, launch.world, c10d::ProcessGroupGloo::Options::create_default(std::chrono::seconds(60)));
  auto group = c10::make_intrusive<c10d::ProcessGroup>(store, launch.rank, launch.world);
  group->setBackend(at::kCPU, c10d::ProcessGroup::BackendType::GLOO, backend);
  group->setDefaultBackend(c10d::ProcessGroup::BackendType::GLOO);
  return group;
}

// As DistributedDataParallel makes it: buckets in the reverse order of the parameters, the first one small.
std::unique_ptr<c10d::Reducer> theirs(const Chain& chain, c10::intrusive_ptr<c10d::ProcessGroup> group) {
  auto [buckets, limits] = c10d::compute_bucket_assignment_by_size(
      chain.weights, {c10d::kDefaultFirstBucketBytes, static_cast<size_t>(bucket_bytes)},
      std::vector<bool>(chain.weights.size(), false));
  std::reverse(buckets.begin(), buckets.end());
  return std::make_unique<c10d::Reducer>(chain.weights, buckets, std::move(group),
                                         std::vector<bool>(chain.weights.size(), false), bucket_bytes, false, true,
                                         std::unordered_map<size_t, std::string>{}, c10d::kDefaultFirstBucketBytes,
                                         false, false, std::vector<int64_t>{});
}

double seconds(const std::function<void()>& work) {
  auto begun = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int run(const Work& work) {
  auto launch = t2i::launch_from_environment();
  if (!launch || launch->world < 2 || !launch->agent_store) {
    std::fprintf(stderr, "t2i_reduce: start it as two processes with torchrun\n");
    return 64;
  }
  at::set_num_threads(1);
  auto group = t2i::make_group(*launch, at::kCPU, 60);

  Chain alone(work, launch->rank), mine(work, launch->rank), ddp(work, launch->rank);
  const int64_t each = work.width * work.width;
  at::Tensor flat = at::zeros({work.layers * each});
  std::vector<t2i::ReducedParameter> parameters;
  for (int64_t i = 0; i < work.layers; ++i) {
    const at::Tensor& w = mine.weights[static_cast<size_t>(i)];
    w.mutable_grad() = flat.narrow(0, i * each, each).view_as(w);
    parameters.push_back({w, i * each, each});
  }
  t2i::Reducer reducer(*group, flat, parameters, bucket_bytes);
  auto torch_group = gloo(*launch);
  auto torch_reducer = theirs(ddp, torch_group);

  auto zero = [](const Chain& chain) {
    at::NoGradGuard no_grad;
    for (const at::Tensor& w : chain.weights)
      if (w.grad().defined()) w.mutable_grad().zero_();
  };
  auto step_alone = [&] {
    zero(alone);
    torch::autograd::backward({alone.loss()});
  };
  auto step_mine = [&] {
    {
      at::NoGradGuard no_grad;
      flat.zero_();
    }
    at::Tensor loss = mine.loss();
    reducer.arm();
    torch::autograd::backward({loss});
    reducer.finish();
  };
  auto step_theirs = [&] {
    zero(ddp);
    torch_reducer->rebuild_buckets();
    at::Tensor loss = ddp.loss();
    torch_reducer->prepare_for_backward({loss});
    torch::autograd::backward({loss});
  };

  std::vector<double> times[3], ratios;
  std::function<void()> steps[3] = {step_alone, step_mine, step_theirs};
  for (int repeat = -3; repeat < work.repeats; ++repeat) {  // three to warm up: both learn their buckets in the first
    double now[3];
    for (int turn = 0; turn < 3; ++turn) {
      int which = (turn + repeat + 3) % 3;
      group->barrier("turn");
      now[which] = seconds(steps[which]);
    }
    if (repeat < 0) continue;
    for (int i = 0; i < 3; ++i) times[i].push_back(now[i]);
    ratios.push_back(now[2] / now[1]);
  }
  double worst = 0, largest = 0;
  for (int64_t i = 0; i < work.layers; ++i) {
    const at::Tensor& a = mine.weights[static_cast<size_t>(i)].grad();
    const at::Tensor& b = ddp.weights[static_cast<size_t>(i)].grad();
    worst = std::max(worst, (a - b).abs().max().item<double>());
    largest = std::max(largest, b.abs().max().item<double>());
  }
  if (!(worst <= 1e-6 * largest)) {  // two float32 sums of two numbers, divided before or after: the same but for rounding
    std::fprintf(stderr, "t2i_reduce: the two sides have other gradients, by %g of %g\n", worst, largest);
    return 70;
  }
  if (group->is_first()) {
    std::sort(ratios.begin(), ratios.end());
    std::printf("%lld MiB of gradients, %d ranks, median of %d turns, s: no reduction %.3f, t2i %.3f, c10d %.3f; c10d / t2i %.2f (%.2f–%.2f)\n",
                static_cast<long long>(flat.nbytes() >> 20), launch->world, work.repeats, median(times[0]),
                median(times[1]), median(times[2]), ratios[ratios.size() / 2], ratios.front(), ratios.back());
  }
  group->barrier("end");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Work work;
  if (argc > 1) work.layers = std::stoll(argv[1]);
  if (argc > 2) work.width = std::stoll(argv[2]);
  if (argc > 3) work.rows = std::stoll(argv[3]);
  if (argc > 4) work.repeats = std::stoi(argv[4]);
  return run(work);
}
