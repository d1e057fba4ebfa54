#include "core/generate.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <set>

#include "core/adapters.h"
#include "core/checkpoint/own_file.h"
#include "core/data/picture_size.h"
#include "core/dist/group.h"
#include "core/generate/latents_file.h"
#include "core/generate/paint.h"
#include "core/generate/parameters_text.h"
#include "core/generate/picture_folder.h"
#include "core/generate/prompts.h"
#include "core/generate/source_image.h"
#include "core/metric/job_progress.h"
#include "core/plug/long_texts.h"
#include "core/precision/device.h"
#include "core/session.h"
#include "core/train/stop_signal.h"

namespace t2i {
namespace {

// The task with the guidance that was asked for.
Config session_config(const GenerateOptions& options) {
  Config config;
  config.plugin = options.plugin;
  config.model = options.model;
  config.task = options.task;
  auto set = [&](const char* key, const char* option, std::optional<double> value) {
    if (!value) return;
    config.task.options[key] = *value;
    config.positions[std::string("task.") + key] = option;
  };
  set("guidance_scale", "--guidance", options.guidance);
  set("image_guidance_scale", "--image-guidance", options.image_guidance);
  return config;
}

DrawnSize wanted_size(const GenerateOptions& options, const Session& session, const LatentsFile& latents) {
  int64_t downscale = session.model->downscale();
  DrawnSize size{options.width, options.height};
  int64_t place = session.model->place_px();
  if (latents.given()) {
    DrawnSize fits = latents.size(downscale);
    if (fits.width % place || fits.height % place)
      fail({options.latents, fmt::format("the latents are {} by {}", fits.width / downscale, fits.height / downscale),
            fmt::format("The model sees {} by {} of them as one place", place / downscale, place / downscale), "give latents of whole places", "E6008",
            Exit::bad_data});
    if (size.width && size != fits)
      fail({"--size", fmt::format("{}x{} does not fit the latents of {}", size.width, size.height, options.latents), "",
            fmt::format("use --size {}x{}", fits.width, fits.height), "E6008", Exit::usage});
    if (auto large = session.model->too_large(fits.width, fits.height, options.latents, Exit::bad_data)) fail(*large);
    return fits;
  }
  if (size.width % place || size.height % place)
    fail({"--size", fmt::format("{}x{} is not a multiple of {}", size.width, size.height, place), "The model sees so many pixels a side as one place",
          fmt::format("use --size {}x{}", std::max<int64_t>(1, size.width / place) * place, std::max<int64_t>(1, size.height / place) * place),
          "E6013", Exit::usage});
  if (auto large = session.model->too_large(size.width, size.height, "--size", Exit::usage)) fail(*large);
  return size;
}

// One problem per prompt whose picture is missing or not wanted.
void check_sources(const std::vector<Prompt>& prompts, const std::vector<PictureRequest>& pictures, bool needed, const std::string& task) {
  std::vector<Error> errors;
  for (const PictureRequest& picture : pictures) {
    if (picture.image.empty() != needed) continue;
    std::string where = prompts[picture.prompt].where.empty() ? "--image" : prompts[picture.prompt].where;
    errors.push_back(needed ? Error{where, "task '" + task + "' needs a picture to start from", "", "give --image FILE", "E6006", Exit::usage}
                            : Error{where, "task '" + task + "' reads no picture", "", "leave the image out, or choose another --task", "E6006", Exit::usage});
    if (errors.size() == 10 || prompts[picture.prompt].where.empty()) break;
  }
  if (!errors.empty()) throw Failure(std::move(errors));
}

// Where each picture keeps its own size, those that the model cannot draw so large, one problem each: before weights are
// read, from the beginning of the files. What else is wrong with a file is told when it is read.
void check_source_sizes(const std::vector<PictureRequest>& pictures, const Model& model) {
  std::vector<Error> errors;
  std::set<std::string> seen;
  for (const PictureRequest& picture : pictures) {
    if (!seen.insert(picture.image).second) continue;
    auto file = open_file(picture.image, picture.image, "the picture");
    const std::optional<PictureSize> size = file ? picture_size(*file) : std::nullopt;
    if (!size) continue;
    auto whole = [place = model.place_px()](uint32_t side) { return side / place * place; };
    auto large = model.too_large(whole(size->width), whole(size->height), picture.image, Exit::bad_data);
    if (large) large->todo = fmt::format("give --size, of at most {0}x{0}", model.most_px()), errors.push_back(*large);
    if (errors.size() == 10) break;
  }
  if (!errors.empty()) throw Failure(std::move(errors));
}

std::vector<std::string> texts_of(const std::vector<PictureRequest>& pictures) {
  std::vector<std::string> texts;
  for (const PictureRequest& picture : pictures) texts.push_back(picture.text), texts.push_back(picture.negative);
  return texts;
}

// Every text as it was given, negative ones among them.
std::vector<TextAt> texts_at(const std::vector<Prompt>& prompts, const std::string& negative) {
  std::vector<TextAt> texts;
  for (const Prompt& p : prompts) {
    texts.push_back({p.text, p.where});
    if (p.negative) texts.push_back({*p.negative, p.where});
  }
  if (!negative.empty()) texts.push_back({negative, "--negative"});
  return texts;
}

// How many of the pictures this process draws.
size_t own_share(size_t pictures, size_t batch, const Group& group) {
  size_t own = 0;
  for (size_t first = 0; first < pictures; first += batch)
    if (static_cast<int>(first / batch % static_cast<size_t>(group.world())) == group.rank()) own += std::min(batch, pictures - first);
  return own;
}

// Between two steps: what is drawn is on the disk, so the same command can go on from there.
void stop_if_asked(size_t drawn, size_t of) {
  if (!stop_signal()) return;
  fail({"t2i generate", fmt::format("stopped by a signal after {} of {} pictures", drawn, of), "", "the same command with --resume draws the others", "E8060",
        Exit::preempted});
}

}  // namespace

int generate_command(const GenerateOptions& options) {
  // What is wanted.
  std::vector<Prompt> prompts;
  if (!options.prompts_file.empty()) prompts = read_prompts(options.prompts_file);
  for (const std::string& text : options.prompts) prompts.push_back({.text = text, .image = {}, .negative = {}, .seed = {}, .where = {}});
  std::vector<PictureRequest> pictures =
      requested_pictures(prompts, {options.negative, options.images, static_cast<uint64_t>(options.seed), options.count, options.format == "coco"});
  PictureFolder folder(options.output, options.format, pictures.size());
  if (!options.save_latents.empty()) require_own_file(options.save_latents, "--save-latents");

  // Who draws it, and from what.
  Launch launch = launch_from_environment().take();
  if (!options.save_latents.empty() && launch.world > 1)
    fail({"--save-latents", "only one process can write the file", "",
          "leave the launcher out, or leave --save-latents out", "E6014", Exit::usage});
  set_compute_threads(default_threads(launch.local_world));
  Config config = session_config(options);
  if (config.task.name.empty()) config.task.name = task_of_adapters(options.loras);
  at::NoGradGuard no_gradients;
  auto session = open_session(config, options.plugin_paths, {.loss = false, .device = options.device, .local_rank = launch.local_rank});
  auto group = make_group(launch, session->device, 600);
  Model& model = *session->model;
  require_parts(*session, {"text_encoder", "vae", "denoiser"});
  std::optional<Adapters> adapters;
  if (!options.loras.empty()) adapters.emplace(*session, options.loras);
  at::ScalarType dtype = dtype_from(options.dtype, "--dtype");
  Painter painter(model, *session->task, session->device, dtype);
  check_sources(prompts, pictures, painter.needs_source(), session->task->id());
  LatentsFile latents(options.latents, model.latent_channels(), pictures.size());
  DrawnSize size = wanted_size(options, *session, latents);
  if (!size.width && painter.needs_source()) check_source_sizes(pictures, model);
  if (!size.width && !painter.needs_source()) size.width = size.height = model.about().value("resolution", int64_t{512});
  const ModelPart* schedule = session->folder.part("scheduler").take();
  Json schedule_now = schedule->config;
  if (adapters) schedule_now.update(adapters->scheduler_changes());
  SchedulerFile scheduler = scheduler_for(model, session->task->id(), schedule_now, schedule->config_path.string());
  int64_t steps = options.steps.value_or(model.default_steps(session->task->id()));
  make_sampler(options.sampler, scheduler,
               sampler_options_for(model, steps, size.width, size.height));  // its problems before weights are read

  // Text encoders can be larger than what draws: where all texts take less, they are encoded and the encoders go first.
  JobProgress::Setup shown = JobProgress::on_stderr();
  shown.silent = !group->is_first();
  JobProgress progress(shown);
  progress.watch_files();
  load_role(*session, config, "text_encoder", dtype);
  if (adapters) adapters->attach(*session, "text_encoder");
  for (std::string& notice : long_texts_notices(model, texts_at(prompts, options.negative), "prompt")) session->notices.push_back(std::move(notice));
  if (painter.remember(texts_of(pictures), model.weight_bytes("text_encoder") / 4)) model.release("text_encoder");
  load_role(*session, config, "vae", at::kFloat);  // half precision shows in the picture, and float16 overflows in some
  load_role(*session, config, "denoiser", dtype);
  if (adapters) adapters->attach(*session, "denoiser");
  progress.clear();
  if (group->is_first())
    for (const std::string& notice : session->notices) fmt::print(stderr, "notice: {}\n", printable(notice));

  Json task_options = Json::parse(session->task_options);
  PictureParameters about;
  about.steps = steps;
  about.sampler = options.sampler.empty() ? default_sampler(scheduler) : options.sampler;
  if (task_options.contains("guidance_scale")) about.guidance = task_options["guidance_scale"];
  if (task_options.contains("image_guidance_scale")) about.image_guidance = task_options["image_guidance_scale"];
  about.model = std::filesystem::path(options.model.path).lexically_normal().filename().string();

  // Draw, `batch` at a time; a batch ends early where the next picture has another size.
  SourceImages sources(size, model.place_px(), session->device);
  std::vector<Json> described(pictures.size());
  auto batch = static_cast<size_t>(options.batch);
  const size_t own = own_share(pictures.size(), batch, *group);
  size_t drawn = 0, kept = 0;
  auto describe = [&](size_t i, DrawnSize its) {
    about.prompt = pictures[i].text, about.negative = pictures[i].negative, about.seed = pictures[i].seed;
    about.width = its.width, about.height = its.height;
    described[i] = PictureFolder::describe(its.width, its.height, pictures[i].text, pictures[i].seed);
    return parameters_text(about);
  };
  install_stop_signals();
  for (size_t i = 0; i < pictures.size();) {
    size_t chunk = i / batch, chunk_end = std::min(pictures.size(), (chunk + 1) * batch);
    if (static_cast<int>(chunk % static_cast<size_t>(group->world())) != group->rank()) {
      i = chunk_end;
      continue;
    }
    std::vector<PaintJob> jobs;
    DrawnSize now = size;
    size_t first = i;
    for (; i < chunk_end; ++i) {
      DrawnSize its = size;
      PaintJob job{pictures[i].text, pictures[i].negative, pictures[i].seed, {}, latents.noise(i)};
      if (painter.needs_source()) {
        job.source = sources.load(pictures[i].image);
        its = {job.source.size(3), job.source.size(2)};
        if (!jobs.empty() && its != now) break;
      }
      if (options.resume && folder.holds(i, describe(i, its))) {
        if (!jobs.empty()) break;
        first = i + 1, ++kept, ++drawn;
        continue;
      }
      now = its;
      jobs.push_back(std::move(job));
    }
    if (jobs.empty()) continue;
    latents.require(now, model.downscale());
    auto sampler = make_sampler(options.sampler, scheduler, sampler_options_for(model, steps, now.width, now.height));
    Painted painted = painter.paint(jobs, now.width, now.height, *sampler,
                                    [&](size_t step, size_t of) {
                                      stop_if_asked(drawn, own);
                                      const double share = static_cast<double>(step) / static_cast<double>(of);
                                      progress.update("drawing", static_cast<double>(drawn) + static_cast<double>(jobs.size()) * share, static_cast<double>(own),
                                                      fmt::format("step {} of {}", step, of));
                                    });
    progress.clear();
    at::Tensor rgb = to_rgb8(painted.pixels);
    for (size_t k = 0; k < jobs.size(); ++k) {
      at::Tensor one = rgb[static_cast<int64_t>(k)];
      Path written = folder.write(first + k, now.width, now.height, {one.data_ptr<uint8_t>(), one.nbytes()}, describe(first + k, now));
      fmt::print("{}\n", printable(written.string()));
    }
    std::fflush(stdout);
    drawn += jobs.size();
    latents.keep(painted.noise, painted.latents);
  }

  if (kept) fmt::print(stderr, "notice: {} pictures were there already\n", kept);

  // What the processes know of their pictures, put together.
  for (const std::string& text : group->gather_text(Json(described).dump(), "annotations")) {
    Json theirs = Json::parse(text);
    for (size_t i = 0; i < described.size(); ++i)
      if (!theirs[i].is_null()) described[i] = theirs[i];
  }
  if (group->is_first()) folder.write_annotations(described);
  if (!options.save_latents.empty()) latents.save(options.save_latents);
  return static_cast<int>(Exit::done);
}

}  // namespace t2i
