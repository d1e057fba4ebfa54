// A host whose k-th call fails, to see whether a plugin hands the failure on instead of crashing, hiding or leaking.
#pragma once
#include <t2i/plugin.h>

#include <cstdint>

namespace t2i {

// The real host with its services wrapped; the same object each time.
const t2i_host* faulty_host();

// From now on the k-th call (1 is the next) of a service that can fail does so; 0: none does.
void fail_at_call(int64_t k);
// Calls since then.
int64_t calls_made();

// The nodes of the autograd graph that plugins asked for since forget_nodes(), by how often the core dropped them. A
// second drop is counted and not handed on: a plugin that frees twice itself is another matter, and crashes.
struct DropCount {
  int64_t nodes = 0, never = 0, again = 0;
};
void forget_nodes();
DropCount drop_count();

// The text that such a failure carries.
extern const char* const injected_text;

}  // namespace t2i
