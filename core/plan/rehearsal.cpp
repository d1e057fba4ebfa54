#include "core/plan/rehearsal.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/config/rates.h"
#include "core/memory/dry_run.h"
#include "core/precision/device.h"
#include "core/train/batch.h"
#include "core/train/fused_backward.h"
#include "core/train/run_state.h"
#include "core/train/step.h"
#include "core/train/text_encoders.h"
#include "core/validation.h"

namespace t2i {
namespace {

// Counts what the dry runs' arena hands out.
class Counter {
  Arena& arena_ = dry_arena();
  const uint64_t before_ = arena_.use().live;
  uint64_t most_ = 0, reached_ = 0;

  void note() {
    const Arena::Use use = arena_.use();
    most_ = std::max<uint64_t>(most_, use.peak_live - before_);
    reached_ = std::max<uint64_t>(reached_, use.reached);
  }

 public:
  Counter() { arena_.measure_anew(); }
  uint64_t live() const { return arena_.use().live - before_; }
  uint64_t most() { return note(), most_; }
  uint64_t reached() { return note(), reached_; }

  // How much more than before was there at once while `body` ran.
  template <class Body>
  uint64_t beyond(Body body) {
    note();
    arena_.measure_anew();
    const uint64_t at_first = live();
    body();
    const uint64_t peak = arena_.use().peak_live - before_;
    note();
    return peak - std::min(peak, at_first);
  }
};

// Row `number` as the loader would deliver it, all black.
Sample black_sample(const Dataset& dataset, const Task& task, int64_t number, int64_t side) {
  const Row& row = dataset.rows[static_cast<size_t>(number) % dataset.rows.size()];
  Sample sample;
  sample.index = static_cast<uint64_t>(number);
  sample.where = row.where;
  const int px = static_cast<int>(side);
  sample.geometry = {px, px, px, px, 0, 0, px, px, false};
  for (const TaskColumn& column : task.columns()) {
    if (column.is_image) {
      sample.images[column.name] = {px, px, std::vector<float>(static_cast<size_t>(3 * side * side))};
    } else {
      auto text = row.values.find(column.name);
      sample.texts[column.name] = text == row.values.end() ? "" : text->second;
    }
  }
  return sample;
}

at::Tensor draw_keys(const TrainConfig& train, int64_t step, int64_t first) {
  at::Tensor rng = at::empty({train.train_batch_size, 3}, at::kLong);
  for (int64_t i = 0; i < train.train_batch_size; ++i) {
    int64_t* key = rng.mutable_data_ptr<int64_t>() + 3 * i;
    key[0] = train.seed, key[1] = step, key[2] = first + i;
  }
  return rng;
}

PartHeld held_part(const Session& session, const std::string& part, const std::string& role) {
  const ParamStore& store = session.model->store(part);
  return {part, role, held_as(store), store.count(), store.trained_count(), 0};
}

// A text encoder that is trained in full: its weights lie in the denoiser's buffers, what is left of it in its own.
PartHeld trained_part(const Session& session, const std::string& part, const ParamStore& denoiser) {
  PartHeld held = held_part(session, part, "text_encoder");
  held.dtype = dtype_name(denoiser.dtype);
  held.bytes = session.model->store(part).weight_bytes();
  for (const Parameter& p : denoiser.guests)
    if (p.name.starts_with(part + ".")) held.bytes += p.value.nbytes();
  return held;
}

// Loads the parts of a role; what they take is counted by what was allocated, however they are held.
void load_counted(Session& session, const Config& config, const std::string& role, Counter& counter, Rehearsal& out) {
  const uint64_t before = counter.live();
  load_frozen_role(session, config, role);
  std::vector<std::string> parts = session.model->parts(role);
  std::erase_if(parts, [&](const std::string& part) { return !session.model->has(part); });  // trained in full: loaded with the denoiser
  uint64_t rest = counter.live() - before;
  for (const std::string& part : parts) {
    out.parts.push_back(held_part(session, part, role));
    const ParamStore& store = session.model->store(part);
    out.parts.back().bytes = &part == &parts.back() ? rest : std::min(store.weight_bytes(), rest);
    rest -= out.parts.back().bytes;
  }
}

// Watches what each block leaves behind.
BlockWatch watch_of(Counter& counter, std::vector<BlockKept>& blocks, uint64_t& before) {
  return {[&counter, &blocks, &before](const std::string& name) {
            blocks.push_back({name, 0});
            before = counter.live();
          },
          [&counter, &blocks, &before] {
            const uint64_t now = counter.live();
            blocks.back().bytes = now - std::min(now, before);
          }};
}

void make_steps(Session& session, const Config& config, const RunData& data, TrainState& state, at::ScalarType compute, Counter& counter, Rehearsal& out) {
  constexpr int64_t steps = 2;  // the first one's gaps are filled by the second
  const int64_t side = resolution_of(config, *session.model), n = config.train.train_batch_size;
  auto group = single_group();
  StepContext context{*session.model, *session.task, *session.loss, *group, config.train, config.optimizer, compute, nullptr, {}};
  std::unique_ptr<FusedBackward> fused;
  if (config.optimizer.fused_backward) fused = std::make_unique<FusedBackward>(*state.weights, state.optimizer, context.watched);
  context.fused = fused.get();
  Encoder encoder(*session.model, *session.task, session.device, !trained_text_encoders(config).empty(), null_text_is_zero(*session.model, config.train));
  uint64_t before_block = 0;
  std::vector<BlockKept> blocks;
  const BlockWatch watch = watch_of(counter, blocks, before_block);
  state.weights->watch = &watch;
  const int64_t first = state.weights->swap ? -1 : 0;  // which weights wait in host memory is known after a first pass
  for (int64_t step = first; step < steps; ++step) {
    Tensors batch;
    std::vector<Sample> samples;
    for (int64_t i = 0; i < n; ++i) samples.push_back(black_sample(data.dataset, *session.task, step * n + i, side));
    out.encoding = std::max(out.encoding, counter.beyond([&] { batch = encoder.encode(samples, draw_keys(config.train, step, step * n)); }));
    out.a_picture = 2 * batch.at("latents").nbytes() / static_cast<uint64_t>(n);  // mean and variance
    out.a_text = 0;
    for (const auto& [name, t] : batch)
      if (name.starts_with("null_")) out.a_text += t.nbytes() / static_cast<uint64_t>(n);
    out.step = std::max(out.step, counter.beyond([&] {
      train_step(context, state, leading_rate(config), false, [&](int64_t) {
        blocks.clear();
        return batch;
      });
    }));
    out.blocks = blocks;
    if (step < 0) out.step = out.encoding = 0, out.parts.back().bytes = session.model->weight_bytes("denoiser") - state.weights->guest_bytes();
  }
  state.weights->watch = nullptr;
}

}  // namespace

Rehearsal rehearse(const Config& config, const RunData& data, const RehearsalOptions& options) {
  DryRun dry(options.gpu ? DryRunOf::gpu : DryRunOf::cpu);
  Counter counter;
  Rehearsal out;
  auto session = open_session(config, options.plugin_paths, {.loss = true, .device = "cpu"});
  session->held_as_on_gpu = options.gpu;
  require_trainable(*session, config);
  for (const char* role : {"text_encoder", "vae"}) load_counted(*session, config, role, counter, out);

  const uint64_t before = counter.live();
  const at::ScalarType compute = dtype_from(config.train.mixed_precision, "train.mixed_precision");
  TrainState state = start_state(*session, config, compute);
  if (options.recompute) state.weights->recompute = *options.recompute;
  out.recompute = state.weights->recompute;
  PartHeld denoiser = held_part(*session, session->model->denoiser(), "denoiser");
  denoiser.bytes = session->model->weight_bytes("denoiser") - state.weights->guest_bytes();
  const at::Tensor &gradients = state.weights->trained_grad, &average = state.ema.average;
  out.gradients = gradients.defined() ? gradients.nbytes() : 0;
  out.average = average.defined() ? average.nbytes() : 0;
  // What else the optimizer's file allocated is its state.
  uint64_t known = session->model->weight_bytes("denoiser") + out.gradients + out.average;
  for (const std::string& text : config.train.text_encoders) {
    out.parts.push_back(trained_part(*session, text, *state.weights));
    known += session->model->store(text).weight_bytes();
  }
  const uint64_t began_with = counter.live() - before;
  out.optimizer = began_with - std::min(began_with, known);
  out.parts.push_back(std::move(denoiser));
  out.space = space_needed(config, *session, state, options.max_steps);

  make_steps(*session, config, data, state, compute, counter, out);
  if (options.pictures) out.pictures = counter.beyond([&] { rehearse_validation_pictures(*session, config, state); });
  // After the last one, weights that are held in halves, or as an average, are put together to be written.
  out.step = std::max(out.step, counter.beyond([&] {
    at::NoGradGuard no_grad;
    shown_weights(state).to(state.weights->trained.scalar_type());
  }));
  out.most = counter.most(), out.addresses = counter.reached();
  out.computed = computed_in_dry_runs();
  return out;
}

}  // namespace t2i
