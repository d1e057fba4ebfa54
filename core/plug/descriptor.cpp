// Is the descriptor that a library hands out complete, and what its tag said? Asked before anything in it is used.
#include <algorithm>
#include <cstring>
#include <set>

#include "core/plug/library.h"

namespace t2i {
namespace {

// "org.example.huber", "pseudo_huber": what file names, YAML and terminals take without quoting.
bool well_formed(const char* id) {
  std::string_view text = id;
  return !text.empty() && text.size() <= 100 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
}

struct Required {
  const char* name;
  bool there;
};

std::vector<Required> required_functions(const std::string& kind, const void* impl) {
  if (kind == "model") {
    auto* m = static_cast<const t2i_model*>(impl);
    return {{"create", T2I_HAS(m, create)},
            {"destroy", T2I_HAS(m, destroy)},
            {"describe", T2I_HAS(m, describe)},
            {"build", T2I_HAS(m, build)},
            {"forward", T2I_HAS(m, forward)}};
  }
  if (kind == "task") {
    auto* t = static_cast<const t2i_task*>(impl);
    return {{"create", T2I_HAS(t, create)},  {"destroy", T2I_HAS(t, destroy)},   {"describe", T2I_HAS(t, describe)},
            {"apply", T2I_HAS(t, apply)},    {"branches", T2I_HAS(t, branches)}, {"branch", T2I_HAS(t, branch)},
            {"combine", T2I_HAS(t, combine)}};
  }
  if (kind == "dataset") {
    auto* d = static_cast<const t2i_dataset*>(impl);
    std::vector<Required> all = {{"open", T2I_HAS(d, open)}, {"close", T2I_HAS(d, close)}, {"describe", T2I_HAS(d, describe)}, {"read", T2I_HAS(d, read)}};
    if (T2I_HAS(d, create)) {
      all.push_back({"append", T2I_HAS(d, append)});
      all.push_back({"finish", T2I_HAS(d, finish)});
      all.push_back({"discard", T2I_HAS(d, discard)});
    }
    return all;
  }
  auto* l = static_cast<const t2i_loss*>(impl);
  return {{"create", T2I_HAS(l, create)}, {"destroy", T2I_HAS(l, destroy)}, {"describe", T2I_HAS(l, describe)},
          {"draw", T2I_HAS(l, draw)},     {"prepare", T2I_HAS(l, prepare)}, {"compute", T2I_HAS(l, compute)}};
}

void check_component(const t2i_component& c, std::set<std::string>& names, std::vector<std::string>& problems) {
  if (!T2I_HAS(&c, kind) || !T2I_HAS(&c, id) || !T2I_HAS(&c, doc) || !T2I_HAS(&c, config_schema) ||
      !T2I_HAS(&c, impl)) {
    problems.push_back("a component has no kind, id, doc, config_schema or impl");
    return;
  }
  std::string name = std::string(c.kind) + " '" + c.id + "'";
  if (!well_formed(c.id)) problems.push_back(name + " has a name with other than letters, digits, '.', '_' and '-'");
  if (!names.insert(name).second) problems.push_back(name + " is offered twice");
  const std::set<std::string> kinds = {"model", "task", "loss", "dataset"};
  if (!kinds.contains(c.kind)) {
    problems.push_back(name + " is of a kind this core does not know (model, task, loss, dataset)");
    return;
  }
  if (std::strcmp(c.kind, "dataset") == 0 && !T2I_HAS(&c, opens)) problems.push_back(name + " does not say which files it opens");
  for (const Required& f : required_functions(c.kind, c.impl))
    if (!f.there) problems.push_back(name + " lacks the function " + f.name + "()");
  nlohmann::json schema = nlohmann::json::parse(c.config_schema, nullptr, false);
  if (!schema.is_object()) problems.push_back(name + " has a config_schema that is no JSON object");
}

}  // namespace

std::vector<std::string> descriptor_problems(const t2i_plugin& plugin, const PluginTag& tag) {
  const t2i_plugin* p = &plugin;
  if (plugin.size < offsetof(t2i_plugin, start) + sizeof plugin.start)
    return {"its descriptor has " + std::to_string(plugin.size) + " bytes, " +
            std::to_string(offsetof(t2i_plugin, start) + sizeof plugin.start) + " are the least"};
  std::vector<std::string> problems;
  if (plugin.abi_major != tag.abi_major || plugin.abi_minor != tag.abi_minor)
    problems.push_back("its descriptor says interface " + std::to_string(plugin.abi_major) + "." +
                       std::to_string(plugin.abi_minor) + ", its tag " + std::to_string(tag.abi_major) + "." +
                       std::to_string(tag.abi_minor));
  if (!T2I_HAS(p, id) || tag.id != plugin.id)
    problems.push_back("its descriptor says id '" + std::string(plugin.id ? plugin.id : "") + "', its tag '" + tag.id +
                       "'");
  else if (!well_formed(plugin.id)) problems.push_back("its id has other than letters, digits, '.', '_' and '-'");
  if (tag.torch != (plugin.needs_torch ? plugin.needs_torch : "any"))
    problems.push_back("its descriptor says LibTorch " + std::string(plugin.needs_torch ? plugin.needs_torch : "any") +
                       ", its tag " + tag.torch);
  if (!T2I_HAS(p, version) || !*plugin.version) problems.push_back("it names no version");
  if (!T2I_HAS(p, license) || !*plugin.license) problems.push_back("it names no licence");
  if (!T2I_HAS(p, start)) problems.push_back("it lacks the function start()");
  if (!T2I_HAS(p, components) || !*plugin.components) {
    problems.push_back("it offers no component");
    return problems;
  }
  std::set<std::string> names;
  for (auto c = plugin.components; *c; ++c) check_component(**c, names, problems);
  return problems;
}

}  // namespace t2i
