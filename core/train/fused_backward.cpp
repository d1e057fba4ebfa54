#include "core/train/fused_backward.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <functional>
#include <mutex>

#include "core/base/error.h"
#include "core/train/norm.h"

namespace t2i {
namespace {

struct Arrival final : torch::autograd::PostAccumulateGradHook {
  std::function<void()> arrived;
  explicit Arrival(std::function<void()> f) : arrived(std::move(f)) {}
  void operator()(const at::Tensor&) override { arrived(); }
};

}  // namespace

struct FusedBackward::State {
  Optimizer& optimizer;
  std::vector<const Parameter*> parameters;
  std::vector<bool> is_watched;

  std::mutex mutex;  // gradients arrive on autograd's threads; what is below is protected by it
  bool running = false, measure = false;
  StepNumbers numbers;
  std::vector<bool> updated;
  std::vector<at::Tensor> norms, watched;

  explicit State(Optimizer& o) : optimizer(o) {}

  void update(size_t i, const at::Tensor& grad) {
    at::Tensor norm = norm_of(grad.reshape({-1}));
    norms.push_back(norm);
    if (measure && is_watched[i]) watched.push_back(grad.abs().mean().to(at::kFloat));
    StepNumbers own = numbers;
    own.found_bad = at::maximum(numbers.found_bad, at::logical_not(at::isfinite(norm)).to(at::kFloat).reshape({1}));
    optimizer.step_one(i, grad, own);
    updated[i] = true;
  }

  void arrived(size_t i) {
    std::lock_guard lock(mutex);
    at::Tensor grad = parameters[i]->value.grad();
    if (!running || !grad.defined()) return;
    at::NoGradGuard no_grad;
    // Two blocks that are computed again in the backward pass each bring their share: the first came as if it were all.
    if (updated[i])
      fail({"optimizer.fused_backward", "'" + parameters[i]->name + "' got a second gradient in one step",
            "Several blocks that are computed again use this weight, and it was updated with the first one's gradient alone. Nothing was saved since",
            "set train.gradient_checkpointing: false, or optimizer.fused_backward: false", "E7203", Exit::failed});
    update(i, grad);
    parameters[i]->value.mutable_grad().reset();
  }
};

FusedBackward::FusedBackward(const ParamStore& weights, Optimizer& optimizer, const std::vector<const Parameter*>& watched)
    : state_(std::make_unique<State>(optimizer)) {
  State& s = *state_;
  s.parameters = weights.trained_parameters();
  for (size_t i = 0; i < s.parameters.size(); ++i) {
    const at::Tensor& value = s.parameters[i]->value;
    TORCH_CHECK(!value.grad().defined(), "gradients are kept already: ", s.parameters[i]->name);
    s.is_watched.push_back(std::ranges::count(watched, s.parameters[i]) > 0);
    torch::autograd::impl::set_post_acc_grad_hooks(value, std::make_unique<Arrival>([&s, i] { s.arrived(i); }));
  }
}

FusedBackward::~FusedBackward() {
  for (const Parameter* p : state_->parameters) torch::autograd::impl::set_post_acc_grad_hooks(p->value, nullptr);
}

void FusedBackward::begin(const StepNumbers& numbers, bool measure) {
  State& s = *state_;
  std::lock_guard lock(s.mutex);
  s.numbers = numbers, s.measure = measure, s.running = true;
  s.updated.assign(s.parameters.size(), false);
  s.norms.clear(), s.watched.clear();
  s.optimizer.begin(numbers);
}

FusedBackward::Result FusedBackward::finish() {
  State& s = *state_;
  std::lock_guard lock(s.mutex);
  at::NoGradGuard no_grad;
  s.running = false;
  for (size_t i = 0; i < s.parameters.size(); ++i) {
    if (s.updated[i]) continue;
    at::Tensor& grad = s.parameters[i]->value.mutable_grad();
    s.update(i, grad.defined() ? grad : at::zeros_like(s.parameters[i]->value));
    grad.reset();
  }
  Result result;
  result.grad_norm = norm_of(at::stack(s.norms));
  if (!s.watched.empty()) result.watched_grad = at::stack(s.watched).mean();
  s.norms.clear(), s.watched.clear();
  return result;
}

}  // namespace t2i
