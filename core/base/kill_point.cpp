#include "core/base/kill_point.h"

#include <signal.h>

#include <charconv>
#include <cstdlib>
#include <string>

namespace t2i {
namespace {

struct Armed {
  std::string name;
  long left = 0;
  void (*observer)(std::string_view) = nullptr;
};
Armed armed;
std::atomic<long> passes_left{0};

// Before main, so that no thread can race the first pass.
[[maybe_unused]] const bool from_environment = [] {
  if (const char* spec = std::getenv("T2I_KILL_POINT")) arm_kill_point(spec);
  return true;
}();

}  // namespace

constinit std::atomic<bool> kill_points_armed{false};

void kill_point_passed(std::string_view name) {
  if (armed.observer) return armed.observer(name);
  if (name == armed.name && passes_left.fetch_sub(1) == 1) raise(SIGKILL);
}

void arm_kill_point(std::string_view spec, void (*observer)(std::string_view)) {
  size_t colon = spec.rfind(':');
  long n = 1;
  if (colon != spec.npos) std::from_chars(spec.data() + colon + 1, spec.data() + spec.size(), n);
  armed = {std::string(spec.substr(0, colon)), n, observer};
  passes_left = n;
  kill_points_armed = !spec.empty() || observer;
}

}  // namespace t2i
