// Runs a body in a child process, so that code which crashes, hangs or ends the process is a sentence and not the end.
#pragma once
#include <functional>
#include <string>

namespace t2i {

struct Forked {
  std::string text;  // what the body returned
  std::string died;  // "ended by signal 11 (Segmentation fault)", "gave no answer in 20 s"; empty when all went well
};

// Forks, so this process must not have started threads. What the child prints goes nowhere. A child that does not answer
// is killed; one that cannot even be killed, as a driver may hold it, is left behind.
Forked run_forked(const std::function<std::string()>& body, double timeout_seconds);

}  // namespace t2i
