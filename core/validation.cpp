#include "core/validation.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "core/data/decode.h"
#include "core/data/png_write.h"
#include "core/data/transform.h"
#include "core/generate/paint.h"
#include "core/train/batch.h"
#include "core/train/stop_signal.h"

namespace t2i {
namespace {

// For its lifetime the trained weights are those to draw with: their average, where there is one.
class ShownInPlace {
  at::Tensor weights_, kept_;

 public:
  explicit ShownInPlace(TrainState& state) {
    if (!state.ema.average.defined() && !state.optimizer.has_average()) return;
    at::NoGradGuard no_grad;
    weights_ = state.weights->trained;
    kept_ = weights_.clone();
    weights_.copy_(shown_weights(state));
  }
  ~ShownInPlace() {
    at::NoGradGuard no_grad;
    if (kept_.defined()) weights_.copy_(kept_);
  }
};

// The run's task with the guidance that validation asks for; options that the task does not have are left out, and what
// the family has of its own goes before a default.
std::unique_ptr<Task> task_for_drawing(Session& session, const Config& config) {
  const ValidationConfig& v = config.validation;
  const Json all = session.model->about().value("default_task_options", Json::object());
  const Json own = all.value(session.task->id(), Json::object());
  const Component& component = session.registry.find("task", session.task->id());
  Json options = Json::parse(session.task_options);
  auto set = [&](const std::string& key, double value) {
    const bool asked = config.positions.contains("validation." + key);
    if (component.schema.contains(key) && (asked || !own.contains(key))) options[key] = value;
  };
  set("guidance_scale", v.guidance_scale);
  set("image_guidance_scale", v.image_guidance_scale);
  return std::make_unique<Task>(component, options);
}

at::Tensor source_picture(const std::string& path, int side, at::Device device) {
  Image image = load_image(path).take();
  TransformOptions transform;
  transform.width = transform.height = side;
  transform.center_crop = true;
  Geometry geometry = derive_geometry(transform, image.width, image.height, {});
  return pixels_tensor(apply_geometry(image, geometry, transform.filter), device);
}

int64_t side_px(const Session& session, const Config& config) {
  return config.data.resolution.value_or(session.model->about().value("resolution", int64_t{512}));
}

// The pictures of prompt `i`.
std::vector<PaintJob> jobs_of(const Painter& painter, const ValidationConfig& v, size_t i, int64_t side, at::Device device) {
  std::vector<PaintJob> jobs;
  for (int64_t k = 0; k < v.num_images; ++k) {
    PaintJob job{v.prompts[i], v.negative_prompt, static_cast<uint64_t>(v.seed + k), {}, {}};
    if (painter.needs_source()) job.source = source_picture(v.images[std::min(i, v.images.size() - 1)], static_cast<int>(side), device);
    jobs.push_back(std::move(job));
  }
  return jobs;
}

std::unique_ptr<Sampler> sampler_for_drawing(Session& session, const Config& config) {
  const ValidationConfig& v = config.validation;
  const ModelPart* scheduler = session.folder.find("scheduler");
  Json schedule = scheduler ? scheduler->config : Json::object();
  schedule.update(session.loss->about().value("scheduler", Json::object()));  // as final/ will say it
  const int64_t side = side_px(session, config);
  return make_sampler(v.sampler,
                      scheduler_for(*session.model, session.task->id(), schedule, "scheduler/scheduler_config.json"),
                      sampler_options_for(*session.model, v.steps, side, side));
}

struct StopAsked {};

}  // namespace

void check_validation(Session& session, const Config& config) {
  const ValidationConfig& v = config.validation;
  if (v.every_steps == 0 || v.prompts.empty()) return;
  std::vector<Error> errors;
  if (Painter(*session.model, *session.task, session.device, at::kFloat).needs_source()) {
    if (v.images.empty())
      errors.push_back({"validation.images", "the task '" + session.task->id() + "' edits a picture and none is given",
                        "", "name one per prompt, or one for all", "E1033", Exit::config});
    for (const std::string& path : v.images)
      if (auto image = load_image(path); !image) {
        errors.push_back(image.error());
        if (errors.back().where.empty()) errors.back().where = "validation.images";
      }
  }
  try {
    sampler_for_drawing(session, config);
  } catch (const Failure& f) {
    for (Error e : f.errors) {  // named as `generate` knows them
      if (e.where == "--steps" || e.where == "--sampler") e.where = "validation." + e.where.substr(2);
      errors.push_back(std::move(e));
    }
  }
  if (!errors.empty()) throw Failure(std::move(errors));
}

static void draw_all(Session& session, const Config& config, TrainState& state, Logbook& logbook) {
  const ValidationConfig& v = config.validation;
  at::NoGradGuard no_grad;
  ShownInPlace shown(state);
  std::unique_ptr<Task> task = task_for_drawing(session, config);
  Painter painter(*session.model, *task, session.device, at::kFloat);
  int64_t side = side_px(session, config);

  auto stop_when_asked = [](size_t, size_t) {
    if (stop_signal()) throw StopAsked{};
  };
  Path folder = Path(config.output) / "validation_images" / fmt::format("step-{:07}", state.step);
  make_folders(folder);
  for (size_t i = 0; i < v.prompts.size(); ++i) {
    const std::vector<PaintJob> jobs = jobs_of(painter, v, i, side, session.device);
    auto sampler = sampler_for_drawing(session, config);
    at::Tensor rgb_NHWC = to_rgb8(painter.paint(jobs, side, side, *sampler, stop_when_asked).pixels).contiguous();
    for (int64_t k = 0; k < v.num_images; ++k) {
      int width = static_cast<int>(rgb_NHWC.size(2)), height = static_cast<int>(rgb_NHWC.size(1));
      std::span<const uint8_t> rgb(rgb_NHWC[k].const_data_ptr<uint8_t>(), static_cast<size_t>(rgb_NHWC[k].numel()));
      std::string file = (folder / fmt::format("{:03}-{}.png", i, k)).string();
      write_png(file, width, height, rgb, {{"prompt", v.prompts[i]}, {"seed", std::to_string(v.seed + k)}, {"step", std::to_string(state.step)}});
      logbook.image(fmt::format("validation/{:03}-{}", i, k), file, width, height, state.step);
    }
  }
}

void rehearse_validation_pictures(Session& session, const Config& config, TrainState& state) {
  if (config.validation.every_steps == 0 || config.validation.prompts.empty()) return;
  Config two_steps = config;
  two_steps.validation.steps = 2;
  at::NoGradGuard no_grad;
  ShownInPlace shown(state);
  std::unique_ptr<Task> task = task_for_drawing(session, config);
  Painter painter(*session.model, *task, session.device, at::kFloat);
  const int64_t side = side_px(session, config);
  const std::vector<PaintJob> jobs = jobs_of(painter, config.validation, 0, side, session.device);
  painter.paint(jobs, side, side, *sampler_for_drawing(session, two_steps));
}

void draw_validation_pictures(Session& session, const Config& config, TrainState& state, Logbook& logbook) {
  if (config.validation.prompts.empty()) return;
  try {
    draw_all(session, config, state, logbook);
  } catch (const StopAsked&) {
    logbook.note("the validation pictures were not finished: asked to stop");
  }
}

}  // namespace t2i
