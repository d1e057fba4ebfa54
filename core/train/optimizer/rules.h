// The rules by name, and what several of them are made of. Each rule is in the file of its name.
#pragma once
#include "core/train/optimizer.h"

namespace t2i {

// What a rule is made for. The weights are float32 and as loaded: some rules remember where they began.
struct RuleSetup {
  const OptimizerConfig& config;
  const std::vector<Place>& places;
  at::Tensor weights;  // flat
};

std::unique_ptr<UpdateRule> make_adamw(const RuleSetup& setup);
std::unique_ptr<UpdateRule> make_adamw8bit(const RuleSetup& setup);
std::unique_ptr<UpdateRule> make_adafactor(const RuleSetup& setup);
std::unique_ptr<UpdateRule> make_lion(const RuleSetup& setup);
std::unique_ptr<UpdateRule> make_prodigy(const RuleSetup& setup);
std::unique_ptr<UpdateRule> make_schedule_free(const RuleSetup& setup);

// Zeros as the flat weights, and a scalar.
at::Tensor zeros_like_weights(const RuleSetup& setup);
at::Tensor scalar_like_weights(const RuleSetup& setup, double value, at::ScalarType type);

// The gradient a piece stands for; zeros in a step that is left out, since it need not be finite then.
at::Tensor gradient_of(const Piece& piece, const StepNumbers& numbers);
// `value`, and `otherwise` in a step that is left out. A scalar on the device: what changes a state is multiplied by it,
// with 0 or 1 for no change.
at::Tensor unless_bad(const StepNumbers& numbers, double value, double otherwise);
at::Tensor unless_bad(const StepNumbers& numbers, const at::Tensor& value, double otherwise);
// Counts an update that is made.
void count_step(at::Tensor& step, const StepNumbers& numbers);

// A piece's part of a buffer that is laid out as the weights.
at::Tensor part_of(const at::Tensor& flat, const Piece& piece);

}  // namespace t2i
