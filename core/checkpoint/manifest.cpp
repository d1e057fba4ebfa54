#include "core/checkpoint/manifest.h"

#include <algorithm>

#include "core/base/hash.h"
#include "core/base/number_text.h"

namespace t2i {
namespace {

using Ordered = nlohmann::ordered_json;  // keeps the order of writing: a manifest is read by people too

Error damaged(const std::string& where, const std::string& what) {
  return {where,
          what,
          "This checkpoint cannot be used",
          "an older one is taken; if this repeats, check the disk",
          "E4112",
          Exit::bad_data};
}

std::string tail_of(std::string_view text) { return ",\n \"seal\": \"" + xxh3_hex(as_bytes(text)) + "\"\n}\n"; }

}  // namespace

bool is_inner_name(const std::string& name) {
  for (const Path& part : Path(name)) {
    std::string s = part.string();
    if (s.empty() || s.front() == '.' || s.front() == '/') return false;
  }
  return !name.empty() && name.find_first_of(std::string_view("\\\0", 2)) == name.npos;
}

std::string manifest_text(const Manifest& manifest) {
  Ordered files = Ordered::array();
  for (const FileRecord& f : manifest.files) {
    Ordered file = {{"name", f.name}, {"bytes", f.bytes}, {"xxh3", f.xxh3}};
    if (!f.pieces.empty()) file["pieces"] = f.pieces;
    files.push_back(std::move(file));
  }
  Ordered json = {{"format", "t2i-checkpoint"},
                  {"version", 1},
                  {"step", manifest.step},
                  {"piece_bytes", piece_bytes},
                  {"files", std::move(files)}};
  json["state"] = Ordered::parse(manifest.state.dump());
  std::string text = json.dump(1);
  text.resize(text.size() - 2);  // without "\n}"
  return text + tail_of(text);
}

Result<Manifest> parse_manifest(std::string_view text, const std::string& where) {
  const size_t tail = tail_of("").size();
  if (text.size() < tail || text.substr(text.size() - tail) != tail_of(text.substr(0, text.size() - tail)))
    return damaged(where,
                   "its seal does not fit its text (" + grouped(text.size()) + " bytes): it is damaged, or was edited");
  // From here on the text is what t2i wrote; the checks are against another version's, not against damage.
  Result<Json> json = parse_json(text, where);
  if (!json) return json.error();
  try {
    if (json->at("format") != "t2i-checkpoint") return damaged(where, "is not the manifest of a checkpoint");
    if (int version = json->at("version").get<int>(); version != 1)
      return Error{where,   "has version " + std::to_string(version) + ", this program reads version 1",
                   "",      "use the t2i that wrote it, or a newer one",
                   "E4114", Exit::bad_data};
    Manifest manifest;
    manifest.step = json->at("step").get<int64_t>();
    manifest.state = json->at("state");
    for (const Json& f : json->at("files")) {
      FileRecord record{
          f.at("name").get<std::string>(), f.at("bytes").get<uint64_t>(), f.at("xxh3").get<std::string>(), {}};
      if (f.contains("pieces")) record.pieces = f.at("pieces").get<std::vector<std::string>>();
      if (!is_inner_name(record.name))
        return damaged(where, "lists a file outside of the checkpoint: '" + record.name + "'");
      if (!record.pieces.empty() && record.pieces.size() != (record.bytes + piece_bytes - 1) / piece_bytes)
        return damaged(where, "has the wrong number of hashes for '" + record.name + "'");
      manifest.files.push_back(std::move(record));
    }
    return manifest;
  } catch (const Json::exception& e) {
    return damaged(where, std::string("lacks a field or has one of another type: ") + e.what());
  }
}

Result<Manifest> read_manifest(const Path& folder, FileSystem& disk) {
  Path path = folder / "manifest.json";
  Result<std::string> text = read_file(path, uint64_t{64} << 20, disk);
  if (!text) return text.error();
  return parse_manifest(*text, path.string());
}

std::optional<Error> verify_file(const Path& folder, const FileRecord& wanted, FileSystem& disk) {
  Path path = folder / wanted.name;
  RecordHash hash;
  uint64_t bytes = 0;
  std::optional<Error> unread = stream_file(
      path, [&](Bytes piece) { hash.update(piece), bytes += piece.size(); }, disk);
  if (unread) return damaged(unread->where, unread->what);
  if (bytes != wanted.bytes)
    return damaged(path.string(), "has " + grouped(bytes) + " bytes, the manifest says " + grouped(wanted.bytes));
  FileRecord is = hash.record(wanted.name);
  if (wanted.pieces.empty() && is.xxh3 == wanted.xxh3) return std::nullopt;
  size_t first = 0;
  if (!wanted.pieces.empty()) {
    first = static_cast<size_t>(
        std::mismatch(is.pieces.begin(), is.pieces.end(), wanted.pieces.begin(), wanted.pieces.end()).first -
        is.pieces.begin());
    if (first == is.pieces.size() && is.xxh3 == wanted.xxh3) return std::nullopt;
    first = std::min(first, is.pieces.size() - 1);
  }
  uint64_t begin = first * piece_bytes, end = std::min(begin + piece_bytes, bytes);
  return damaged(path.string(), "bytes " + grouped(begin) + " to " + grouped(end) + " of " + grouped(bytes) +
                                    " are not what was written (hash)");
}

struct RecordHash::State {
  Xxh3 whole, piece;
  uint64_t bytes = 0;
  std::vector<std::string> pieces;
};
RecordHash::RecordHash() : state_(std::make_unique<State>()) {}
RecordHash::~RecordHash() = default;

void RecordHash::update(Bytes bytes) {
  state_->whole.update(bytes);
  while (!bytes.empty()) {
    Bytes now = bytes.first(std::min<uint64_t>(bytes.size(), piece_bytes - state_->bytes % piece_bytes));
    state_->piece.update(now);
    state_->bytes += now.size();
    bytes = bytes.subspan(now.size());
    if (state_->bytes % piece_bytes == 0) {
      state_->pieces.push_back(state_->piece.hex());
      state_->piece.reset();
    }
  }
}

FileRecord RecordHash::record(std::string name) {
  std::vector<std::string> pieces = state_->pieces;
  if (state_->bytes % piece_bytes) pieces.push_back(state_->piece.hex());
  if (pieces.size() < 2) pieces.clear();
  return {std::move(name), state_->bytes, state_->whole.hex(), std::move(pieces)};
}

}  // namespace t2i
