// Does something leave plain memory behind each time it is done?
#pragma once
#include <cstdint>
#include <functional>

namespace t2i {

// What `round` leaves on the heap, in bytes a round; 0 when nothing stays. `rounds` is how often it is called between
// two looks, of which there are three. For a process with one thread (run_in_child).
int64_t leaked_bytes(const std::function<void()>& round, int rounds);

}  // namespace t2i
