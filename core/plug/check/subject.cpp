#include "core/plug/check/subject.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "core/config/schema_check.h"
#include "core/kernel/draw.h"
#include "core/plug/call.h"
#include "core/plug/check/faulty_host.h"

namespace t2i {
namespace {

constexpr int64_t n = 3, channels = 4, side = 8;

Error not_made(const std::string& name, const std::string& what) { return {name, what, "", "", "E2063", Exit::failed}; }

at::Tensor sample(const CheckContext& context, const std::string& stream, std::vector<int64_t> shape) {
  std::vector<int64_t> key;
  for (int64_t i = 0; i < shape[0]; ++i) key.insert(key.end(), {static_cast<int64_t>(context.seed), 0, i});
  at::Tensor rng = at::tensor(key, at::kLong).view({shape[0], 3});
  return draw_normal(rng, stream, at::IntArrayRef(shape).slice(1));
}
at::Tensor sample_rng(const CheckContext& context) {
  int64_t seed = static_cast<int64_t>(context.seed);
  return at::tensor({seed, int64_t{7}, int64_t{0}, seed, int64_t{7}, int64_t{1}, seed, int64_t{7}, int64_t{2}}, at::kLong).view({n, 3});
}

// A function of named tensors as an Answer. Exceptions pass: the caller's process is there to die of them.
using Named = int32_t (*)(void*, const t2i_named*, uint32_t, const t2i_sink*);
Answer call_raw(const std::function<int32_t(const t2i_named*, uint32_t, const t2i_sink*)>& function, const Tensors& in) {
  Answer answer;
  set_last_error(T2I_OK, "");
  t2i_sink sink{sizeof(t2i_sink), &answer.out, [](void* ctx, const char* name, t2i_tensor owned) {
                  return guard([&] { (*static_cast<Tensors*>(ctx))[name] = take(owned); });
                }};
  NamedView view(in);
  answer.code = function(view.data(), view.size(), &sink);
  answer.text = last_error_text();
  return answer;
}
std::function<Answer(const Tensors&)> named(Named function, void* self) {
  return [=](const Tensors& in) {
    return call_raw([&](const t2i_named* items, uint32_t count, const t2i_sink* sink) { return function(self, items, count, sink); }, in);
  };
}

void add_loss_calls(Subject& s, const CheckContext& context) {
  auto* api = static_cast<const t2i_loss*>(s.component->impl);
  const std::vector<int64_t> shape{n, channels, side, side};
  at::Tensor latents = sample(context, "latents", shape), noise = sample(context, "noise", shape);
  at::Tensor timesteps = at::tensor({10.0f, 500.0f, 990.0f});
  s.calls.push_back({s.name + " draw()", named(api->draw, s.self.get()), {{"latents", latents}, {"rng", sample_rng(context)}},
                     {{"timesteps", {n}}}, true});
  s.calls.push_back({s.name + " prepare()", named(api->prepare, s.self.get()),
                     {{"latents", latents}, {"noise", noise}, {"timesteps", timesteps}}, {{"noisy", shape}, {"target", shape}}, true});
  s.calls.push_back({s.name + " compute()", named(api->compute, s.self.get()),
                     {{"latents", latents}, {"noise", noise}, {"timesteps", timesteps}, {"noisy", latents},
                      {"prediction", sample(context, "prediction", shape)}, {"target", sample(context, "target", shape)}},
                     {{"loss_per_sample", {n}}}, true});
}

Tensors sample_conditioning(const CheckContext& context, const std::string& twin, int64_t added) {
  Tensors in;
  for (std::string name : {"prompt_embeds", "pooled"}) {
    std::vector<int64_t> shape = name == "pooled" ? std::vector<int64_t>{n, 6} : std::vector<int64_t>{n, 5, 6};
    in[name] = sample(context, name, shape);
    in[twin + name] = sample(context, twin + name, shape);
  }
  if (added) in["image_latents"] = sample(context, "image_latents", {n, channels, side, side});
  return in;
}

void add_task_calls(Subject& s, const CheckContext& context) {
  auto* api = static_cast<const t2i_task*>(s.component->impl);
  void* self = s.self.get();
  const char* text = nullptr;
  if (api->describe(self, &text)) return;
  Json about = Json::parse(text, nullptr, false);
  int64_t added = about.is_object() && about.contains("added_latents") ? static_cast<int64_t>(about["added_latents"].size()) : 0;
  std::map<std::string, std::vector<int64_t>> puts{{"prompt_embeds", {n, 5, 6}}};
  if (added) puts["image_latents"] = {n, channels, side, side};

  Tensors in = sample_conditioning(context, "null_", added);
  in["rng"] = sample_rng(context);
  s.calls.push_back({s.name + " apply()", named(api->apply, self), in, puts});
  uint32_t branches = 0;
  if (api->branches(self, &branches)) return;
  for (uint32_t b = 0; b < branches && b < 16; ++b) {
    auto branch = [api, self, b](const Tensors& given) {
      return call_raw([&](const t2i_named* items, uint32_t count, const t2i_sink* sink) { return api->branch(self, b, items, count, sink); },
                      given);
    };
    s.calls.push_back({fmt::format("{} branch({})", s.name, b), branch, sample_conditioning(context, "negative_", added), puts});
  }
  Tensors predictions;
  for (uint32_t b = 0; b < branches && b < 16; ++b)
    predictions[fmt::format("prediction_{:02}", b)] = sample(context, fmt::format("prediction_{}", b), {n, channels, side, side});
  auto combine = [api, self](const Tensors& given) {
    Answer answer;
    set_last_error(T2I_OK, "");
    std::vector<t2i_tensor> handles;
    for (const auto& [name, t] : given) handles.push_back(borrow(t));
    t2i_tensor out = nullptr;
    answer.code = api->combine(self, handles.data(), static_cast<uint32_t>(handles.size()), &out);
    if (out) answer.out["combined"] = take(out);
    answer.text = last_error_text();
    return answer;
  };
  s.calls.push_back({s.name + " combine()", combine, predictions, {{"combined", {n, channels, side, side}}}, false, false});
}

}  // namespace

Json sample_scheduler() {
  return {{"beta_start", 0.00085}, {"beta_end", 0.012}, {"beta_schedule", "scaled_linear"}, {"num_train_timesteps", 1000}};
}

Result<Json> default_options(const Component& component) {
  OptionsCheck options = check_options(Json::object(), component.schema, component.kind, component.id, {});
  if (!options.errors.empty()) return not_made(component.kind + " '" + component.id + "'", options.errors.front().what);
  return options.options;
}

int32_t create_component(const Component& component, const Json& options, void** self) {
  if (component.kind == "task") return static_cast<const t2i_task*>(component.impl)->create(options.dump().c_str(), self);
  std::string scheduler = Json{{"scheduler", sample_scheduler()}}.dump();
  return static_cast<const t2i_loss*>(component.impl)->create(options.dump().c_str(), scheduler.c_str(), self);
}

void destroy_component(const Component& component, void* self) {
  if (component.kind == "model")
    static_cast<const t2i_model*>(component.impl)->destroy(self);
  else if (component.kind == "task")
    static_cast<const t2i_task*>(component.impl)->destroy(self);
  else
    static_cast<const t2i_loss*>(component.impl)->destroy(self);
}

Result<Subject> make_model(const Component& component, const CheckContext& context, at::ScalarType dtype) {
  Result<Json> options = default_options(component);
  if (!options) return options.error();
  Result<ModelFolder> folder = open_model_folder(context.model);
  if (!folder) return folder.error();
  Subject s{"model '" + component.id + "'", &component, nullptr, nullptr, {}};
  s.model = std::make_shared<Model>(component, *folder, *options);
  auto build = [&](const std::string& part, bool trained) {
    ParamStore& store = s.model->build(part);
    store.allocate(dtype, at::kCPU, [&](const std::string&) { return trained; });
    store.initialize(context.seed);
  };
  build(s.model->denoiser(), true);
  for (const std::string& part : s.model->parts("text_encoder")) build(part, false);

  Tensors in;
  {
    at::NoGradGuard no_grad;
    in = s.model->encode_text(s.model->tokenize({"a red square", "", "two"}));
  }
  const int64_t c = s.model->latent_channels(), first = s.model->about().contains("first_layer") ? s.model->about()["first_layer"]["channels"].get<int64_t>() : c;
  in["latents"] = sample(context, "latents", {n, c, side, side}).to(dtype);
  if (first > c) in["image_latents"] = sample(context, "image_latents", {n, first - c, side, side}).to(dtype);
  in["timesteps"] = at::tensor({10.0f, 500.0f, 990.0f});
  in["time_ids"] = at::tensor({64.0f, 64.0f, 0.0f, 0.0f, 64.0f, 64.0f}).repeat({n, 1});
  in["guidance"] = at::full({n}, 3.5f);
  std::shared_ptr<Model> model = s.model;
  auto forward = [model](const Tensors& given) {
    Answer answer;
    try {
      answer.out = model->forward(given);
    } catch (const Failure& f) {
      answer.code = T2I_E_INTERNAL, answer.text = f.what();
    }
    return answer;
  };
  s.calls.push_back({s.name + " forward()", forward, in, {{"prediction", {n, c, side, side}}}, true});
  return s;
}

Result<LoadedPlugin> load_subject(const CheckContext& context) {
  fail_at_call(0);
  return load_plugin(context.file, faulty_host());
}

Result<SubjectSet> make_subjects(const CheckContext& context) {
  Result<LoadedPlugin> loaded = load_subject(context);
  if (!loaded) return loaded.error();
  SubjectSet set{*loaded, {}, ""};
  for (const Component& c : set.plugin.components) {
    std::string name = c.kind + " '" + c.id + "'";
    if (c.kind == "dataset") {
      set.left_out = name + " is not made: it needs a file to open";
      continue;
    }
    if (c.kind == "model") {
      if (context.model.empty()) {
        set.left_out = name + " is not made: give a folder with --model";
        continue;
      }
      Result<Subject> model = make_model(c, context, at::kFloat);
      if (!model) return model.error();
      set.subjects.push_back(*model);
      continue;
    }
    Result<Json> options = default_options(c);
    if (!options) {
      set.left_out = name + " is not made: " + options.error().what;
      continue;
    }
    void* self = nullptr;
    set_last_error(T2I_OK, "");
    if (int32_t code = create_component(c, *options, &self)) return not_made(name, fmt::format("create() refuses its defaults: {} (code {})", last_error_text(), code));
    Subject s{name, &c, std::shared_ptr<void>(self, [&c](void* p) { destroy_component(c, p); }), nullptr, {}};
    c.kind == "task" ? add_task_calls(s, context) : add_loss_calls(s, context);
    set.subjects.push_back(std::move(s));
  }
  return set;
}

}  // namespace t2i
