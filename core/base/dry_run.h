// A dry run: everything is allocated as in earnest and nothing is computed, so that it can be told how much memory a run
// will take before it takes any. Loops over numbers ask whether they are in one, and leave their work out.
#pragma once

namespace t2i {

enum class DryRunOf { nothing, cpu, gpu };  // nothing: this is in earnest

// Of this thread. Backward passes of a CPU run on the thread that asked for them.
DryRunOf dry_run_of();
inline bool in_dry_run() { return dry_run_of() != DryRunOf::nothing; }
// Tensors then lie in host memory all the same; what is done on CPUs alone must not be done.
inline bool in_dry_run_of_gpu() { return dry_run_of() == DryRunOf::gpu; }

class DryRunMark {
  DryRunOf before_;

 public:
  explicit DryRunMark(DryRunOf kind);
  ~DryRunMark();
  DryRunMark(const DryRunMark&) = delete;
};

}  // namespace t2i
