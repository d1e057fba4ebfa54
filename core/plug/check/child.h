// Runs a check in a process of its own, so that a plugin that crashes, hangs or exits is a result and not the end.
#pragma once
#include <functional>

#include "core/plug/check/outcome.h"

namespace t2i {

// Forks; must be called before this process has started threads (the first parallel op, the first backward). What the
// body returns comes back; a signal, an exit, an exception or `timeout_seconds` without an answer is a failure.
// Failure E2066 where no process can be made.
Outcome run_in_child(const std::function<Outcome()>& body, int timeout_seconds);

// In this process, for a debugger: a crash or an exit ends the program, and one check sees what the others left.
Outcome run_here(const std::function<Outcome()>& body);

}  // namespace t2i
