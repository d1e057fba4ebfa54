// What the kernel knows about this process. The twin in Python reads the same two files.
#pragma once
#include <cstdint>

namespace t2i {

double seconds_since_start();  // since the process was made, before main() and before the dynamic linker; in 10 ms
double processor_seconds();    // used so far by all threads: what a busy machine changes least
int64_t peak_memory_bytes();   // VmHWM: the most that was resident

}  // namespace t2i
