#include "core/session.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>

#include "core/base/number_text.h"
#include "core/config/schema_check.h"
#include "core/generate/scheduler_file.h"
#include "core/model/load.h"
#include "core/plug/host.h"
#include "core/plug/trial.h"
#include "core/precision/device.h"
#include "core/precision/held.h"
#include "core/quantization.h"
#include "core/single_files.h"

namespace t2i {

Session::Session(std::vector<std::filesystem::path> search) : registry(std::move(search), host()) {}

static Json checked_options(const Component& component, const Json& options, const std::string& prefix, const Config& config) {
  OptionsCheck result = check_options(options, component.schema, prefix, component.kind + " '" + component.id + "'", config.positions);
  if (!result.errors.empty()) throw Failure(std::move(result.errors));
  return result.options;
}

// The component of that name; a failure says where the name was given.
static const Component& component_named(Session& session, const std::string& kind, const std::string& name,
                                        const std::string& key, const Config& config) {
  try {
    return session.registry.find(kind, name);
  } catch (const Failure& f) {
    std::vector<Error> errors = f.errors;
    auto at = config.positions.find(key);
    for (Error& e : errors)
      if (e.where.empty()) e.where = at == config.positions.end() ? key : at->second;
    throw Failure(std::move(errors));
  }
}

static bool opens(const Model& model, const ModelFolder& folder) {
  const Json pipelines = model.about().value("pipelines", Json::object());
  for (const Json& name : pipelines)
    if (name == folder.pipeline_class) return true;
  return false;
}

// The first of these models that opens the folder. Adds to `tried` their names, to `refusals` what they say of it. What
// is wrong for a model that says that such folders are its own, is what is wrong with the folder.
static std::unique_ptr<Model> first_that_opens(Session& session, const Config& config, const std::vector<Component>& offered,
                                               std::vector<std::string>& tried, std::vector<Error>& refusals) {
  for (const Component& c : offered) {
    if (c.kind != "model" || std::count(tried.begin(), tried.end(), c.id)) continue;
    tried.push_back(c.id);
    const bool its_own = std::count(c.opens.begin(), c.opens.end(), session.folder.pipeline_class) > 0;
    if (!c.opens.empty() && !its_own) continue;
    try {
      const Component& known = session.registry.find("model", c.id);
      auto model = std::make_unique<Model>(known, session.folder, checked_options(known, config.plugin.options, "plugin", config));
      if (opens(*model, session.folder)) return model;
    } catch (const Failure& f) {
      if (its_own) throw;
      // Perhaps another family's configuration: the next plugin may know it.
      refusals.insert(refusals.end(), f.errors.begin(), f.errors.end());
    }
  }
  return nullptr;
}

// The model that was named, on a folder that it need not be made for. Where it cannot open it and another family says that
// such folders are its own, that is what is wrong, not each configuration.
static std::unique_ptr<Model> named_model(Session& session, const Config& config, const Component& c) {
  const Json options = checked_options(c, config.plugin.options, "plugin", config);
  auto is_for_it = [&](const Component& other) { return std::ranges::count(other.opens, session.folder.pipeline_class) > 0; };
  try {
    return std::make_unique<Model>(c, session.folder, options);
  } catch (const Failure&) {
    if (is_for_it(c)) throw;
    Registry built_in({built_in_plugins()}, host());
    for (const Component& other : built_in.list())
      if (other.kind == "model" && is_for_it(other))
        fail({session.folder.asked + "/model_index.json", fmt::format("says {}: a folder of '{}', not of '{}'", session.folder.pipeline_class, other.id, c.id), "",
              fmt::format("leave --plugin out, or give a folder of '{}'", c.id), "E2113", Exit::bad_data});
    throw;
  }
}

// The model plugin that knows the folder's pipeline class, when none was named.
static std::unique_ptr<Model> model_for(Session& session, const Config& config) {
  if (!config.plugin.name.empty()) {
    const Component& c = component_named(session, "model", config.plugin.name, "plugin", config);
    auto model = named_model(session, config, c);
    if (model->about().contains("pipelines") && !opens(*model, session.folder))
      session.notices.push_back(fmt::format("{}/model_index.json says {}; it is read as {}, as --plugin says",
                                            session.folder.asked, session.folder.pipeline_class, model->id()));
    return model;
  }
  std::vector<std::string> tried;
  std::vector<Error> refusals;
  // Built-in ones first: a folder that one of them opens makes nobody run a stranger's code.
  Registry built_in({built_in_plugins()}, host());
  if (auto model = first_that_opens(session, config, built_in.list(), tried, refusals)) return model;
  if (auto model = first_that_opens(session, config, session.registry.list(), tried, refusals)) return model;
  const std::vector<Error>& refused = session.registry.refused();  // the one for this family may be among them
  refusals.insert(refusals.end(), refused.begin(), refused.end());
  std::string names;
  for (const std::string& t : tried) names += (names.empty() ? "" : ", ") + t;
  refusals.insert(refusals.begin(),
                  {session.folder.asked + "/model_index.json", "no plugin opens this " + session.folder.pipeline_class,
                   "Installed model plugins: " + names,
                   refusals.empty() ? "name one with --plugin, or install the plugin for this family"
                                    : "see what they say of it below, or install the plugin for this family",
                   "E2110", Exit::bad_data});
  throw Failure(std::move(refusals));
}

static std::string default_task(const Session& session) {
  const Json pipelines = session.model->about().value("pipelines", Json::object());
  for (const auto& [task, pipeline] : pipelines.items())
    if (pipeline == session.folder.pipeline_class) return task;
  fail({"task", "the folder does not tell which task it is for", session.folder.pipeline_class + " is not among the model's pipelines",
        "name one with --task", "E2111", Exit::config});
}

// model.vae and model.text_encoder…: that part from another folder. The index, from which final/ is made, then lists
// what is used, also where it had none.
static void replace_part(ModelFolder& folder, ModelPart part) {
  if (!part.class_name.empty()) folder.index[part.name] = Json::array({part.library, part.class_name});
  std::erase(folder.absent, part.name);
  for (ModelPart& p : folder.parts)
    if (p.name == part.name) return p = std::move(part), void();
  folder.parts.push_back(std::move(part));
}

static void replace_text_encoder(ModelFolder& folder, const std::string& name, const std::string& asked) {
  if (asked.empty()) return;
  if (is_single_file(asked)) return replace_weights(folder, name, asked);
  ModelPart encoder = open_model_part(asked, name).take();
  // Numbers of tokens mean what the encoder was trained with. One that brings no tokenizer is used with the model's own.
  if (ModelPart tokenizer = open_tokenizer_of(encoder).take(); !tokenizer.name.empty()) replace_part(folder, std::move(tokenizer));
  replace_part(folder, std::move(encoder));
}

static void replace_parts(ModelFolder& folder, const ModelConfig& asked) {
  if (is_single_file(asked.vae)) replace_weights(folder, "vae", asked.vae);
  else if (!asked.vae.empty()) replace_part(folder, open_model_part(asked.vae, "vae").take());
  replace_text_encoder(folder, "text_encoder", asked.text_encoder);
  replace_text_encoder(folder, "text_encoder_2", asked.text_encoder_2);
  replace_text_encoder(folder, "text_encoder_3", asked.text_encoder_3);
}

std::unique_ptr<Session> open_session(const Config& config, const std::vector<std::string>& plugin_paths, const SessionNeeds& needs) {
  auto s = std::make_unique<Session>(plugin_search_path(plugin_paths));
  s->device = choose_device(needs.device, needs.local_rank);
  s->folder = open_model(config.model.path, config.model.base).take();
  s->variant = config.model.variant;
  replace_parts(s->folder, config.model);
  s->model = model_for(*s, config);
  settle_single_files(*s);

  ComponentConfig task = config.task;
  if (task.name.empty() && !needs.task) return s;
  if (task.name.empty()) task.name = default_task(*s);
  // As the family is used, where nothing else was said.
  const Json usual = s->model->about().value("default_task_options", Json::object()).value(task.name, Json::object());
  for (const auto& [key, value] : usual.items())
    if (!task.options.contains(key)) task.options[key] = value;
  const Component& task_component = component_named(*s, "task", task.name, "task", config);
  Json task_options = checked_options(task_component, task.options, "task", config);
  s->task = std::make_unique<Task>(task_component, task_options);
  s->task_options = task_options.dump();
  s->model->make_room(s->task->added_latents());

  if (needs.loss) {
    ComponentConfig loss = config.loss;
    const ModelPart* scheduler = s->folder.find("scheduler");
    const Json schedule = scheduler ? scheduler->config : Json::object();
    if (loss.name.empty()) loss.name = s->model->about().value("default_loss", "");
    if (loss.name.empty())
      fail({scheduler ? scheduler->config_path.string() : s->folder.asked,
            "does not tell what the model predicts: prediction_type is " +
                schedule.value("prediction_type", Json()).dump(),
            "The loss to go on with follows from that", "name one with --loss", "E2112", Exit::config});
    if (loss.name == s->model->about().value("default_loss", ""))  // as the family is trained, where nothing else was said
      for (const Json own = s->model->about().value("default_loss_options", Json::object()); const auto& [key, value] : own.items())
        if (!loss.options.contains(key)) loss.options[key] = value;
    const Component& loss_component = component_named(*s, "loss", loss.name, "loss", config);
    Json loss_options = checked_options(loss_component, loss.options, "loss", config);
    s->loss = std::make_unique<Loss>(loss_component, loss_options, Json{{"scheduler", schedule}, {"latent", s->model->about().value("latent", Json::object())}});
    s->loss_options = loss_options.dump();
  }
  return s;
}

// A part's folder as messages show it: inside the model's as the user wrote that, or the one that replaces it.
static std::string shown_folder(const Session& s, const std::string& part) {
  const ModelPart* files = s.folder.find(part);
  if (files && !files->file.empty()) return files->file;
  return files && !files->given.empty() ? files->given : s.folder.asked + "/" + part;
}

LoadRules load_rules(const Session& s, const std::string& part) {
  LoadRules rules;
  rules.where = shown_folder(s, part);
  const Json& about = s.model->about().at("parts").at(part);
  rules.optional_prefix = about.value("optional_prefix", "");
  const Json renames = about.value("aliases", Json::object());
  for (const auto& [now, before] : renames.items()) rules.aliases.emplace_back(now, before);
  rules.ignored = about.value("ignored", std::vector<std::string>());
  if (const ModelPart* files = s.folder.find(part); files && !files->file.empty())
    rules.todo_about_shapes = "take the configurations from a folder of the same kind of model as the file";
  rules.added = about.value("added", std::vector<std::string>());
  rules.not_packed = about.value("not_quantized", std::vector<std::string>());
  if (part == s.model->denoiser()) rules.widened = s.model->widened();
  return rules;
}

// The type that all weights have that will be frozen and not packed; nothing where they have several.
static std::optional<at::ScalarType> stored_type(const ParamStore& store, const WeightSet& weights, const LoadRules& rules,
                                                 const std::function<bool(const std::string&)>& is_trained,
                                                 const std::function<bool(const Parameter&)>& is_packed) {
  std::optional<at::ScalarType> type;
  for (const Parameter& p : store.parameters) {
    const TensorEntry* entry = find_tensor(weights, p.name, rules);
    if (!entry || (p.init != "buffer" && is_trained(p.name)) || is_packed(p)) continue;
    const at::ScalarType own = scalar_type(entry->dtype);
    if (type && *type != own) return std::nullopt;
    type = own;
  }
  return type;
}

// `asker`: what the user wrote the type in.
static at::ScalarType told_of(Session& s, const std::string& part, const HeldType& held, const char* asker) {
  if (!held.refused.empty())
    s.notices.push_back(fmt::format("{} is held in float32: it is not made for {}, which {} asks for", shown_folder(s, part), held.refused, asker));
  return held.type;
}

static at::Device held_on(const Session& s) { return s.held_as_on_gpu ? at::Device(at::kCUDA) : s.device; }

ParamStore& load_part(Session& s, const Config& config, const std::string& part, at::ScalarType dtype,
                      const std::function<bool(const std::string&)>& is_trained, FrozenAs frozen) {
  const ModelPart* files = s.folder.part(part).take();
  ParamStore& store = s.model->build(part);
  WeightSet weights = weights_from(s, *files, config.model.variant);
  LoadRules rules = load_rules(s, part);
  rules.seed = static_cast<uint64_t>(config.train.seed);
  const char* key = part == s.model->denoiser() ? "model.quantization" : "model.text_encoder_quantization";
  const bool in_full = std::ranges::count(config.train.text_encoders, part) > 0;  // what of it is not trained stays as it is
  auto is_packed = packing_of(weights, rules, in_full ? "none" : quantization_of(s, config.model, part), key);
  at::ScalarType held = dtype;
  if (frozen == FrozenAs::model_dtype && dtype == at::kFloat)  // a part in half precision is held in nothing wider
    held = told_of(s, part,
                   held_type_beside_trained(config.model.dtype, config.train.mixed_precision, held_on(s), s.model->about().at("parts").at(part),
                                              stored_type(store, weights, rules, is_trained, is_packed)),
                   "model.dtype");
  store.allocate(dtype, s.device, is_trained, is_packed, held);
  for (std::string& notice : load_weights(store, weights, rules)) s.notices.push_back(std::move(notice));
  return store;
}

void require_parts(const Session& s, const std::vector<std::string>& roles) {
  std::vector<Error> errors;
  for (const std::string& role : roles)
    for (const std::string& part : s.model->parts(role))
      if (auto found = s.folder.part(part); !found) {
        errors.push_back(found.error());
        if (s.model->about().at("parts").at(part).value("optional", false))
          errors.back().todo += ", or write [null, null] for it into model_index.json to go without";
      }
  if (!errors.empty()) throw Failure(std::move(errors));
}

void load_role(Session& s, const Config& config, const std::string& role, at::ScalarType dtype) {
  for (const std::string& part : s.model->parts(role))
    if (!s.model->has(part)) load_part(s, config, part, told_of(s, part, held_type(dtype, s.model->about().at("parts").at(part)), "--dtype"));
}

static at::ScalarType frozen_dtype(Session& s, const Config& config, const std::string& part) {
  return told_of(s, part, held_type(config.model.dtype, config.train.mixed_precision, held_on(s), s.model->about().at("parts").at(part)), "model.dtype");
}

void load_frozen_role(Session& s, const Config& config, const std::string& role) {
  for (const std::string& part : s.model->parts(role)) {
    if (s.model->has(part) || std::ranges::count(config.train.text_encoders, part)) continue;
    // What gradients pass through is computed as what is trained.
    if (std::ranges::count(config.lora.text_encoders, part))
      load_part(s, config, part, at::kFloat, [](const std::string&) { return false; }, FrozenAs::model_dtype);
    else load_part(s, config, part, frozen_dtype(s, config, part));
  }
}

std::string lower_precision_text(const Session& s, const std::vector<std::string>& roles) {
  std::map<std::string, std::string> parts_by_type;
  for (const std::string& role : roles)
    for (const std::string& part : s.model->parts(role)) {
      if (!s.model->has(part)) continue;  // a cache stands in for it
      const ParamStore& store = s.model->store(part);
      if (!store.held_bytes() || store.frozen_dtype == at::kFloat) continue;
      std::string& list = parts_by_type[dtype_name(store.frozen_dtype)];
      list += fmt::format("{}{} ({})", list.empty() ? "" : ", ", part, bytes_text(store.held_bytes()));
    }
  std::string text;
  for (const auto& [type, parts] : parts_by_type) text += (text.empty() ? "held in " : "; in ") + type + ": " + parts;
  return text;
}

std::string held_as(const ParamStore& store) {
  std::map<std::string, uint64_t> by_word;
  if (store.trained.defined()) by_word[dtype_name(store.trained.scalar_type())] += store.trained.nbytes();
  if (uint64_t held = store.held_bytes()) by_word[dtype_name(store.frozen_dtype)] += held;
  for (const Parameter& p : store.parameters)
    if (p.packed) by_word[packed_word(p.packed->form)] += p.packed->bytes();
  std::vector<std::pair<uint64_t, std::string>> most_first;
  uint64_t all = 0;
  for (const auto& [word, bytes] : by_word) most_first.emplace_back(bytes, word), all += bytes;
  std::ranges::sort(most_first, std::greater<>());
  std::string text;
  for (const auto& [bytes, word] : most_first)
    if (bytes * 100 >= all) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string changed_prediction(const Session& session) {
  const ModelPart* scheduler = session.folder.find("scheduler");
  if (!scheduler) return "";
  Json later = scheduler->config;
  later.update(session.loss->about().value("scheduler", Json::object()));
  const std::string before = SchedulerFile(scheduler->config, "").prediction(), after = SchedulerFile(later, "").prediction();
  if (before == after) return "";
  return fmt::format("the model was trained to predict \"{}\" ({}); loss '{}' teaches it to predict \"{}\"", before,
                     scheduler->config_path.string(), session.loss->id(), after);
}

}  // namespace t2i
