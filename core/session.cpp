#include "core/session.h"

#include "core/config/schema_check.h"
#include "core/model/load.h"
#include "core/plug/host.h"
#include "core/precision/device.h"

namespace t2i {

Session::Session(std::vector<std::filesystem::path> search) : registry(std::move(search), host()) {}

static Json checked_options(const Component& component, const Json& options, const std::string& prefix, const Config& config) {
  OptionsCheck result = check_options(options, component.schema, prefix, component.kind + " '" + component.id + "'", config.positions);
  if (!result.errors.empty()) throw Failure(std::move(result.errors));
  return result.options;
}

// The model plugin that knows the folder's pipeline class, when none was named.
static std::unique_ptr<Model> model_for(Session& session, const Config& config) {
  if (!config.plugin.empty()) {
    const Component& c = session.registry.find("model", config.plugin);
    return std::make_unique<Model>(c, session.folder, checked_options(c, Json::object(), "plugin", config));
  }
  std::vector<std::string> tried;
  for (const Component& c : session.registry.list()) {
    if (c.kind != "model") continue;
    tried.push_back(c.id);
    try {
      const Component& known = session.registry.find("model", c.id);
      auto model = std::make_unique<Model>(known, session.folder, checked_options(known, Json::object(), "plugin", config));
      const Json pipelines = model->about().value("pipelines", Json::object());
      for (const Json& name : pipelines)
        if (name == session.folder.pipeline_class) return model;
    } catch (const Failure&) {  // another family's configuration: the next plugin may know it
    }
  }
  std::string names;
  for (const std::string& t : tried) names += (names.empty() ? "" : ", ") + t;
  fail({session.folder.asked + "/model_index.json", "no plugin opens a " + session.folder.pipeline_class, "Installed model plugins: " + names,
        "name one with --plugin, or install the plugin for this family", "E2110", Exit::bad_data});
}

static std::string default_task(const Session& session) {
  const Json pipelines = session.model->about().value("pipelines", Json::object());
  for (const auto& [task, pipeline] : pipelines.items())
    if (pipeline == session.folder.pipeline_class) return task;
  fail({"task", "the folder does not tell which task it is for", session.folder.pipeline_class + " is not among the model's pipelines",
        "name one with --task", "E2111", Exit::config});
}

std::unique_ptr<Session> open_session(const Config& config, const std::vector<std::string>& plugin_paths, const SessionNeeds& needs) {
  auto s = std::make_unique<Session>(plugin_search_path(plugin_paths));
  s->device = choose_device(needs.device, needs.local_rank);
  s->folder = open_model_folder(config.model.path).take();
  s->model = model_for(*s, config);

  ComponentConfig task = config.task;
  if (task.name.empty()) task.name = default_task(*s);
  const Component& task_component = s->registry.find("task", task.name);
  Json task_options = checked_options(task_component, task.options, "task", config);
  s->task = std::make_unique<Task>(task_component, task_options);
  s->task_options = task_options.dump();
  s->model->make_room(s->task->added_latents());

  if (needs.loss) {
    ComponentConfig loss = config.loss;
    if (loss.name.empty()) loss.name = s->model->about().at("default_loss");
    const Component& loss_component = s->registry.find("loss", loss.name);
    Json loss_options = checked_options(loss_component, loss.options, "loss", config);
    const ModelPart* scheduler = s->folder.find("scheduler");
    s->loss = std::make_unique<Loss>(loss_component, loss_options, scheduler ? scheduler->config : Json::object());
    s->loss_options = loss_options.dump();
  }
  return s;
}

ParamStore& load_part(Session& s, const Config& config, const std::string& part, at::ScalarType dtype,
                      const std::function<bool(const std::string&)>& is_trained) {
  ParamStore& store = s.model->build(part);
  store.allocate(dtype, s.device, is_trained);
  const ModelPart* files = s.folder.part(part).take();
  LoadRules rules;
  rules.where = s.folder.asked + "/" + part;
  const Json& about = s.model->about().at("parts").at(part);
  rules.optional_prefix = about.value("optional_prefix", "");
  const Json renames = about.value("aliases", Json::object());
  for (const auto& [now, before] : renames.items()) rules.aliases.emplace_back(now, before);
  rules.ignored = about.value("ignored", std::vector<std::string>());
  if (part == s.model->denoiser()) rules.widened = s.model->widened();
  WeightSet weights = open_weights(*files, config.model.variant).take();
  for (std::string& notice : load_weights(store, weights, rules)) s.notices.push_back(std::move(notice));
  return store;
}

void load_role(Session& s, const Config& config, const std::string& role, at::ScalarType dtype) {
  for (const std::string& part : s.model->parts(role))
    if (!s.model->has(part)) load_part(s, config, part, dtype);
}

}  // namespace t2i
