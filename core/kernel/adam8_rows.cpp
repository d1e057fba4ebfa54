#include "core/kernel/adam8_rows.h"

#include "core/kernel/adam8_block.h"

namespace t2i::rows {

void adam8_update(const Adam8Numbers& numbers, const Adam8Lookup& lookup, const Adam8Job& job) { update_blocks(numbers, lookup, job); }

}  // namespace t2i::rows
