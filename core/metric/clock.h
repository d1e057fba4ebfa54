// Time, passed in so that tests can turn the hands. Durations come from the monotonic side only; the wall clock may
// jump, and is for showing to people.
#pragma once

namespace t2i {

struct Clock {
  virtual ~Clock() = default;
  virtual double seconds();       // since some moment, never going back
  virtual double wall_seconds();  // since 1970-01-01 UTC
};
Clock& real_clock();

}  // namespace t2i
