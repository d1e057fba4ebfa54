// Where a step's time goes, by operator: what torch.profiler gives the twin.
#pragma once
#include <string>

namespace t2i {

void start_op_times();   // from here on every operator of every thread is timed
std::string op_times();  // the table: time spent in each operator but not in those it calls, most first
}  // namespace t2i
