#include "core/base/number_text.h"

#include <charconv>
#include <cmath>
#include <cstdio>

namespace t2i {

std::string grouped(uint64_t n) {
  std::string digits = std::to_string(n), out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string bytes_text(uint64_t n) {
  if (n < 1000) return std::to_string(n) + " bytes";
  const char* units[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(n) / 1000;
  size_t unit = 0;
  while (value >= 999.95 && unit < 5) value /= 1000, ++unit;
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %s", value, units[unit]);
  return text;
}

std::optional<uint64_t> bytes_from_text(const std::string& text) {
  const size_t digits = text.find_first_not_of("0123456789.");
  const std::string number = text.substr(0, digits);
  std::string unit = digits == text.npos ? "" : text.substr(digits);
  while (!unit.empty() && unit.front() == ' ') unit.erase(0, 1);
  double value = 0;
  auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc() || end != number.data() + number.size()) return std::nullopt;
  double scale = unit.empty() || unit == "B" ? 1 : 0;
  const bool binary = unit.size() == 3 && unit[1] == 'i' && unit[2] == 'B';
  if (binary || (unit.size() == 2 && unit[1] == 'B') || unit.size() == 1) {
    const size_t power = std::string("KMGT").find(unit[0] == 'k' ? 'K' : unit[0]);
    if (power != std::string::npos) scale = std::pow(binary ? 1024.0 : 1000.0, static_cast<double>(power + 1));
  }
  if (scale == 0 || value * scale > 1e18) return std::nullopt;
  return static_cast<uint64_t>(std::llround(value * scale));
}

}  // namespace t2i
