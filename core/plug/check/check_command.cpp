#include "core/plug/check/check_command.h"

#include <fmt/format.h>

#include <cstdio>

#include "core/base/json.h"
#include "core/checkpoint/model_folder.h"
#include "core/plug/check/child.h"

namespace t2i {
namespace {

constexpr int check_seconds = 300;  // a check that has not answered by then hangs

struct Finding {
  const Check* check;
  Outcome outcome;
};

const char* status_text(const Outcome& o) {
  switch (o.status) {
    case Outcome::pass:
      return "pass";
    case Outcome::fail:
      return "fail";
    case Outcome::skip:
      break;
  }
  return "skip";
}

bool wanted(const Check& check, const std::string& only) {
  return only.empty() || only == check.group || only == check.rule ||
         only == fmt::format("{}/{}", check.group, check.name);
}

void print_line(const Finding& f) {
  const auto& [c, o] = f;
  std::string text = o.status == Outcome::fail ? fmt::format("must be so: {}. But {}", c->promise, o.text)
                     : o.text.empty()          ? c->promise
                                               : fmt::format("{} ({})", c->promise, o.text);
  fmt::print("{}  {:<3} {:<24} {}\n", status_text(o), c->rule, fmt::format("{}/{}", c->group, c->name),
             printable(text));
  std::fflush(stdout);
}

Json as_json(const Finding& f) {
  const auto& [c, o] = f;
  return {{"rule", c->rule},       {"group", c->group},        {"name", c->name},
          {"promise", c->promise}, {"status", status_text(o)}, {"text", o.text}};
}

}  // namespace

int check_command(const PluginsOptions& options) {
  CheckContext context{options.subject, options.model, static_cast<uint64_t>(options.seed)};
  std::error_code ec;
  if (!std::filesystem::is_regular_file(context.file, ec))
    fail({options.subject, "there is no such plugin library", "", "Check the path.", "E2052", Exit::missing});
  if (!context.model.empty()) open_model_folder(context.model).take();  // refused once, not by every check that opens it
  int counts[3] = {0, 0, 0};
  Json findings = Json::array();
  for (const auto* group : {&file_checks(), &descriptor_checks(), &error_checks(), &memory_checks(),
                            &determinism_checks(), &gradient_checks()})
    for (const Check& c : *group) {
      if (!wanted(c, options.only)) continue;
      auto body = [&] { return c.run(context); };
      Finding f{&c, options.in_process ? run_here(body) : run_in_child(body, check_seconds)};
      ++counts[f.outcome.status];
      options.json ? findings.push_back(as_json(f)) : print_line(f);
    }
  if (counts[0] + counts[1] + counts[2] == 0)
    fail({"--only", "no check is called '" + options.only + "'", "",
          "Give a group, group/name or rule as the list shows them.", "E2064", Exit::usage});
  if (options.json) {
    Json all{{"file", options.subject},         {"model", options.model},          {"seed", options.seed},
             {"passed", counts[Outcome::pass]}, {"failed", counts[Outcome::fail]}, {"skipped", counts[Outcome::skip]},
             {"checks", std::move(findings)}};
    fmt::print("{}\n", all.dump(2, ' ', false, Json::error_handler_t::replace));  // a plugin's texts may be no UTF-8
  } else {
    fmt::print("{} passed, {} failed, {} skipped  (seed {})\n", counts[Outcome::pass], counts[Outcome::fail],
               counts[Outcome::skip], options.seed);
  }
  return counts[Outcome::fail];
}

}  // namespace t2i
