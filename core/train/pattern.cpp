#include "core/train/pattern.h"

namespace t2i {

static bool matches(std::string_view name, std::string_view pattern) {
  size_t n = 0, p = 0, star = pattern.npos, resume_at = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++, resume_at = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p, ++n;
    } else if (star != pattern.npos) {  // let the last star take one letter more
      p = star + 1, n = ++resume_at;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool matches_any(const std::string& name, const std::vector<std::string>& patterns) {
  for (const std::string& p : patterns)
    if (matches(name, p)) return true;
  return patterns.empty();
}

std::vector<std::string> expand_groups(const std::vector<std::string>& asked, const Json& about) {
  const Json groups = about.value("parameter_groups", Json::object());
  std::vector<std::string> patterns;
  for (const std::string& one : asked) {
    if (!groups.contains(one)) patterns.push_back(one);
    else
      for (const Json& pattern : groups[one]) patterns.push_back(pattern);
  }
  return patterns;
}

std::vector<const Parameter*> watched_parameters(const ParamStore& store, const Json& about) {
  std::vector<const Parameter*> watched;
  if (!about.contains("watched_gradients")) return watched;
  auto patterns = about["watched_gradients"].get<std::vector<std::string>>();
  for (const Parameter* p : store.trained_parameters())
    if (matches_any(p->name, patterns)) watched.push_back(p);
  return watched;
}

}  // namespace t2i
