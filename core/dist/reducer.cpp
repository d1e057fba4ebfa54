// How many times a parameter's gradient is accumulated in one backward is learned, not assumed: a parameter used by two
// recomputed blocks gets a contribution from each block's own backward, and its bucket must wait for both. The first
// armed backward only counts; nothing is reduced before it ends. Later ones start a bucket when all counts are reached.
#include "core/dist/reducer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <mutex>

namespace t2i {
namespace {

struct Bucket {
  int64_t begin = 0, end = 0;  // elements of the flat gradient
  std::vector<size_t> parameters;
  int64_t awaited = 0, arrived = 0;  // accumulations: learned, and of this backward
  std::unique_ptr<Pending> pending;
};

}  // namespace

struct Reducer::State {
  Group& group;
  at::Tensor flat;
  std::vector<ReducedParameter> parameters;
  std::vector<Bucket> buckets;    // [0] is the end of the flat gradient
  std::vector<size_t> bucket_of;  // by parameter

  std::mutex mutex;  // accumulation runs on autograd's threads; state below is protected by it
  bool armed = false, learned = false;
  size_t started = 0;  // buckets whose reduction is under way: always the first ones

  explicit State(Group& g) : group(g) {}

  // Divided before it is summed: a sum of ranks cannot overflow where their mean would not.
  void start(Bucket& bucket) {
    at::NoGradGuard no_grad;
    at::Tensor slice = flat.narrow(0, bucket.begin, bucket.end - bucket.begin);
    slice.div_(group.world());
    bucket.pending = group.start_all_reduce(slice, "gradients " + std::to_string(started));
    ++started;
  }

  void arrived(size_t parameter) {
    std::lock_guard lock(mutex);
    if (!armed) return;
    size_t index = bucket_of[parameter];
    Bucket& bucket = buckets[index];
    ++bucket.arrived;
    if (!learned) return;
    TORCH_CHECK(index >= started,
                "a gradient arrived after its bucket had been reduced: the model uses its parameters "
                "more often in this step than in the one before (parameter ",
                parameter, " of ", parameters.size(), ")");
    while (started < buckets.size() && buckets[started].awaited && buckets[started].arrived >= buckets[started].awaited)
      start(buckets[started]);
  }
};

namespace {

struct Arrival final : torch::autograd::PostAccumulateGradHook {
  std::function<void()> arrived;
  explicit Arrival(std::function<void()> f) : arrived(std::move(f)) {}
  void operator()(const at::Tensor&) override { arrived(); }
};

}  // namespace

Reducer::Reducer(Group& group, at::Tensor flat_grad, std::vector<ReducedParameter> parameters, int64_t bucket_bytes)
    : state_(std::make_unique<State>(group)) {
  if (group.world() == 1) return;
  State& s = *state_;
  TORCH_CHECK(flat_grad.dim() == 1 && flat_grad.is_contiguous(), "the flat gradient is not flat");
  s.flat = flat_grad;
  s.parameters = std::move(parameters);
  s.bucket_of.resize(s.parameters.size());
  std::vector<size_t> order(s.parameters.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return s.parameters[a].offset > s.parameters[b].offset; });

  int64_t bucket_elements = std::max<int64_t>(1, bucket_bytes / static_cast<int64_t>(flat_grad.element_size()));
  int64_t end = flat_grad.numel();
  for (size_t i : order) {
    const ReducedParameter& p = s.parameters[i];
    TORCH_CHECK(p.value.is_leaf() && p.value.requires_grad() && p.value.grad().defined() &&
                    p.value.grad().is_alias_of(flat_grad) && p.value.numel() == p.elements,
                "parameter ", i, " is not a leaf whose gradient lies in the flat gradient");
    TORCH_CHECK(!torch::autograd::impl::post_acc_grad_hooks(p.value), "parameter ", i, " has a hook already");
    bool full = !s.buckets.empty() && s.buckets.back().end - p.offset > bucket_elements;
    if (s.buckets.empty() || full)
      s.buckets.push_back({0, s.buckets.empty() ? end : s.buckets.back().begin, {}, 0, 0, nullptr});
    s.buckets.back().begin = p.offset;
    s.buckets.back().parameters.push_back(i);
    s.bucket_of[i] = s.buckets.size() - 1;
  }
  if (!s.buckets.empty()) s.buckets.back().begin = 0;
  for (size_t i = 0; i < s.parameters.size(); ++i)
    torch::autograd::impl::set_post_acc_grad_hooks(s.parameters[i].value,
                                                   std::make_unique<Arrival>([&s, i] { s.arrived(i); }));
}

Reducer::~Reducer() {
  for (const ReducedParameter& p : state_->parameters) torch::autograd::impl::set_post_acc_grad_hooks(p.value, nullptr);
}

void Reducer::arm() {
  std::lock_guard lock(state_->mutex);
  for (Bucket& bucket : state_->buckets) bucket.arrived = 0;
  state_->started = 0;
  state_->armed = true;
}

void Reducer::finish() {
  State& s = *state_;
  std::lock_guard lock(s.mutex);
  TORCH_CHECK(s.armed, "finish() without arm()");
  s.armed = false;
  while (s.started < s.buckets.size()) s.start(s.buckets[s.started]);
  for (Bucket& bucket : s.buckets) {
    bucket.pending->wait();
    bucket.pending.reset();
    bucket.awaited = std::max(bucket.awaited, bucket.arrived);
  }
  s.learned = true;
}

}  // namespace t2i
