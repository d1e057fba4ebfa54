// The same work for each of many, in threads, with a line that says how far it is.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

namespace t2i {

// Calls work(i) for 0 … count − 1, in no order, from as many threads as there are processors. `what` is the line's text. An
// exception out of work() ends the job and is thrown on.
void for_each_in_threads(const std::string& what, uint64_t count, const std::function<void(uint64_t)>& work);

}  // namespace t2i
