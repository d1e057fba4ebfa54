// What a run begins with, before it looks for an earlier attempt: the denoiser's weights and the state around them.
#pragma once
#include "core/dist/reducer.h"
#include "core/session.h"
#include "core/train/step.h"

namespace t2i {

// Loads the denoiser; train.parameters says which of its weights are trained (E1032 where none is), or lora which of its
// layers are adapted (core/train/adapter.h).
ParamStore& load_denoiser(Session& session, const Config& config, at::ScalarType dtype);

// The denoiser and everything around it that a step changes.
TrainState start_state(Session& session, const Config& config, at::ScalarType compute);

// Name and digest of every part that is loaded, for require_equal().
std::vector<std::pair<std::string, std::string>> loaded_weights(Session& session);

std::unique_ptr<Reducer> make_reducer(Group& group, const ParamStore& weights);

}  // namespace t2i
