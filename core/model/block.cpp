#include "core/model/block.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/model/block_run.h"

namespace t2i {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Body : torch::CustomClassHolder {
  BlockBody run;
  std::shared_ptr<Offload> offload;
  bool* whole;                     // run_recomputed()
  int64_t layers = 0;              // that the first run met
  std::vector<at::Tensor> made;    // by it
  Body(BlockBody f, std::shared_ptr<Offload> o, bool* w) : run(std::move(f)), offload(std::move(o)), whole(w) {}

  // Again, in its graph. Nothing reads what it makes, so its last layer need not multiply (block_run.h).
  std::vector<at::Tensor> run_again(const variable_list& in) {
    if (whole && !*whole && layers > 0) {
      BlockRun without_the_last(layers - 1);
      auto out = run(in);
      if (!without_the_last.values_were_needed()) return out;
      *whole = true;
    }
    return run(in);
  }
};

// Backward runs outside the forward's autocast region: what was on then must be on again.
class AutocastAs {
  at::DeviceType device_;
  bool enabled_before_;
  at::ScalarType dtype_before_;

 public:
  AutocastAs(at::DeviceType device, bool enabled, at::ScalarType dtype)
      : device_(device), enabled_before_(at::autocast::is_autocast_enabled(device)), dtype_before_(at::autocast::get_autocast_dtype(device)) {
    at::autocast::set_autocast_enabled(device, enabled);
    at::autocast::set_autocast_dtype(device, dtype);
  }
  ~AutocastAs() {
    // Autocast keeps the weights that it has cast until its region ends, and a backward pass has none: the next step
    // would begin with the weights of this one.
    at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(device_, enabled_before_);
    at::autocast::set_autocast_dtype(device_, dtype_before_);
  }
};

// `anchor` is a leaf that requires grad and gets none: it puts the node into the graph even when no input requires
// grad but parameters inside the body do.
struct Recompute : torch::autograd::Function<Recompute> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& /*anchor*/, at::ArrayRef<at::Tensor> inputs,
                               c10::intrusive_ptr<Body> body) {
    variable_list in(inputs.begin(), inputs.end());
    if (body->offload) ctx->saved_data["kept"] = body->offload->keep(in);
    else ctx->save_for_backward(in);
    std::vector<bool> wants_grad;
    for (const at::Tensor& t : in) wants_grad.push_back(t.defined() && t.requires_grad());
    ctx->saved_data["wants_grad"] = c10::IValue(c10::List<bool>([&] {
      c10::List<bool> l;
      for (bool b : wants_grad) l.push_back(b);
      return l;
    }()));
    ctx->saved_data["body"] = c10::IValue::make_capsule(body);
    at::DeviceType device = at::kCPU;
    for (const at::Tensor& t : in)
      if (t.defined()) device = t.device().type();
    ctx->saved_data["device"] = static_cast<int64_t>(device);
    ctx->saved_data["autocast"] = at::autocast::is_autocast_enabled(device);
    ctx->saved_data["autocast_dtype"] = static_cast<int64_t>(at::autocast::get_autocast_dtype(device));
    return std::move(body->made);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto body = c10::static_intrusive_pointer_cast<Body>(ctx->saved_data["body"].toCapsule());
    auto wants_grad = ctx->saved_data["wants_grad"].toBoolList();
    variable_list in, in_grads;
    auto saved = body->offload ? body->offload->take(ctx->saved_data["kept"].toInt()) : ctx->get_saved_variables();
    in_grads.resize(saved.size());
    for (size_t i = 0; i < saved.size(); ++i) {
      in.push_back(saved[i].defined() ? saved[i].detach().requires_grad_(wants_grad[i]) : at::Tensor());
      // Taken by a hook, as it comes: a leaf's own .grad() would be copied to the leaf's memory layout, and what follows
      // would sum in another order than without recompute.
      if (wants_grad[i]) in.back().register_hook([&in_grads, i](const at::Tensor& grad) { in_grads[i] = grad; });
    }
    variable_list out;
    {
      at::AutoGradMode with_grad(true);
      AutocastAs as_forward(static_cast<at::DeviceType>(ctx->saved_data["device"].toInt()), ctx->saved_data["autocast"].toBool(),
                            static_cast<at::ScalarType>(ctx->saved_data["autocast_dtype"].toInt()));
      out = body->run_again(in);
    }
    variable_list roots, root_grads;
    for (size_t i = 0; i < out.size(); ++i)
      if (out[i].requires_grad() && grads[i].defined()) roots.push_back(out[i]), root_grads.push_back(grads[i]);
    if (!roots.empty()) torch::autograd::backward(roots, root_grads);
    variable_list result{at::Tensor()};
    for (size_t i = 0; i < in.size(); ++i) result.push_back(in_grads[i]);
    result.emplace_back();
    return result;
  }
};

}  // namespace

std::vector<at::Tensor> run_recomputed(const std::vector<at::Tensor>& inputs, BlockBody run, bool* whole, std::shared_ptr<Offload> offload) {
  if (!at::GradMode::is_enabled()) return run(inputs);
  auto body = c10::make_intrusive<Body>(std::move(run), std::move(offload), whole);
  bool wants_gradient = !whole;
  for (const at::Tensor& x : inputs) wants_gradient |= x.defined() && x.requires_grad();
  {
    at::NoGradGuard keeping_nothing;
    BlockRun first;
    body->made = body->run(inputs);
    body->layers = first.layers();
    wants_gradient |= first.trains();
  }
  if (!wants_gradient) return std::move(body->made);
  at::Tensor anchor = at::empty({0}).requires_grad_(true);
  return Recompute::apply(anchor, at::ArrayRef<at::Tensor>(inputs), std::move(body));
}

}  // namespace t2i
