#include "core/base/launcher_report.h"

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

namespace t2i {

void report_to_launcher(const std::string& message) {
  const char* path = std::getenv("TORCHELASTIC_ERROR_FILE");
  if (!path || !*path) return;
  auto now =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  // torchrun prints the call stack where there is one; ours is the message, which is what a person needs.
  nlohmann::json extra = {{"py_callstack", message}, {"timestamp", std::to_string(now)}};
  nlohmann::json file = {{"message", {{"message", message}, {"extraInfo", extra}}}};
  // Best effort: the message has been printed already, and a full disk must not change the exit code.
  std::ofstream(path) << file.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace t2i
