#include "bench/step/op_times.h"

#include <ATen/record_function.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace t2i {
namespace {

struct OpTime {
  double self_seconds = 0;
  int64_t calls = 0;
};
std::mutex guard;
std::map<std::string, OpTime> times;
thread_local std::vector<double> in_children;  // of each operator that is running on this thread, outermost first

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Running : at::ObserverContext {
  double began = now_seconds();
};

std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction&) {
  in_children.push_back(0);
  return std::make_unique<Running>();
}

void end(const at::RecordFunction& f, at::ObserverContext* context) {
  double whole = now_seconds() - static_cast<Running*>(context)->began;
  double self = whole - in_children.back();
  in_children.pop_back();
  if (!in_children.empty()) in_children.back() += whole;
  std::lock_guard lock(guard);
  OpTime& time = times[f.name()];
  time.self_seconds += self;
  ++time.calls;
}

}  // namespace

void start_op_times() {
  at::addGlobalCallback(
      at::RecordFunctionCallback(begin, end).scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
}

std::string op_times() {
  std::vector<std::pair<std::string, OpTime>> sorted(times.begin(), times.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.second.self_seconds > b.second.self_seconds; });
  double total = 0;
  for (const auto& [name, time] : sorted) total += time.self_seconds;
  std::string text = fmt::format("{:<56}{:>8}{:>12}{:>8}\n", "operator", "calls", "self, ms", "share");
  for (const auto& [name, time] : sorted)
    text += fmt::format("{:<56}{:>8}{:>12.3f}{:>7.1f}%\n", name.substr(0, 54), time.calls, 1e3 * time.self_seconds,
                        100 * time.self_seconds / total);
  return text + fmt::format("{:<56}{:>8}{:>12.3f}\n", "all", "", 1e3 * total);
}

}  // namespace t2i
