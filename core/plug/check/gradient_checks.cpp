// Gradients against finite differences in double precision, rows against batches, recomputed blocks against kept ones.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "core/plug/check/subject.h"

namespace t2i {
namespace {

Outcome failed(std::string text) { return {Outcome::fail, std::move(text)}; }
Outcome skipped(std::string text) { return {Outcome::skip, std::move(text)}; }

// The total of a loss over its batch, for a prediction.
struct TotalLoss {
  const Callable& compute;
  Tensors in;
  at::Tensor operator()(const at::Tensor& prediction) {
    in["prediction"] = prediction;
    Answer a = compute.call(in);
    if (a.code) fail({compute.name, a.text, "", "", "E2063", Exit::failed});
    return a.out.at("loss_per_sample").sum();
  }
};

// Small, in double precision, away from the kinks at zero that absolute values have.
std::string loss_gradient(const Callable& compute) {
  TotalLoss total{compute, compute.in};
  for (auto& [name, t] : total.in)
    if (t.is_floating_point() && t.dim() == 4) t = t.narrow(2, 0, 2).narrow(3, 0, 2).contiguous().to(at::kDouble);
  at::Tensor prediction = total.in.at("prediction").detach().clone().requires_grad_(true);
  at::Tensor loss = total(prediction);
  bool in_double = loss.scalar_type() == at::kDouble;
  double h = in_double ? 1e-6 : 1e-2, tolerance = in_double ? 1e-5 : 3e-2;  // a loss that rounds to float32 gets room for it
  if (!loss.requires_grad()) return "gives a loss without a gradient towards the prediction";
  at::Tensor gradient = torch::autograd::grad({loss}, {prediction}, {}, std::nullopt, false, true)[0];
  if (!gradient.defined()) return "gives a loss without a gradient towards the prediction";
  if (!at::isfinite(gradient).all().item<bool>()) return "gives a gradient that is not finite";

  at::NoGradGuard no_grad;
  at::Tensor numeric = at::zeros_like(prediction), moved = prediction.detach().clone();
  double *value = moved.data_ptr<double>(), *slope = numeric.data_ptr<double>();
  for (int64_t i = 0; i < moved.numel(); ++i) {
    double kept = value[i];
    value[i] = kept + h;
    double up = total(moved).item<double>();
    value[i] = kept - h;
    double down = total(moved).item<double>();
    value[i] = kept;
    slope[i] = (up - down) / (2 * h);
  }
  double off = (numeric - gradient).abs().max().item<double>(), size = numeric.abs().max().item<double>();
  if (!(off <= tolerance * (size + 1e-3)))
    return fmt::format("gives a gradient that is off by {:.3g} where finite differences are up to {:.3g}", off, size);
  return "";
}

Outcome losses(const CheckContext& context) {
  if (!load_subject(context)) return skipped("it does not load");
  Result<SubjectSet> set = make_subjects(context);
  if (!set) return skipped("its components cannot be made");
  bool any = false;
  for (const Subject& s : set->subjects)
    for (const Callable& f : s.calls) {
      if (s.component->kind != "loss" || !f.puts.contains("loss_per_sample")) continue;
      any = true;
      if (std::string problem = loss_gradient(f); !problem.empty()) return failed(f.name + " " + problem);
    }
  return any ? Outcome{Outcome::pass, ""} : skipped("it offers no loss");
}

Outcome rows(const CheckContext& context) {
  if (!load_subject(context)) return skipped("it does not load");
  Result<SubjectSet> set = make_subjects(context);
  if (!set) return skipped("its components cannot be made");
  for (const Subject& s : set->subjects)
    for (const Callable& f : s.calls) {
      at::NoGradGuard no_grad;
      Tensors whole = f.call(f.in).out;
      for (int64_t row = 0; row < 3; ++row) {
        Tensors in;
        for (const auto& [name, t] : f.in) in[name] = t.narrow(0, row, 1);
        Answer alone = f.call(in);
        if (alone.code) return failed(fmt::format("{} fails on a batch of one: {}", f.name, alone.text));
        for (const auto& [name, t] : whole) {
          if (t.dim() == 0 || t.size(0) != 3 || !alone.out.contains(name)) continue;
          // Batches may take another path through a matrix product: 1e-4 of the largest value for a model, 1e-6 else.
          double off = (alone.out[name] - t.narrow(0, row, 1)).abs().max().item<double>(), size = t.abs().max().item<double>();
          if (!(off <= (s.model ? 1e-4 : 1e-6) * (size + 1e-6)))
            return failed(fmt::format("{} puts another '{}' for a sample alone than within a batch (off by {:.3g})", f.name, name, off));
        }
      }
    }
  return {set->subjects.empty() ? Outcome::skip : Outcome::pass, set->left_out};
}

// Runs `look` over every model of the plugin, built in double precision.
template <class Look>
Outcome for_each_model(const CheckContext& context, Look look) {
  Result<LoadedPlugin> plugin = load_subject(context);
  if (!plugin) return skipped("it does not load");
  bool any = false;
  for (const Component& c : plugin->components) {
    if (c.kind != "model") continue;
    if (context.model.empty()) return skipped("model '" + c.id + "' is not made: give a folder with --model");
    Result<Subject> model = make_model(c, context, at::kDouble);
    if (!model) return skipped(model.error().what);
    any = true;
    if (std::string problem = look(*model); !problem.empty()) return failed(model->name + " " + problem);
  }
  return any ? Outcome{Outcome::pass, ""} : skipped("it offers no model");
}

at::Tensor weighted_output(const Subject& s) {
  Answer a = s.calls.front().call(s.calls.front().in);
  if (a.code) fail({s.name, a.text, "", "", "E2063", Exit::failed});
  at::Tensor out = a.out.at("prediction");
  return (out * at::arange(out.numel(), at::kDouble).sin().view(out.sizes())).sum();
}
std::vector<const Parameter*> trained(const ParamStore& store) {  // all but constants
  std::vector<const Parameter*> all;
  for (const Parameter& p : store.parameters)
    if (p.trainable) all.push_back(&p);
  return all;
}

// Along one random direction u in the space of all weights: (f(w + e u) - f(w - e u)) / 2e against <gradient, u>.
Outcome models(const CheckContext& context) {
  return for_each_model(context, [&](const Subject& s) -> std::string {
    ParamStore& store = s.model->store(s.model->denoiser());
    std::vector<const Parameter*> parameters = trained(store);
    std::vector<at::Tensor> leaves;
    for (const Parameter* p : parameters) leaves.push_back(p->value);
    auto gradients = torch::autograd::grad({weighted_output(s)}, leaves, {}, std::nullopt, false, true);
    for (size_t i = 0; i < gradients.size(); ++i)
      if (!gradients[i].defined()) return "declares '" + parameters[i]->name + "' but gives it no gradient";
    at::NoGradGuard no_grad;
    at::Generator generator = at::detail::createCPUGenerator(context.seed);
    at::Tensor kept = store.trained.clone(), direction = at::randn(store.trained.sizes(), generator, at::kDouble);
    direction /= direction.norm();
    double along = 0;
    for (size_t i = 0; i < gradients.size(); ++i)
      along += (gradients[i].reshape(-1) * direction.narrow(0, parameters[i]->offset, gradients[i].numel())).sum().item<double>();
    const double e = 1e-5;
    store.trained.copy_(kept + e * direction);
    double up = weighted_output(s).item<double>();
    store.trained.copy_(kept - e * direction);
    double down = weighted_output(s).item<double>();
    double numeric = (up - down) / (2 * e);
    if (!(std::abs(numeric - along) <= 1e-4 * (std::abs(numeric) + 1e-3)))
      return fmt::format("has the slope {:.6g} by its gradients and {:.6g} by finite differences", along, numeric);
    return "";
  });
}

Outcome recompute(const CheckContext& context) {
  return for_each_model(context, [](const Subject& s) -> std::string {
    ParamStore& store = s.model->store(s.model->denoiser());
    auto gradient = [&](bool recomputed) {
      store.recompute.every = recomputed;
      store.trained_grad.zero_();
      torch::autograd::backward({weighted_output(s)}, {});
      return store.trained_grad.clone();
    };
    at::Tensor kept = gradient(false), again = gradient(true);
    if (kept.equal(again)) return "";
    return fmt::format("has other gradients when its blocks are recomputed (off by {:.3g})", (kept - again).abs().max().item<double>());
  });
}

}  // namespace

const std::vector<Check>& gradient_checks() {
  static const std::vector<Check> checks{
      {"gradients", "losses", "G1", "its losses' gradients agree with finite differences", losses},
      {"gradients", "rows", "G2", "treats a sample alone as it does within a batch", rows},
      {"gradients", "models", "G3", "its models' gradients agree with finite differences and reach every parameter", models},
      {"gradients", "recompute", "G4", "gradients are the same bits when blocks are recomputed", recompute},
  };
  return checks;
}

}  // namespace t2i
