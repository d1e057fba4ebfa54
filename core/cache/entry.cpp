#include "core/cache/entry.h"

#include "core/base/hash.h"

namespace t2i {
namespace {

constexpr size_t sum_digits = 16;
std::string sum_of(std::string_view text) { return xxh3_hex(as_bytes(text)).substr(0, sum_digits); }

}  // namespace

std::string to_line(const CacheEntry& e) {
  nlohmann::ordered_json json = {{"key", e.key}, {"kind", e.kind}, {"source", e.source}};
  if (e.kind == "text") json["text"] = e.text;
  json["encoder"] = e.encoder;
  if (!e.about.is_null()) json["about"] = e.about;
  json["made"] = e.made, json["offset"] = e.offset, json["bytes"] = e.bytes, json["hash"] = e.hash;
  // File names may be any bytes; what is replaced is for people alone.
  const std::string text = json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  return text + "\t" + sum_of(text) + "\n";
}

std::optional<CacheEntry> entry_of_line(std::string_view line) {
  if (line.size() <= sum_digits + 1 || line[line.size() - sum_digits - 1] != '\t') return std::nullopt;
  const std::string_view text = line.substr(0, line.size() - sum_digits - 1);
  if (line.substr(line.size() - sum_digits) != sum_of(text)) return std::nullopt;
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  CacheEntry e;
  try {
    e.key = json.at("key"), e.kind = json.at("kind"), e.source = json.at("source");
    e.text = json.value("text", ""), e.encoder = json.at("encoder"), e.about = json.value("about", Json());
    e.made = json.at("made"), e.offset = json.at("offset"), e.bytes = json.at("bytes"), e.hash = json.at("hash");
  } catch (const Json::exception&) {
    return std::nullopt;
  }
  return e;
}

}  // namespace t2i
