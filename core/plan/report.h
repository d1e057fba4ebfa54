// A plan as a table for people and as JSON for programs.
#pragma once
#include <string>

#include "core/base/json.h"
#include "core/plan/data_plan.h"
#include "core/plan/memory_plan.h"

namespace t2i {

struct Plan {
  std::string model, task, loss;
  std::string device;  // "cpu" or "cuda"
  DataPlan data;
  int64_t resolution = 0;
  int64_t processes = 1, samples_a_step = 0, steps = 0;
  MemoryPlan memory;
  uint64_t memory_there = 0;
  std::string output;
  uint64_t disk_free = 0;  // where the output goes

  double steps_per_epoch() const { return static_cast<double>(data.rows) / static_cast<double>(samples_a_step); }
  // Parameters of the denoiser and of text encoders that are trained in full, and how many of them are trained.
  int64_t parameters() const;
  int64_t trained() const;
};

std::string plan_text(const Plan& plan);
Json plan_json(const Plan& plan);

}  // namespace t2i
