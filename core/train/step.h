// One training step, readable as a page: micro-batches → loss → backward → reduce → clip → optimizer → EMA.
#pragma once
#include <functional>

#include "core/config/config.h"
#include "core/dist/group.h"
#include "core/model/params.h"
#include "core/plug/loss.h"
#include "core/plug/model.h"
#include "core/plug/task.h"
#include "core/train/ema.h"
#include "core/train/loss_scale.h"
#include "core/train/optimizer.h"

namespace t2i {

class Reducer;
class FusedBackward;

// Everything a step changes. A checkpoint is this and the step's number.
struct TrainState {
  int64_t step = 0;        // optimizer steps done
  ParamStore* weights = nullptr;
  Optimizer optimizer;
  LossScale loss_scale;    // fp16 only; 1 and constant otherwise
  Ema ema;                 // undefined unless train.use_ema
};

struct StepContext {
  Model& model;
  Task& task;
  Loss& loss;
  Group& group;
  const TrainConfig& train;
  const OptimizerConfig& optimizer;
  at::ScalarType compute;  // of the matrix products
  Reducer* reducer;        // null in a world of one
  std::vector<const Parameter*> watched;  // parameters whose mean |gradient| is measured at logging steps
  FusedBackward* fused = nullptr;         // null: gradients are kept until the optimizer's step
};

// What a step leaves behind, still on the device.
struct StepResult {
  at::Tensor loss, raw_loss;  // means over this process's samples of the step
  at::Tensor grad_norm;       // before clipping, of the averaged gradient
  at::Tensor found_bad;       // [1]: 1 where the gradient was not finite and nothing was changed
  at::Tensor loss_scale;      // that the gradients were made with
  at::Tensor watched_grad;    // undefined unless asked for
};

// The weights to draw with and to keep in the end: the moving average, else what the optimizer shows.
at::Tensor shown_weights(const TrainState& state);

// `next_batch(k)` gives micro-batch k of this step, already encoded.
StepResult train_step(StepContext& context, TrainState& state, double learning_rate, bool measure,
                      const std::function<Tensors(int64_t)>& next_batch);

}  // namespace t2i
