// Ranks that differ in what they train would average gradients of different things without a sign of it; so the
// values that must agree are compared as text before the first collective.
#include <map>
#include <nlohmann/json.hpp>

#include "core/dist/group.h"

namespace t2i {
namespace {

// {0, 1, 2, 5} → "ranks 0–2, 5"
std::string ranks_text(const std::vector<int>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < ranks.size();) {
    size_t last = i;
    while (last + 1 < ranks.size() && ranks[last + 1] == ranks[last] + 1) ++last;
    if (i) text += ", ";
    text += std::to_string(ranks[i]);
    if (last > i) text += (last == i + 1 ? ", " : "–") + std::to_string(ranks[last]);
    i = last + 1;
  }
  return text;
}

}  // namespace

void require_equal(Group& group, const std::vector<std::pair<std::string, std::string>>& named_values) {
  if (group.world() == 1) return;
  auto texts =
      group.gather_text(nlohmann::json(named_values).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
                        "settings that all ranks share");
  // name → value → ranks that have it; names in order of first appearance
  std::vector<std::string> names;
  std::map<std::string, std::map<std::string, std::vector<int>>> held;
  std::vector<std::map<std::string, std::string>> by_rank(texts.size());
  for (size_t rank = 0; rank < texts.size(); ++rank) {
    for (auto& pair : nlohmann::json::parse(texts[rank])) {
      std::string name = pair[0];
      by_rank[rank][name] = pair[1];
      if (held.try_emplace(name).second) names.push_back(name);
    }
  }
  std::vector<Error> problems;
  for (const std::string& name : names) {
    auto& values = held[name];
    for (size_t rank = 0; rank < by_rank.size(); ++rank) {
      auto it = by_rank[rank].find(name);
      values[it == by_rank[rank].end() ? "(not there)" : "'" + printable(it->second) + "'"].push_back(
          static_cast<int>(rank));
    }
    if (values.size() == 1) continue;
    std::string what = name + " differs between processes";
    for (const auto& [value, ranks] : values) what += (ranks.empty() ? "" : "; " + ranks_text(ranks) + ": " + value);
    problems.push_back({"distributed", what, "their gradients would be averaged although they train different things",
                        "start every process from the same configuration, data and build", "E5003", Exit::peer_failed});
  }
  if (!problems.empty()) throw Failure(std::move(problems));
}

}  // namespace t2i
