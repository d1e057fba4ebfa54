// One process of a world for tests/test_two_processes.py: does what argv[1] names and ends as a run ends.
//   group_exercise WHAT TIMEOUT_SECONDS [ARGUMENT]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "core/base/launcher_report.h"
#include "core/dist/group.h"
#include "core/dist/reducer.h"

using namespace t2i;

namespace {

void say(const Group& group, const std::string& text) {
  std::printf("rank %d: %s\n", group.rank(), text.c_str());
  std::fflush(stdout);
}

void expect(bool holds, const char* what) {
  if (!holds) fail({"group_exercise", std::string("not so: ") + what, "", "", "E9001", Exit::failed});
}

// Sums, copies and texts; checked here, where the values are.
void collectives(Group& group) {
  int world = group.world(), rank = group.rank();
  for (auto type : {at::kFloat, at::kDouble, at::kLong, at::kHalf, at::kBFloat16}) {
    at::Tensor t = at::full({3, 5}, rank + 1, type);
    group.all_reduce(t, "sum");
    expect(t.eq(world * (world + 1) / 2).all().item<bool>(), "all_reduce sums over the ranks");
    at::Tensor from = at::full({7}, rank == 1 ? 42 : 0, type);
    group.broadcast(from, 1, "copy");
    expect(from.eq(42).all().item<bool>(), "broadcast copies rank 1's values");
  }
  at::Tensor large = at::full({1 << 20}, 0.5, at::kFloat);  // 4 MiB: several packets
  std::vector<std::unique_ptr<Pending>> pending;            // many under way at once, as the reducer has
  for (int64_t i = 0; i < 8; ++i) pending.push_back(group.start_all_reduce(large.narrow(0, i << 17, 1 << 17), "slice"));
  for (auto& p : pending) p->wait();
  expect(large.eq(0.5 * world).all().item<bool>(), "slices are reduced in place");
  for (int round = 0; round < 3; ++round) {
    auto texts = group.gather_text("text " + std::to_string(round) + std::string(static_cast<size_t>(rank) * 1000, '.'),
                                   "texts");
    expect(static_cast<int>(texts.size()) == world, "one text of every rank");
    for (int r = 0; r < world; ++r)
      expect(texts[static_cast<size_t>(r)] ==
                 "text " + std::to_string(round) + std::string(static_cast<size_t>(r) * 1000, '.'),
             "texts come by rank");
  }
  group.barrier("end");
  require_equal(group, {{"configuration", "same"}});
  ::raise(SIGPIPE);  // what a write to a dead peer's socket does: an error of that write, never the end of the process
  say(group, "collectives ok");
}

// All-reduces until something happens; rank `victim` sends itself a signal before the fifth.
void signalled(Group& group, int victim, int signal) {
  for (int i = 0; i < 10'000; ++i) {
    if (i == 5 && group.rank() == victim) {
      say(group, "pid " + std::to_string(getpid()));
      raise(signal);
    }
    at::Tensor t = at::ones({1000});
    group.all_reduce(t, "gradients");
  }
}

// Gradients of a small network on this rank's part of eight samples, reduced, and its loss of three descents.
void gradients(Group& group, bool reducer_wanted) {
  at::Tensor x = at::sin(at::arange(8 * 6, at::kFloat)).view({8, 6}),
             y = at::cos(at::arange(8 * 2, at::kFloat)).view({8, 2});
  int64_t share = 8 / group.world();
  x = x.narrow(0, group.rank() * share, share), y = y.narrow(0, group.rank() * share, share);
  const std::vector<std::pair<int64_t, int64_t>> shapes{{6, 16}, {16, 16}, {16, 2}};
  int64_t total = 6 * 16 + 16 * 16 + 16 * 2, offset = 0;
  at::Tensor values = at::sin(at::arange(total, at::kFloat) * 1.7) * 0.3, flat = at::zeros({total});
  std::vector<ReducedParameter> parameters;
  for (auto [rows, columns] : shapes) {
    at::Tensor value = values.narrow(0, offset, rows * columns).view({rows, columns}).detach().requires_grad_(true);
    value.mutable_grad() = flat.narrow(0, offset, rows * columns).view({rows, columns});
    parameters.push_back({value, offset, rows * columns});
    offset += rows * columns;
  }
  std::unique_ptr<Reducer> reducer;
  if (reducer_wanted) reducer = std::make_unique<Reducer>(group, flat, parameters, 512);
  for (int step = 0; step < 20; ++step) {
    flat.zero_();
    if (reducer) reducer->arm();
    at::Tensor h = x;
    for (size_t i = 0; i < 3; ++i) h = at::matmul(i ? at::tanh(h) : h, parameters[i].value);
    torch::autograd::backward({at::mse_loss(h, y)});
    if (reducer) reducer->finish();
    values.sub_(flat, 0.1);
  }
  if (!group.is_first()) return;
  const float* v = values.const_data_ptr<float>();
  for (int64_t i = 0; i < total; ++i) std::printf("%.9g\n", static_cast<double>(v[i]));
}

int run(int argc, char** argv) {
  expect(argc >= 3, "usage: group_exercise WHAT TIMEOUT_SECONDS [ARGUMENT]");
  std::string what = argv[1], argument = argc > 3 ? argv[3] : "";
  at::set_num_threads(1);
  Launch launch = launch_from_environment().take();
  auto group = make_group(launch, at::kCPU, std::atoi(argv[2]));
  if (what == "collectives") collectives(*group);
  if (what == "killed") signalled(*group, std::atoi(argument.c_str()), SIGKILL);
  if (what == "stopped") signalled(*group, std::atoi(argument.c_str()), SIGSTOP);
  if (what == "gradients") gradients(*group, group->world() > 1);
  if (what == "differ")
    require_equal(*group, {{"configuration", "same"}, {"data fingerprint", "d" + std::to_string(group->rank())}});
  if (what == "late") {  // a barrier waits far longer than a collective
    if (group->rank() == 1) std::this_thread::sleep_for(std::chrono::seconds(4));
    group->barrier("rank 1 writes");
    say(*group, "late ok");
  }
  if (what == "leaves") {  // rank 1 fails for a reason of its own while the others wait in a barrier or a collective
    if (group->rank() == 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
      fail({"step 812", "the loss is NaN", "", "", "E4201", Exit::failed});
    }
    if (argument == "barrier") group->barrier("checkpoint");
    at::Tensor t = at::ones({10});
    group->all_reduce(t, "gradients");
  }
  if (what == "restart") {  // the first attempt loses rank 1; the second must not meet what the first left in the store
    at::Tensor t = at::ones({1});
    group->all_reduce(t, "first");
    if (launch.restart == 0 && group->rank() == 1) _exit(7);
    group->barrier("after");
    say(*group, "restart ok in attempt " + std::to_string(launch.restart));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const Failure& f) {
    std::fprintf(stderr, "%s\n", f.what());
    report_to_launcher(f.what());
    return static_cast<int>(f.exit());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "uncaught: %s\n", e.what());
    return 70;
  }
}
