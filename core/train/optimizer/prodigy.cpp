// Prodigy (Mishchenko & Defazio 2023, arXiv:2306.06101, algorithm 4), as the package prodigyopt has it: Adam whose learning
// rate is learned. It grows with the estimate d of the distance to the solution, from the gradients' agreement with the way
// gone so far. d is one number for all weights, so all gradients are looked at before the first weight moves.
#include <ATen/ATen.h>

#include <cmath>

#include "core/train/optimizer/rules.h"

namespace t2i {
namespace {

class Prodigy final : public UpdateRule {
  const OptimizerConfig config_;
  const std::vector<Place> places_;
  at::Tensor exp_avg_, exp_avg_sq_, s_, start_;
  at::Tensor step_;                    // float32
  at::Tensor d_, d_max_, numerator_;   // float64
  at::Tensor gained_, denominator_;    // of this step, summed over its pieces
  at::Tensor rate_;                    // of this step: d times the learning rate

  double beta3() const { return config_.prodigy_beta3 > 0 ? config_.prodigy_beta3 : std::sqrt(config_.adam_beta2); }

 public:
  explicit Prodigy(const RuleSetup& setup) : config_(setup.config), places_(setup.places) {
    exp_avg_ = zeros_like_weights(setup), exp_avg_sq_ = zeros_like_weights(setup), s_ = zeros_like_weights(setup);
    start_ = setup.weights.clone();
    step_ = scalar_like_weights(setup, 0, at::kFloat);
    d_ = scalar_like_weights(setup, config_.prodigy_d0, at::kDouble), d_max_ = d_.clone();
    numerator_ = scalar_like_weights(setup, 0, at::kDouble);
  }

  bool looks_first() const override { return true; }

  void begin(const StepNumbers& numbers) override {
    rate_ = d_ * numbers.learning_rate;
    if (config_.prodigy_use_bias_correction) {
      at::Tensor t = step_.to(at::kDouble) + 1;
      rate_ = rate_ * (1 - at::pow(config_.adam_beta2, t)).sqrt_() / (1 - at::pow(config_.adam_beta1, t));
    }
    gained_ = at::zeros_like(numerator_), denominator_ = at::zeros_like(numerator_);
  }

  void look(const Piece& piece, const StepNumbers& numbers) override {
    if (numbers.learning_rate * piece.rate <= 0) return;
    at::Tensor g = gradient(piece, numbers), of_d = d_ / config_.prodigy_d0;
    gained_.add_(at::dot(g, part_of(start_, piece) - piece.weights) * of_d * rate_);
    part_of(exp_avg_, piece).mul_(unless_bad(numbers, config_.adam_beta1, 1)).addcmul_(g, (d_ * (1 - config_.adam_beta1)).to(at::kFloat));
    at::Tensor weighted = g * (d_ * d_ * (1 - config_.adam_beta2)).to(at::kFloat);
    part_of(exp_avg_sq_, piece).mul_(unless_bad(numbers, config_.adam_beta2, 1)).addcmul_(g, weighted);
    at::Tensor s = part_of(s_, piece), weight = of_d * (config_.prodigy_safeguard_warmup ? d_ : rate_);
    s.mul_(unless_bad(numbers, beta3(), 1)).addcmul_(g, weight.to(at::kFloat));
    denominator_.add_(s.abs().sum());
  }

  // Without any gradient so far, and in a step that is left out, nothing moves and no step is counted.
  void looked(const StepNumbers& numbers) override {
    if (numbers.learning_rate <= 0) return;  // as at the first step of a warm-up: rate_ is 0
    at::Tensor moves = at::logical_and(numbers.found_bad.reshape({}).eq(0), denominator_.gt(0));
    at::Tensor numerator = numerator_ * beta3() + gained_;
    at::Tensor estimate = numerator * config_.prodigy_d_coef / denominator_;
    at::Tensor d = at::where(d_.eq(config_.prodigy_d0), at::maximum(d_, estimate), d_);
    at::Tensor d_max = at::maximum(d_max_, estimate);
    d = config_.prodigy_growth_rate > 0 ? at::minimum(d_max, d * config_.prodigy_growth_rate) : d_max;
    numerator_.copy_(at::where(moves, numerator, numerator_));
    d_max_.copy_(at::where(moves, d_max, d_max_));
    d_.copy_(at::where(moves, d, d_));
    rate_ = rate_ * moves;
    step_.add_(moves);
  }

  void update(const Piece& piece, const StepNumbers&) override {
    at::Tensor rate = (rate_ * piece.rate).to(at::kFloat);
    at::Tensor root = part_of(exp_avg_sq_, piece).sqrt().add_((d_ * config_.adam_epsilon).to(at::kFloat));
    if (config_.prodigy_weight_decay > 0 && config_.prodigy_decouple)
      piece.weights.mul_((1 - rate_ * piece.rate * config_.prodigy_weight_decay).to(at::kFloat));
    piece.weights.sub_(part_of(exp_avg_, piece).div(root).mul_(rate));
  }

  std::vector<StateBuffer> buffers() const override {
    return {{"exp_avg", exp_avg_, places_}, {"exp_avg_sq", exp_avg_sq_, places_}, {"s", s_, places_}, {"start", start_, places_}};
  }
  std::vector<StateScalar> scalars() const override {
    return {{"optimizer_step", step_}, {"d", d_}, {"d_max", d_max_}, {"d_numerator", numerator_}};
  }

 private:
  // With what a penalty on large weights adds, where the decay is not decoupled.
  at::Tensor gradient(const Piece& piece, const StepNumbers& numbers) const {
    at::Tensor g = gradient_of(piece, numbers);
    if (config_.prodigy_weight_decay > 0 && !config_.prodigy_decouple)
      g.addcmul_(piece.weights, unless_bad(numbers, config_.prodigy_weight_decay, 0));
    return g;
  }
};

}  // namespace

std::unique_ptr<UpdateRule> make_prodigy(const RuleSetup& setup) { return std::make_unique<Prodigy>(setup); }

}  // namespace t2i
