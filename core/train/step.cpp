#include "core/train/step.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/dist/reducer.h"
#include "core/kernel/draw.h"
#include "core/model/dropout.h"
#include "core/plug/step_scope.h"
#include "core/precision/autocast.h"
#include "core/train/objective.h"

namespace t2i {

// Texts that came as tokens, because their encoders are adapted too: encoded here, with gradients. The empty text is encoded as
// often as there are samples, so that each has its own dropout.
static void encode_texts(StepContext& c, Tensors& batch) {
  for (const std::string before : {"", "null_"}) {
    Tensors tokens, made;
    for (const auto& [name, t] : batch)
      if (name.starts_with(before + "tokens")) tokens[name.substr(before.size())] = t;
    if (tokens.empty()) return;
    for (const auto& [name, t] : tokens) batch.erase(before + name);
    {
      Autocast autocast(batch.at("latents").device().type(), c.compute);
      made = c.model.encode_text(tokens);
    }
    for (auto& [name, t] : made) batch[before + name] = t.is_floating_point() ? t.to(at::kFloat) : t;
  }
}

// One micro-batch: draw noise and timesteps, let the task drop conditioning, predict, measure, go backward.
static Tensors forward_backward(StepContext& c, TrainState& state, Tensors batch) {
  DropoutScope same_in_backward(batch.at("rng"));
  encode_texts(c, batch);
  const at::Tensor& latents_BCHW = batch.at("latents");
  batch["noise"] = draw_normal(batch.at("rng"), "noise", latents_BCHW.sizes().slice(1));
  batch["timesteps"] = c.loss.draw(batch);
  Tensors step = c.task.apply(batch);  // what the model may see
  for (const char* name : {"latents", "noise", "timesteps", "rng"}) step[name] = batch.at(name);

  Tensors result = denoising_loss(c.model, c.loss, step, c.compute);
  at::Tensor share = result.at("loss") / static_cast<double>(c.train.gradient_accumulation_steps);
  torch::autograd::backward({share * state.loss_scale.value()}, {});
  return result;
}

// Euclidean norm of a flat buffer. In blocks, and of their norms again: summed one by one in float32, a billion squares
// come out a quarter too small.
static at::Tensor norm_of(const at::Tensor& x) {
  constexpr int64_t block = 1024;
  const int64_t whole = x.numel() / block * block;
  if (whole == 0) return at::linalg_vector_norm(x, 2, {}, false, at::kFloat);
  at::Tensor norms = at::linalg_vector_norm(x.narrow(0, 0, whole).view({-1, block}), 2, at::IntArrayRef{1}, false, at::kFloat);
  if (whole == x.numel()) return norm_of(norms);
  at::Tensor rest = at::linalg_vector_norm(x.narrow(0, whole, x.numel() - whole), 2, {}, false, at::kFloat);
  return norm_of(at::cat({norms, rest.reshape({1})}));
}

StepResult train_step(StepContext& c, TrainState& state, double learning_rate, bool measure,
                      const std::function<Tensors(int64_t)>& next_batch) {
  StepScope no_waiting;
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

  adamw_update(c.optimizer, learning_rate, weights.trained, weights.trained_grad, state.optimizer, divisor, out.found_bad);
  state.loss_scale.update(out.found_bad);
  if (c.train.use_ema) state.ema.update(weights.trained, out.found_bad, state.step);
  ++state.step;
  return out;
}

}  // namespace t2i
