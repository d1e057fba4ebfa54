// What the plugin says of itself and of its components, and whether the functions answer as sdk/NAMES.md says.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/config/schema_check.h"
#include "core/plug/check/faulty_host.h"
#include "core/plug/check/subject.h"
#include "core/plug/host.h"

namespace t2i {
namespace {

Outcome passed(std::string text = "") { return {Outcome::pass, std::move(text)}; }
Outcome failed(std::string text) { return {Outcome::fail, std::move(text)}; }
Outcome skipped(std::string text) { return {Outcome::skip, std::move(text)}; }

Outcome complete(const CheckContext& context) {
  Result<LoadedPlugin> plugin = load_subject(context);
  if (plugin) {
    std::vector<std::string> names;
    for (const Component& c : plugin->components) names.push_back(c.kind + " " + c.id);
    return passed(fmt::format("{}", fmt::join(names, ", ")));
  }
  if (plugin.error().id == "E2059" || plugin.error().id == "E2060") return failed(plugin.error().what);
  return plugin.error().id == "E2062" ? passed() : skipped("it does not load");
}

Outcome starts(const CheckContext& context) {
  Result<LoadedPlugin> plugin = load_subject(context);
  if (!plugin) return plugin.error().id == "E2062" ? failed(plugin.error().what) : skipped("it does not load");
  if (plugin->plugin->start(faulty_host())) return failed(std::string("a second start() fails: ") + last_error_text());
  return passed();
}

Outcome schema(const CheckContext& context) {
  Result<LoadedPlugin> plugin = load_subject(context);
  if (!plugin) return skipped("it does not load");
  for (const Component& c : plugin->components)
    if (auto problems = schema_problems(c.schema); !problems.empty())
      return failed(fmt::format("{} '{}': {}", c.kind, c.id, fmt::join(problems, "; ")));
  return passed();
}

Outcome defaults(const CheckContext& context) {
  Result<LoadedPlugin> plugin = load_subject(context);
  if (!plugin) return skipped("it does not load");
  Result<SubjectSet> set = make_subjects(context);
  if (!set) return failed(set.error().where + ": " + set.error().what);
  return set->subjects.empty() ? skipped(set->left_out) : passed(set->left_out);
}

// The keys that sdk/NAMES.md asks for, by kind; a sentence when one is not there or not of its form.
std::string missing_key(const std::string& kind, const Json& about) {
  try {
    if (kind == "model") {
      about.at("latent").at("channels").get<int64_t>(), about.at("latent").at("downscale").get<int64_t>();
      int denoisers = 0;
      for (const Json& part : about.at("parts")) denoisers += part.at("role") == "denoiser";
      if (denoisers != 1) return fmt::format("has {} parts of role denoiser, one is wanted", denoisers);
    } else if (kind == "task") {
      for (const Json& c : about.at("columns")) {
        if (c.at("kind") != "image" && c.at("kind") != "text") return "has a column of a kind other than image and text";
        std::string use = c.at("use");
        if (use != "target" && use != "source" && use != "prompt") return "has a column of unknown use '" + use + "'";
        c.at("name").get<std::string>();
      }
    } else if (about.contains("scheduler") && !about["scheduler"].is_object()) {
      return "has a scheduler that is no object";
    }
  } catch (const Json::exception& e) {
    return std::string("lacks a key: ") + e.what();
  }
  return "";
}

// A table of single files is of its form and has a place for every parameter of the parts that it is for.
std::string unsound_file_names(const Model& model) {
  try {
    const FileNames names = model.file_names();
    for (const auto& [part, forms] : names) {
      if (!model.about().at("parts").contains(part)) return "file_names() has a part '" + part + "' that describe() has not";
      const std::vector<NamedShape> parameters = model.declared(part);
      for (const FileForm& form : forms)
        if (auto tensors = tensors_to_write(form, parameters, ""); !tensors) return "file_names() " + tensors.error().what;
    }
  } catch (const Failure& f) {
    return "file_names() fails: " + f.errors.front().what;
  }
  return "";
}

Outcome describes(const CheckContext& context) {
  if (!load_subject(context)) return skipped("it does not load");
  Result<SubjectSet> set = make_subjects(context);
  if (!set) return skipped("its components cannot be made");
  for (const Subject& s : set->subjects) {
    Json about;
    if (s.model) {
      about = s.model->about();
    } else {
      const char* text = nullptr;
      int32_t code = s.component->kind == "task" ? static_cast<const t2i_task*>(s.component->impl)->describe(s.self.get(), &text)
                                                 : static_cast<const t2i_loss*>(s.component->impl)->describe(s.self.get(), &text);
      if (code || !text) return failed(fmt::format("{} describe() gives nothing (code {})", s.name, code));
      about = Json::parse(text, nullptr, false);
    }
    if (!about.is_object()) return failed(s.name + " describe() gives something that is no JSON object");
    if (std::string problem = missing_key(s.component->kind, about); !problem.empty()) return failed(s.name + " describe() " + problem);
    if (s.model)
      if (std::string problem = unsound_file_names(*s.model); !problem.empty()) return failed(s.name + " " + problem);
  }
  return set->subjects.empty() ? skipped(set->left_out) : passed(set->left_out);
}

Outcome answers(const CheckContext& context) {
  if (!load_subject(context)) return skipped("it does not load");
  Result<SubjectSet> set = make_subjects(context);
  if (!set) return skipped("its components cannot be made");
  for (const Subject& s : set->subjects)
    for (const Callable& f : s.calls) {
      Answer a = f.call(f.in);
      if (a.code) return failed(fmt::format("{} fails on complete input: {} (code {})", f.name, a.text, a.code));
      for (const auto& [name, shape] : f.puts) {
        auto it = a.out.find(name);
        if (it == a.out.end() || !it->second.defined()) return failed(fmt::format("{} does not put '{}'", f.name, name));
        if (it->second.sizes() != at::IntArrayRef(shape))
          return failed(fmt::format("{} puts '{}' of shape [{}], [{}] is wanted", f.name, name, fmt::join(it->second.sizes(), ","), fmt::join(shape, ",")));
        if (!at::isfinite(it->second).all().item<bool>()) return failed(fmt::format("{} puts a '{}' that is not finite", f.name, name));
      }
    }
  return set->subjects.empty() ? skipped(set->left_out) : passed(set->left_out);
}

// A name with something after it is another name. Who compares beginnings takes a later interface's names for its own.
constexpr const char* garbage = "~";

std::string takes_other_names(const Callable& f) {
  if (!f.by_name) return "";
  for (const auto& [name, tensor] : f.in) {
    Tensors without = f.in;
    without.erase(name);
    Tensors renamed = without;
    renamed[name + garbage] = tensor;
    if (f.call(without).code && !f.call(renamed).code) return fmt::format("{} takes a tensor '{}{}' for '{}'", f.name, name, garbage, name);
  }
  return "";
}

std::string builds_other_names(const Component& c, const CheckContext& context) {
  Result<Json> options = default_options(c);
  if (!options) return "";
  Model model(c, open_model_folder(context.model).take(), *options);
  for (const auto& [part, about] : model.about().at("parts").items()) try {
      model.build(part + garbage);
      return fmt::format("model '{}' builds a part '{}{}', which it does not have", c.id, part, garbage);
    } catch (const Failure&) {  // as it must be
    }
  return "";
}

Outcome names(const CheckContext& context) {
  Result<LoadedPlugin> plugin = load_subject(context);
  if (!plugin) return skipped("it does not load");
  Result<SubjectSet> set = make_subjects(context);
  if (!set) return skipped("its components cannot be made");
  for (const Component& c : plugin->components) {
    if (c.kind != "model" || context.model.empty()) continue;
    if (std::string problem = builds_other_names(c, context); !problem.empty()) return failed(problem);
  }
  for (const Subject& s : set->subjects)
    for (const Callable& f : s.calls)
      if (std::string problem = takes_other_names(f); !problem.empty()) return failed(problem);
  return passed(set->left_out);
}

}  // namespace

const std::vector<Check>& descriptor_checks() {
  static const std::vector<Check> checks{
      {"descriptor", "complete", "D1", "names, version and licence are there, ids are unique, no required function is missing", complete},
      {"descriptor", "starts", "D2", "starts, twice too; every op it names exists", starts},
      {"descriptor", "schema", "D3", "says its options in sound schemas", schema},
      {"descriptor", "defaults", "D4", "accepts its own defaults", defaults},
      {"descriptor", "describe", "D5", "describes its components with the keys of NAMES.md", describes},
      {"descriptor", "answers", "D6", "puts what NAMES.md says, in that shape, finite", answers},
      {"descriptor", "names", "D7", "takes a name with something after it for none of its own", names},
  };
  return checks;
}

}  // namespace t2i
