// Text encoders that are trained in full (train.text_encoders). Their weights have their places in the denoiser's flat buffers
// (ParamStore::host()), so that the optimizer, the average, reductions and checkpoints know nothing of them; texts are
// encoded inside the step (core/train/step.cpp).
#pragma once
#include <string>
#include <vector>

#include "core/session.h"
#include "core/train/optimizer.h"
#include "core/train/step.h"

namespace t2i {

// Can the parts be trained that are to be, or left as they are? Before anything is loaded. Failure with every problem: E7330
// of a name that is no text encoder of the model, E7331 of packed weights, E7332 of a frozen denoiser that the task widens.
void require_trainable(const Session& session, const Config& config);

// Before the denoiser is allocated, and after it.
void host_text_encoders(Session& session, const Config& config, ParamStore& denoiser);
void load_text_encoders(Session& session, const Config& config, at::ScalarType dtype);

// What is trained of text encoders, in full or by adapters, with its own rate over the leading one (core/config/rates.h).
std::vector<RateRange> rate_ranges(const ParamStore& denoiser, const Config& config);

// Parameters of the parts that are trained in full or adapted, and how many of them are trained.
struct TrainedCount {
  int64_t parameters = 0, trained = 0;
};
TrainedCount count_trained(const Session& session, const Config& config);

// "learning rates: denoiser 1e-05, text_encoder 5e-06", for the log, with the denoiser's own name; empty where no text encoder
// is trained.
std::string rates_text(const Session& session, const Config& config);

// The encoder's folder as it is trained: config.json, and the weights, under the names that its own files have for them.
void write_text_encoder(const Session& session, const TrainState& state, const ModelPart& part, const Path& to);

}  // namespace t2i
