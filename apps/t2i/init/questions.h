// What `t2i init` asks on a terminal: a few short questions, each with a default that Enter takes.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "apps/t2i/init/presets.h"
#include "core/config/config.h"
#include "core/plug/catalog.h"

namespace t2i {

// The user's side. `ask` prints a question and gives the line that was answered, nothing at the end of input.
struct Talk {
  std::function<void(const std::string&)> say;
  std::function<std::optional<std::string>(const std::string&)> ask;
};

struct Answers {
  std::optional<Preset> preset;
  std::vector<Setting> settings;
  std::string file;
};

// An answer that its key does not take is asked for again. `given`: what the command line said already; that is not asked.
// `file`: where --file said, else it is asked for. Failure E8044 where the input ends before the last answer.
Answers ask_questions(const Talk& talk, const Catalog& catalog, const std::vector<Preset>& presets, const std::vector<Setting>& given,
                      const std::string& file);

}  // namespace t2i
