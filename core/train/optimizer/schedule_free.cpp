// Schedule-free AdamW (Defazio et al. 2024, arXiv:2405.15682, algorithm 1), as the package schedulefree has it. Three
// sequences of weights: z takes AdamW's steps, x is the average of all z, and gradients are taken at y between the two. The
// model holds y while it trains; x is what is drawn with and kept in the end. x is not stored: y = beta1 x + (1 - beta1) z.
#include <ATen/ATen.h>

#include "core/train/optimizer/rules.h"

namespace t2i {
namespace {

class ScheduleFree final : public UpdateRule {
  const OptimizerConfig config_;
  const std::vector<Place> places_;
  at::Tensor z_, exp_avg_sq_;
  at::Tensor step_;                          // float32
  at::Tensor weight_sum_, learning_rate_max_;  // float64
  at::Tensor newest_share_;                  // of z in the average, in this step (c of the paper); float64
  at::Tensor correction_;                    // 1 - beta2^t

 public:
  explicit ScheduleFree(const RuleSetup& setup)
      : config_(setup.config), places_(setup.places), z_(setup.weights.clone()), exp_avg_sq_(zeros_like_weights(setup)),
        step_(scalar_like_weights(setup, 0, at::kFloat)), weight_sum_(scalar_like_weights(setup, 0, at::kDouble)),
        learning_rate_max_(scalar_like_weights(setup, 0, at::kDouble)) {}

  void begin(const StepNumbers& numbers) override {
    count_step(step_, numbers);
    at::Tensor bad = numbers.found_bad.reshape({}).ne(0), t = step_.to(at::kDouble).clamp_min(1);
    correction_ = (1 - at::pow(config_.adam_beta2, t)).to(at::kFloat);
    learning_rate_max_.copy_(at::where(bad, learning_rate_max_, learning_rate_max_.clamp_min(numbers.learning_rate)));
    at::Tensor weight = at::pow(t, config_.schedule_free_r) * at::pow(learning_rate_max_, config_.schedule_free_weight_lr_power);
    weight_sum_.add_(weight.masked_fill(bad, 0));
    newest_share_ = at::where(at::logical_or(bad, weight_sum_.eq(0)), 0, weight / weight_sum_);
  }

  void update(const Piece& piece, const StepNumbers& numbers) override {
    at::Tensor y = piece.weights, z = part_of(z_, piece), g = gradient_of(piece, numbers), square = part_of(exp_avg_sq_, piece);
    square.mul_(unless_bad(numbers, config_.adam_beta2, 1)).addcmul_(g, g, 1 - config_.adam_beta2);
    g.div_(square.div(correction_).sqrt_().add_(config_.adam_epsilon));
    if (config_.schedule_free_weight_decay > 0) g.add_(y, config_.schedule_free_weight_decay);

    const double learning_rate = numbers.learning_rate * piece.rate;
    at::Tensor share = unless_bad(numbers, newest_share_, 0);
    y.lerp_(z, share);
    y.addcmul_(g, unless_bad(numbers, learning_rate * (config_.adam_beta1 * (1 - newest_share_) - 1), 0));
    z.addcmul_(g, unless_bad(numbers, -learning_rate, 0));
  }

  bool has_average() const override { return true; }
  at::Tensor averaged(const at::Tensor& y) const override { return y.lerp(z_, 1 - 1 / config_.adam_beta1); }

  std::vector<StateBuffer> buffers() const override { return {{"z", z_, places_}, {"exp_avg_sq", exp_avg_sq_, places_}}; }
  std::vector<StateScalar> scalars() const override {
    return {{"optimizer_step", step_}, {"weight_sum", weight_sum_}, {"learning_rate_max", learning_rate_max_}};
  }
};

}  // namespace

std::unique_ptr<UpdateRule> make_schedule_free(const RuleSetup& setup) { return std::make_unique<ScheduleFree>(setup); }

}  // namespace t2i
