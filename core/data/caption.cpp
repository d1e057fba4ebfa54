#include "core/data/caption.h"

#include <algorithm>

#include "core/base/hash.h"
#include "core/data/text.h"

namespace t2i {
namespace {

std::vector<std::string> tags_of(const std::string& text, const std::string& separator) {
  std::vector<std::string> tags;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(separator, at), text.size());
    if (const auto tag = trimmed(std::string_view(text).substr(at, end - at)); !tag.empty()) tags.emplace_back(tag);
    at = end + separator.size();
  }
  return tags;
}

// Fisher and Yates, from the end, with one number each.
std::string shuffled(const std::string& text, const CaptionRules& rules, const DrawKey& key) {
  std::vector<std::string> tags = tags_of(text, rules.separator);
  const size_t first = std::min(tags.size(), static_cast<size_t>(rules.keep));
  if (tags.size() < first + 2) return text;
  std::vector<float> units(tags.size());
  philox_uniform(key, units);
  for (size_t i = tags.size() - 1; i > first; --i) {
    const size_t choices = i - first + 1;
    std::swap(tags[i], tags[first + std::min(choices - 1, static_cast<size_t>(static_cast<double>(units[i]) * static_cast<double>(choices)))]);
  }
  std::string out;
  for (const std::string& tag : tags) out += (out.empty() ? "" : rules.separator + " ") + tag;
  return out;
}

std::string in_order(const std::string& text, const CaptionRules& rules, int64_t order) {
  if (order == 0) return text;
  return shuffled(text, rules, {std::stoull(xxh3_hex(as_bytes(text)).substr(0, 16), nullptr, 16), static_cast<uint64_t>(order), 0, stream_id("tags")});
}

}  // namespace

std::string drawn_caption(const std::vector<Caption>& captions, const CaptionRules& rules, const DrawKey& key) {
  size_t chosen = 0;
  if (captions.size() > 1) {
    double sum = 0;
    for (const Caption& c : captions) sum += c.weight;
    DrawKey draw = key;
    draw.stream = stream_id("caption");
    double at = static_cast<double>(philox_uniform(draw)) * sum;
    while (chosen + 1 < captions.size() && at >= captions[chosen].weight) at -= captions[chosen++].weight;
  }
  std::string text = captions[chosen].text;
  if (rules.shuffle) {
    DrawKey draw = key;
    draw.stream = stream_id("tags");
    if (rules.kept_orders == 0) text = shuffled(text, rules, draw);
    else
      text = in_order(text, rules, std::min(rules.kept_orders - 1, static_cast<int64_t>(static_cast<double>(philox_uniform(draw)) * static_cast<double>(rules.kept_orders))));
  }
  return rules.prefix + text + rules.suffix;
}

std::vector<std::string> all_captions(const std::vector<Caption>& captions, const CaptionRules& rules) {
  std::vector<std::string> all;
  for (const Caption& c : captions)
    for (int64_t order = 0; order < (rules.shuffle ? std::max<int64_t>(1, rules.kept_orders) : 1); ++order) {
      std::string text = rules.prefix + in_order(c.text, rules, order) + rules.suffix;
      if (!std::ranges::count(all, text)) all.push_back(std::move(text));
    }
  return all;
}

}  // namespace t2i
