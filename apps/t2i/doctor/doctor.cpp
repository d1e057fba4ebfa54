#include "core/doctor/doctor.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#include "apps/t2i/options.h"
#include "core/base/forked.h"
#include "core/base/version.h"

namespace t2i {
namespace {

constexpr double patience_seconds = 60;  // a driver that wakes up after a long time takes half of that

NvidiaFacts ask_driver() {
  Forked answer = run_forked([] { return to_text(ask_nvidia()); }, patience_seconds);
  if (answer.died.empty()) return nvidia_facts(answer.text);
  NvidiaFacts facts;
  return facts.problem = "asking it " + answer.died, facts;
}

EngineFacts ask_engine(const std::vector<std::string>& plugin_paths) {
  auto ask = [&]() -> std::string {
    nlohmann::json facts;
    DoctorOptions question{plugin_paths, &facts};
    try {
      call_engine("doctor", &question);
    } catch (const Failure& f) {
      facts["problem"] = fmt::format("{}: {}. {}", f.errors[0].where, f.errors[0].what, f.errors[0].why);
    }
    return facts.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  };
  Forked answer = run_forked(ask, patience_seconds);
  if (answer.died.empty()) return engine_facts(answer.text);
  EngineFacts facts;
  return facts.problem = "the engine was loaded in a process of its own, which " + answer.died, facts;
}

bool wants_colour() {
  const char *no = std::getenv("NO_COLOR"), *term = std::getenv("TERM");
  return !(no && *no) && term && std::string(term) != "dumb";
}

}  // namespace

int doctor_command(const Command& self, const std::vector<std::string>& arguments) {
  Options options(self);
  options.add("output", "DIR", "where runs are to be written: the disk to look at (the folder you are in)")
      .add("json", "", "print one JSON object instead of lines")
      .add_list("plugin-path", "PATH", "a plugin library, or a folder of them, besides the built-in ones");
  if (!options.parse(arguments, "\nThe exit code is 78 where a check failed, else 0, with warnings too.\n")) return 0;

  Machine machine = this_machine(options.text("output", "."));
  machine.catalog = read_catalog(options.texts("plugin-path"));
  if (machine.has("dev/nvidiactl") || machine.has("dev/dxg")) machine.nvidia = ask_driver();
  machine.engine = ask_engine(options.texts("plugin-path"));
  const Findings findings = examine(machine);

  size_t failed = 0, warned = 0;
  for (const Finding& f : findings) failed += f.state == Finding::fail, warned += f.state == Finding::warn;
  if (options.has("json")) {
    nlohmann::ordered_json out = to_json(findings);
    out["t2i"] = version;
    fmt::print("{}\n", out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    fmt::print("{}", to_text(findings, machine.terminal && wants_colour()));
    if (!failed) fmt::print("\n{}\n", warned ? fmt::format("no check failed; {} warned", warned) : "all is well");
  }
  std::fflush(stdout);
  if (failed)
    fail({"t2i doctor", fmt::format("{} of {} checks failed", failed, findings.size()), "", "see the lines that begin with fail", "E8050", Exit::config});
  return 0;
}

}  // namespace t2i
