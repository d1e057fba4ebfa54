// A check that could go on for long (every call of a model made to fail in turn, a hundred steps of it) goes as far as
// a stated time allows, and says how far that was.
#pragma once
#include <fmt/format.h>

#include <chrono>
#include <string>

namespace t2i {

class Patience {
  using Clock = std::chrono::steady_clock;
  double seconds_;
  Clock::time_point start_ = Clock::now();

 public:
  explicit Patience(double seconds) : seconds_(seconds) {}
  bool over() const { return std::chrono::duration<double>(Clock::now() - start_).count() > seconds_; }
};

// "all 341 host calls", "1843 of 2210 host calls, what 20 seconds allow".
inline std::string reached(int64_t done, int64_t wanted, const std::string& what, double seconds) {
  return done >= wanted ? fmt::format("all {} {}", wanted, what)
                        : fmt::format("{} of {} {}, what {:g} seconds allow", done, wanted, what, seconds);
}

}  // namespace t2i
