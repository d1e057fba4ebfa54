// Numbers between -1 and 1 as eight bits with a dynamic exponent (Dettmers 2015, arXiv:1511.04561), as bitsandbytes has
// them: of the scales of packed weights (nf4.h), and of an optimizer's moments (adam8.h). A code is looked up by its number's
// place among 65,536 between -1 and 1, not searched for: at a border between two codes that makes a difference.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

namespace t2i {

using CodeValues = std::array<float, 256>;

// What the codes stand for, ascending. The signed ones: -0.993 to 1.
const CodeValues& dynamic_values();
// Without a sign, its bit is one more of the fraction: 0 to 1.
const CodeValues& dynamic_unsigned_values();

constexpr int32_t code_places = 65'536;
// The code for each place.
const std::vector<uint8_t>& dynamic_codes();
const std::vector<uint8_t>& dynamic_unsigned_codes();

}  // namespace t2i
