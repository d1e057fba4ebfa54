#include "core/base/launcher_report.h"

#include <chrono>
#include <cstdlib>
#include <fstream>

#include "core/base/json.h"

namespace t2i {

void report_to_launcher(const std::string& message) {
  const char* path = std::getenv("TORCHELASTIC_ERROR_FILE");
  if (!path || !*path) return;
  auto now =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  // torchrun prints the call stack where there is one; ours is the message, which is what a person needs.
  Json extra = {{"py_callstack", message}, {"timestamp", std::to_string(now)}};
  Json file = {{"message", {{"message", message}, {"extraInfo", extra}}}};
  // Best effort: the message has been printed already, and a full disk must not change the exit code.
  std::ofstream(path) << file.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace t2i
