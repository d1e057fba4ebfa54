// Named places where a test can kill the process as a power cut would: T2I_KILL_POINT=name:n in the environment raises
// SIGKILL at the n-th pass (counted from 1) of kill_point("name"). Unset, a pass costs one load of a flag.
#pragma once
#include <atomic>
#include <string_view>

namespace t2i {

// Called by kill_point for every pass while armed; public only because kill_point is inline.
void kill_point_passed(std::string_view name);
extern std::atomic<bool> kill_points_armed;

inline void kill_point(std::string_view name) {
  if (kill_points_armed.load(std::memory_order_relaxed)) kill_point_passed(name);
}

// What the environment variable does at start-up, for a forked test. "" disarms. With an observer, it is called with
// every name instead of killing, so that a test can learn which points a job passes.
void arm_kill_point(std::string_view spec, void (*observer)(std::string_view name) = nullptr);

}  // namespace t2i
