// The learning rate of each part that is trained: optimizer.transformer_lr is the denoiser's, optimizer.text_encoder_lr the
// text encoders', optimizer.text_encoder_2_lr and text_encoder_3_lr those of one of them; a part without one of its own has
// optimizer.learning_rate. The schedule moves all of them alike.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "core/config/config.h"

namespace t2i {

// The text encoders that are trained: by an adapter, or in full.
const std::vector<std::string>& trained_text_encoders(const Config& config);

// optimizer.transformer_lr is 0: the denoiser stays as it is.
bool denoiser_is_frozen(const Config& config);

double denoiser_rate(const OptimizerConfig& config);
double text_encoder_rate(const OptimizerConfig& config, const std::string& part);

// What metrics call `lr`, and what the schedule begins with: the denoiser's rate, or where it is frozen that of the first
// text encoder that is trained.
double leading_rate(const Config& config);

// Name and rate of each part that is trained, the denoiser first. Empty where that is the denoiser alone: leading_rate() is
// then all of it.
std::vector<std::pair<std::string, double>> part_rates(const Config& config, const std::string& denoiser);

// Rates that nothing reads or that contradict what is trained: E7201, E7320 to E7323.
std::vector<Error> check_rates(const Config& config);

}  // namespace t2i
