// Pictures drawn while a run trains, with seeds that never change, so that only the weights differ from one to the next.
#pragma once
#include "core/session.h"
#include "core/train/logbook.h"
#include "core/train/step.h"

namespace t2i {

// One picture per validation.prompts × validation.num_images into OUTPUT/validation_images/step-SSSSSSS/, and into
// TensorBoard. With an average of the weights (train.use_ema, or the optimizer's own) the average draws. Nothing when there are no prompts.
// A signal to stop ends it between two steps of the sampler; pictures that are done stay.
void draw_validation_pictures(Session& session, const Config& config, TrainState& state, Logbook& logbook);

// As the above for one picture and two steps, and nothing is written: for dry runs.
void rehearse_validation_pictures(Session& session, const Config& config, TrainState& state);

// What drawing them needs and the configuration does not give or names wrongly: pictures, sampler. To be asked before
// the first step, since the first validation may be hours away. Failure with every problem.
void check_validation(Session& session, const Config& config);

}  // namespace t2i
