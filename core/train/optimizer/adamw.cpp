// AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101): torch's fused call, for all weights at once where they are float32.
#include <ATen/ATen.h>

#include <limits>

#include "core/train/optimizer/rules.h"

namespace t2i {
namespace {

class AdamW final : public UpdateRule {
  const OptimizerConfig config_;
  const std::vector<Place> places_;
  at::Tensor exp_avg_, exp_avg_sq_, step_;

 public:
  explicit AdamW(const RuleSetup& setup)
      : config_(setup.config), places_(setup.places), exp_avg_(zeros_like_weights(setup)), exp_avg_sq_(zeros_like_weights(setup)),
        step_(scalar_like_weights(setup, 0, at::kFloat)) {}

  // The fused op skips the update where found_inf is set, but its caller counts the step: count only updates made.
  void begin(const StepNumbers& numbers) override { count_step(step_, numbers); }

  void update(const Piece& piece, const StepNumbers& numbers) override {
    at::_fused_adamw_({piece.weights}, {piece.grads}, {part_of(exp_avg_, piece)}, {part_of(exp_avg_sq_, piece)}, {}, {step_},
                      numbers.learning_rate * piece.rate, config_.adam_beta1, config_.adam_beta2, config_.adam_weight_decay,
                      config_.adam_epsilon, /*amsgrad=*/false, /*maximize=*/false, numbers.grad_divisor.reshape({}),
                      numbers.found_bad.reshape({}));
  }

  std::vector<StateBuffer> buffers() const override { return {{"exp_avg", exp_avg_, places_}, {"exp_avg_sq", exp_avg_sq_, places_}}; }
  std::vector<StateScalar> scalars() const override { return {{"optimizer_step", step_}}; }
  int64_t elements_at_once(at::Device) const override { return std::numeric_limits<int64_t>::max(); }  // it makes nothing on the way
};

}  // namespace

std::unique_ptr<UpdateRule> make_adamw(const RuleSetup& setup) { return std::make_unique<AdamW>(setup); }

}  // namespace t2i
