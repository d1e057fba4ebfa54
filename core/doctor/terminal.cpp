#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "core/doctor/doctor.h"

namespace t2i {

// t2i writes UTF-8 whatever the locale; what matters is whether the terminal reads it, and whether it can rewrite a line.
void check_terminal(const Machine& machine, Findings& findings) {
  std::string locale, from;
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"})
    if (locale.empty()) locale = machine.get(name), from = name;
  std::string lower = locale;
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const bool utf8 = lower.find("utf-8") != std::string::npos || lower.find("utf8") != std::string::npos;
  const bool plain = locale.empty() || lower == "c" || lower == "posix";
  if (!utf8 && !plain && machine.terminal)
    findings.push_back({"locale", Finding::warn, fmt::format("{} is {}: the terminal may show other signs than t2i writes", from, locale), "export LC_ALL=C.UTF-8"});
  else findings.push_back({"locale", Finding::ok, plain ? "none is set; t2i writes UTF-8" : locale, ""});
  const std::string term = machine.get("TERM");
  if (!machine.terminal) return;
  if (term.empty() || term == "dumb")
    findings.push_back({"terminal", Finding::warn, term.empty() ? "TERM is not set" : "TERM is dumb: it cannot rewrite the line that shows a run's progress", "export TERM=xterm-256color"});
  else findings.push_back({"terminal", Finding::ok, term, ""});
}

}  // namespace t2i
