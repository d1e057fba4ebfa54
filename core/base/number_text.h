// Numbers as messages show them.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

namespace t2i {

std::string grouped(uint64_t n);     // 9949328904 → "9,949,328,904"
std::string bytes_text(uint64_t n);  // 134 → "134 bytes", 13400000000 → "13.4 GB" (powers of 1000, as disks are sold)

// "12GB", "900 MB", "16GiB" → bytes; a number alone is bytes. Nothing for anything else.
std::optional<uint64_t> bytes_from_text(const std::string& text);

}  // namespace t2i
