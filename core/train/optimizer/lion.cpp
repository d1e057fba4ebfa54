// Lion (Chen et al. 2023, arXiv:2302.06675, algorithm 2): every weight moves by the learning rate, in the direction that
// the gradient and its mean agree on. One moment instead of two.
#include <ATen/ATen.h>

#include "core/train/optimizer/rules.h"

namespace t2i {
namespace {

class Lion final : public UpdateRule {
  const double beta1_, beta2_, weight_decay_;
  const std::vector<Place> places_;
  at::Tensor exp_avg_, step_;

 public:
  explicit Lion(const RuleSetup& setup)
      : beta1_(setup.config.lion_beta1), beta2_(setup.config.lion_beta2), weight_decay_(setup.config.lion_weight_decay),
        places_(setup.places), exp_avg_(zeros_like_weights(setup)), step_(scalar_like_weights(setup, 0, at::kFloat)) {}

  void begin(const StepNumbers& numbers) override { count_step(step_, numbers); }

  void update(const Piece& piece, const StepNumbers& numbers) override {
    const double learning_rate = numbers.learning_rate * piece.rate;
    at::Tensor g = gradient_of(piece, numbers), m = part_of(exp_avg_, piece);
    at::Tensor direction = m.mul(beta1_).add_(g, 1 - beta1_).sign_();
    if (weight_decay_ > 0) piece.weights.mul_(unless_bad(numbers, 1 - learning_rate * weight_decay_, 1));
    piece.weights.addcmul_(direction, unless_bad(numbers, learning_rate, 0), -1);
    m.mul_(unless_bad(numbers, beta2_, 1)).add_(g, 1 - beta2_);
  }

  std::vector<StateBuffer> buffers() const override { return {{"exp_avg", exp_avg_, places_}}; }
  std::vector<StateScalar> scalars() const override { return {{"optimizer_step", step_}}; }
};

}  // namespace

std::unique_ptr<UpdateRule> make_lion(const RuleSetup& setup) { return std::make_unique<Lion>(setup); }

}  // namespace t2i
