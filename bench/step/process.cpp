#include "bench/step/process.h"

#include <time.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

namespace t2i {

static double read_clock(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double processor_seconds() { return read_clock(CLOCK_PROCESS_CPUTIME_ID); }

double seconds_since_start() {
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  // proc(5): field 22 is the start, in ticks since boot. Field 2, the name in parentheses, may hold spaces.
  std::istringstream rest(line.substr(line.rfind(')') + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) rest >> skipped;
  int64_t ticks = 0;
  rest >> ticks;
  return read_clock(CLOCK_BOOTTIME) - static_cast<double>(ticks) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

int64_t peak_memory_bytes() {
  std::ifstream file("/proc/self/status");
  for (std::string word; file >> word;)
    if (int64_t kib = 0; word == "VmHWM:" && file >> kib) return kib * 1024;
  return 0;
}

}  // namespace t2i
