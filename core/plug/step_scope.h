// What is true while a training step runs on this thread: no component may wait for the device.
#pragma once

namespace t2i {

bool in_step();
// Marks this thread as inside a step for its lifetime.
class StepScope {
  bool before_;

 public:
  StepScope();
  ~StepScope();
  StepScope(const StepScope&) = delete;
};

}  // namespace t2i
