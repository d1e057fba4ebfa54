// The learning rate over a run: a multiplier of the highest rate, per optimizer step. Operation for operation what
// diffusers.optimization.get_scheduler computes, so that the doubles are equal.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace t2i {

struct LrSchedule {
  std::string name = "constant";  // one of lr_schedule_names()
  int64_t warmup_steps = 0;       // climbing from 0; "constant" has none
  int64_t total_steps = 1;        // of the run, warm-up included
  int64_t cycles = 1;             // of "cosine_with_restarts"
  double power = 1.0;             // of "polynomial"
  double learning_rate = 1e-4;    // "polynomial" ends at a rate of 1e-7, so its multiplier depends on where it begins
};

const std::vector<std::string>& lr_schedule_names();

// Multiplier for the step-th update, counted from 0. An unknown name is a defect of the caller (E4301).
double lr_multiplier(const LrSchedule& schedule, int64_t step);

}  // namespace t2i
