// Makes LibTorch run dry (core/base/dry_run.h): tensors get addresses of an arena of their own, whose pages are never
// touched, and operations give tensors of the right shape and no contents. What is small is computed all the same, so
// that counts, positions and tables are right.
#pragma once
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <string>
#include <vector>

#include "core/base/dry_run.h"
#include "core/memory/arena.h"

namespace t2i {

class DryRun {
  DryRunMark mark_;
  c10::impl::IncludeDispatchKeyGuard guard_{c10::DispatchKey::Fake};  // below autograd, above every device

 public:
  explicit DryRun(DryRunOf kind) : mark_(kind) {}
};

// Where their tensors of 32 KB and more lie, once use_host_arena() was called.
Arena& dry_arena();

// Operations over much memory that have no shapes here and were computed in earnest: right, but slow. For tests.
std::vector<std::string> computed_in_dry_runs();

}  // namespace t2i
