// From clean latents to a loss: the part of a step that training and `probe step` share.
#pragma once
#include <c10/core/ScalarType.h>

#include "core/plug/loss.h"
#include "core/plug/model.h"

namespace t2i {

// `step` holds latents [n,C,h,w], noise, timesteps [n] and the model's conditioning. Returns noisy, target, prediction,
// loss_per_sample [n], raw_loss_per_sample [n] and loss (their weighted mean, a scalar that backward starts from).
// The model runs in `compute` precision, the loss in float32.
Tensors denoising_loss(Model& model, Loss& loss, const Tensors& step, at::ScalarType compute);

}  // namespace t2i
