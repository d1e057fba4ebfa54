#include "core/train/step.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/dist/reducer.h"
#include "core/kernel/dense.h"
#include "core/kernel/draw.h"
#include "core/model/dropout.h"
#include "core/plug/step_scope.h"
#include "core/precision/autocast.h"
#include "core/train/batch.h"
#include "core/train/fused_backward.h"
#include "core/train/norm.h"
#include "core/train/objective.h"

namespace t2i {

// The batch's tokens, taken out of it: "tokens", "tokens_2" …
static Tensors take_tokens(Tensors& batch, const std::string& before) {
  Tensors tokens;
  for (const auto& [name, t] : batch)
    if (name.starts_with(before + "tokens")) tokens[name.substr(before.size())] = t;
  for (const auto& [name, t] : tokens) batch.erase(before + name);
  return tokens;
}

static Tensors encoded(StepContext& c, const Tensors& tokens) {
  // As the denoiser: what is held in bfloat16 is computed in it altogether (objective.cpp).
  const bool as_held = !c.train.text_encoders.empty() && c.model.store(c.train.text_encoders.front()).dtype == at::kBFloat16;
  Tensors made;
  {
    Autocast autocast(tokens.begin()->second.device().type(), as_held ? at::kFloat : c.compute);
    made = c.model.encode_text(tokens);
  }
  for (auto& [name, t] : made)
    if (t.is_floating_point()) t = t.to(at::kFloat);
  return made;
}

// Texts that came as tokens, because their encoders are part of the step: encoded here, with gradients. Where encoders are
// adapted, the empty text is encoded as often as there are samples, so that each has its own dropout.
static void encode_texts(StepContext& c, Tensors& batch) {
  Tensors tokens = take_tokens(batch, ""), empty = take_tokens(batch, "null_");
  if (tokens.empty()) return;
  if (null_text_is_zero(c.model, c.train)) {
    for (auto& [name, t] : encoded(c, tokens)) batch[name] = t, batch["null_" + name] = at::zeros_like(t);
    return;
  }
  if (c.train.text_encoders.empty()) {
    for (auto& [name, t] : encoded(c, tokens)) batch[name] = t;
    for (auto& [name, t] : encoded(c, empty)) batch["null_" + name] = t;
    return;
  }
  // Trained in full they have no dropout: the empty text once, as one more row. In one pass each block is computed again once, and
  // each weight has its whole gradient when that comes (fused_backward.h).
  const int64_t n = batch.at("latents").size(0);
  for (auto& [name, t] : tokens) t = at::cat({t, empty.at(name).narrow(0, 0, 1)});
  for (auto& [name, t] : encoded(c, tokens)) {
    batch[name] = t.narrow(0, 0, n);
    std::vector<int64_t> rows(static_cast<size_t>(t.dim()), -1);
    rows[0] = n;
    batch["null_" + name] = t.narrow(0, n, 1).expand(rows);
  }
}

// One micro-batch: draw noise and timesteps, let the task drop conditioning, predict, measure.
static Tensors forward(StepContext& c, Tensors batch) {
  encode_texts(c, batch);
  const at::Tensor& latents_BCHW = batch.at("latents");
  batch["noise"] = draw_normal(batch.at("rng"), "noise", latents_BCHW.sizes().slice(1));
  batch["timesteps"] = c.loss.draw(batch);
  Tensors step = c.task.apply(batch);  // what the model may see
  for (const char* name : {"latents", "noise", "timesteps", "rng"}) step[name] = batch.at(name);

  return denoising_loss(c.model, c.loss, step, c.compute);
}

static Tensors forward_backward(StepContext& c, TrainState& state, Tensors batch) {
  DropoutScope same_in_backward(batch.at("rng"));
  Tensors result = forward(c, std::move(batch));
  at::Tensor share = result.at("loss") / static_cast<double>(c.train.gradient_accumulation_steps);
  torch::autograd::backward({share * state.loss_scale.value()}, {});
  return result;
}

// The same for weights that are updated while backward goes through them.
static StepResult fused_step(StepContext& c, TrainState& state, double learning_rate, bool measure, Tensors batch) {
  GradientsOnDemand none_is_kept;
  DropoutScope same_in_backward(batch.at("rng"));
  StepResult out;
  out.loss_scale = state.loss_scale.value().clone();
  Tensors result = forward(c, std::move(batch));
  at::Tensor loss = result.at("loss");
  out.loss = loss.detach(), out.raw_loss = result.at("raw_loss_per_sample").detach().mean();
  at::Tensor bad = at::logical_not(at::isfinite(out.loss)).to(at::kFloat).reshape({1});
  c.fused->begin({state.step, learning_rate, state.loss_scale.value(), bad}, measure && !c.watched.empty());
  torch::autograd::backward({loss}, {});
  FusedBackward::Result gradients = c.fused->finish();
  out.grad_norm = gradients.grad_norm, out.watched_grad = gradients.watched_grad;
  out.found_bad = at::maximum(bad, at::logical_not(at::isfinite(out.grad_norm)).to(at::kFloat).reshape({1}));
  return out;
}

at::Tensor shown_weights(const TrainState& state) {
  return state.ema.average.defined() ? state.ema.average : state.optimizer.shown();
}

static void end_step(StepContext& c, TrainState& state, const StepResult& result) {
  at::NoGradGuard no_grad;
  if (c.train.use_ema) state.ema.update(state.optimizer.shown(), result.found_bad, state.step);
  ++state.step;
}

StepResult train_step(StepContext& c, TrainState& state, double learning_rate, bool measure,
                      const std::function<Tensors(int64_t)>& next_batch) {
  StepScope no_waiting;
  if (c.fused) {
    StepResult out = fused_step(c, state, learning_rate, measure, next_batch(0));
    end_step(c, state, out);
    return out;
  }
  ParamStore& weights = *state.weights;
  int64_t micro_steps = c.train.gradient_accumulation_steps;
  StepResult out;
  weights.trained_grad.zero_();  // in place: every parameter's gradient is a view of this buffer

  for (int64_t k = 0; k < micro_steps; ++k) {
    Tensors batch = next_batch(k);
    if (c.reducer && k + 1 == micro_steps) c.reducer->arm();  // the last backward also starts the reductions
    Tensors result = forward_backward(c, state, std::move(batch));
    at::Tensor loss = result.at("loss").detach(), raw = result.at("raw_loss_per_sample").detach().mean();
    out.loss = k ? out.loss + loss : loss;
    out.raw_loss = k ? out.raw_loss + raw : raw;
  }
  if (c.reducer) c.reducer->finish();
  out.loss = out.loss / static_cast<double>(micro_steps);
  out.raw_loss = out.raw_loss / static_cast<double>(micro_steps);

  // The gradient is still multiplied by the loss scale; the norm is of what it stands for. Clipping changes only the
  // number the optimizer divides by.
  at::NoGradGuard no_grad;
  const at::Tensor& scale = state.loss_scale.value();
  out.loss_scale = scale.clone();  // it is changed in place below
  out.grad_norm = norm_of(weights.trained_grad) / scale;
  out.found_bad = at::logical_not(at::isfinite(out.grad_norm)).to(at::kFloat).reshape({1});
  at::Tensor divisor = scale;
  if (c.train.max_grad_norm > 0) divisor = scale * ((out.grad_norm + 1e-6) / c.train.max_grad_norm).clamp_min(1.0);
  if (measure && !c.watched.empty()) {
    for (const Parameter* p : c.watched) {
      at::Tensor mean = p->value.grad().abs().mean() / scale;
      out.watched_grad = out.watched_grad.defined() ? out.watched_grad + mean : mean;
    }
    out.watched_grad = out.watched_grad / static_cast<double>(c.watched.size());
  }

  state.optimizer.step({state.step, learning_rate, divisor, out.found_bad});
  state.loss_scale.update(out.found_bad);
  end_step(c, state, out);
  return out;
}

}  // namespace t2i
