#include "core/metric/clock.h"

#include <chrono>

namespace t2i {

double Clock::seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double Clock::wall_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Clock& real_clock() {
  static Clock clock;
  return clock;
}

}  // namespace t2i
