// Tar shards as WebDataset has them: members whose path is the same up to the first dot of its last part are one row. What
// lies where is read once, when the data is opened; a picture is then read from its place, in any order.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <unordered_map>

#include "core/data/rows.h"
#include "core/data/tar.h"
#include "core/data/text.h"

namespace t2i {
namespace {

struct Place {
  size_t shard = 0;
  uint64_t offset = 0, bytes = 0;
};

class ShardPictures : public Pictures {
  std::string root_;
  std::vector<Fd> shards_;
  std::unordered_map<std::string, Place> places_;  // by the shard's path, "/" and the member's

  Result<PictureBytes> read_at(const Place& place, uint64_t bytes, const std::string& where, const std::string& subject) const {
    PictureBytes out(static_cast<size_t>(bytes));
    for (size_t have = 0; have < out.size();) {
      const ssize_t got = ::pread(shards_[place.shard].get(), out.data() + have, out.size() - have, static_cast<off_t>(place.offset + have));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return Error{where, subject + " cannot be read: " + std::strerror(errno), "", "check the disk", "E3010", Exit::io};
      if (got == 0) return Error{where, subject + " is not there any more: its tar was shortened", "", "fetch it again", "E3010", Exit::bad_data};
      have += static_cast<size_t>(got);
    }
    return out;
  }
  Result<Place> find(const std::string& name, const std::string& where, const std::string& subject) const {
    auto place = places_.find(name);
    if (place != places_.end()) return place->second;
    return Error{where, subject + " is not there", "", "check the path", "E3008", Exit::missing};
  }

 public:
  explicit ShardPictures(std::string root) : root_(std::move(root)) {}
  size_t add_shard(Fd fd) { return shards_.push_back(std::move(fd)), shards_.size() - 1; }
  void add(const std::string& name, const Place& place) { places_.emplace(name, place); }
  std::string text(const Place& place) const {
    auto bytes = read_at(place, place.bytes, "", "");
    return bytes ? std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size()) : std::string();
  }

  Result<uint64_t> bytes_of(const std::string& name, const std::string& where, const std::string& subject) const override {
    auto place = find(name, where, subject);
    if (!place) return place.error();
    return place->bytes;
  }
  Result<PictureBytes> read(const std::string& name, uint64_t max_bytes, const std::string& where, const std::string& subject) const override {
    auto place = find(name, where, subject);
    if (!place) return place.error();
    if (place->bytes > max_bytes)
      return Error{where, subject + " has " + std::to_string(place->bytes) + " bytes, more than the " + std::to_string(max_bytes) + " that are read", "",
                   "use a smaller file", "E3007", Exit::bad_data};
    return read_at(*place, place->bytes, where, subject);
  }
  Result<PictureBytes> begin(const std::string& name, uint64_t bytes, const std::string& where, const std::string& subject) const override {
    auto place = find(name, where, subject);
    if (!place) return place.error();
    return read_at(*place, std::min(bytes, place->bytes), where, subject);
  }
  std::string shown(const std::string& name) const override { return root_ == "." ? name : root_ + "/" + name; }
  std::string own_name(const std::string& name) const override {  // without the shard's
    const size_t shard = name.find(".tar/");
    return shard == name.npos ? name : name.substr(shard + 5);
  }
};

// One row's members so far: what is behind the key's dot → where it lies.
struct Sample {
  std::string key;
  std::map<std::string, Place> parts;
};

// "a/17.before.png" → "a/17" and "before.png"; no key for what is not a part of a row.
std::pair<std::string, std::string> key_of(const std::string& member) {
  const size_t name = member.rfind('/') == member.npos ? 0 : member.rfind('/') + 1, dot = member.find('.', name);
  const bool hidden = dot == name || member.find("__MACOSX/") != member.npos;
  if (dot == member.npos || hidden) return {};
  return {member.substr(0, dot), member.substr(dot + 1)};
}

class ShardReader {
  DatasetReading& reading_;
  RowReader& rows_;
  std::shared_ptr<ShardPictures> pictures_;
  std::string path_;  // of the shard
  std::vector<Sample> samples_;
  std::unordered_map<std::string, size_t> by_key_;

 public:
  ShardReader(DatasetReading& reading, RowReader& rows, std::shared_ptr<ShardPictures> pictures, const std::string& path)
      : reading_(reading), rows_(rows), pictures_(std::move(pictures)), path_(path) {}

  void read(OpenedFile file) {
    const uint64_t bytes = file.bytes;
    const int fd = file.fd.get();
    const size_t shard = pictures_->add_shard(std::move(file.fd));
    std::unordered_map<std::string, Place> members;
    auto wrong = walk_tar(fd, bytes, reading_.shown(path_), [&](const TarMember& member) {
      Place place{shard, member.offset, member.bytes};
      if (!member.link_to.empty())
        if (auto target = members.find(member.link_to); target != members.end()) place = target->second;
      members[member.name] = place;
      add(member.name, place);
      return !(reading_.guess && samples_.size() > 100);
    });
    if (wrong) reading_.problems.add("tar", *wrong);
    for (const Sample& sample : samples_)
      if (!rows_.enough()) row_of(sample);
  }

 private:
  void add(const std::string& name, const Place& place) {
    auto [key, ending] = key_of(name);
    if (key.empty()) return;
    for (char& c : ending)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    auto [at, fresh] = by_key_.emplace(key, samples_.size());
    if (fresh) samples_.push_back({key, {}});
    if (!samples_[at->second].parts.emplace(ending, place).second)
      return reading_.problems.add("twice", {reading_.shown(path_), "'" + name + "' is there twice", "", "leave one of them in the tar", "E2134",
                                             Exit::bad_data});
    pictures_->add(path_ + "/" + key + "." + ending, place);
  }

  // The row as named fields. A picture 17.png is "image", 17.X.png is "X"; a text 17.txt is "text", 17.X.txt is "X"; what
  // 17.json holds is as it is there. Besides, each part has its own ending as a name, for data.columns.
  void row_of(const Sample& sample) {
    const std::string where = reading_.shown(path_) + ": " + sample.key;
    Json fields = Json::object();
    auto set = [&](const std::string& name, Json value) {
      if (!fields.contains(name) || fields[name].is_null()) fields[name] = std::move(value);
    };
    for (const auto& [ending, place] : sample.parts) {
      const std::string stem = ending.find('.') == ending.npos ? "" : ending.substr(0, ending.rfind('.')), kind = extension_of("x." + ending);
      if (is_image_name("x." + ending)) {
        const std::string name = path_ + "/" + sample.key + "." + ending;
        set(stem.empty() ? "image" : stem, name);
        if (wanted(ending)) set(ending, name);
      } else if (kind == "txt" || kind == "caption" || wanted(ending)) {
        const std::string text = text_of(place, where, ending).value_or("");
        set(stem.empty() ? "text" : stem, text);
        if (wanted(ending)) set(ending, text);
      } else if (ending != "json") {
        set(ending, nullptr);  // named where a column is missing, and not read
      }
    }
    if (auto json = sample.parts.find("json"); json != sample.parts.end()) {
      JsonRules rules{max_json_line_bytes, max_json_depth, 1, "E3004", false};
      auto object = parse_json(pictures_->text(json->second), where + ".json", rules);
      if (!object) return rows_.bad(where, object.error());
      if (object->is_object())
        for (auto& [name, value] : object->items()) set(name, value);
    }
    rows_.read(fields, "", where);
  }

  bool wanted(const std::string& ending) const {
    return std::any_of(reading_.columns.begin(), reading_.columns.end(), [&](const ColumnSpec& c) { return c.in_data() == ending; });
  }

  std::optional<std::string> text_of(const Place& place, const std::string& where, const std::string& ending) {
    if (place.bytes > max_caption_bytes)
      return reading_.row_problem("caption", {where, "." + ending + " has " + std::to_string(place.bytes) + " bytes, too many for a caption", "",
                                              "use a shorter text", "E3007", Exit::bad_data}),
             std::nullopt;
    std::string text = pictures_->text(place);
    if (size_t bad = find_bad_utf8(text); bad != text.npos)
      return reading_.row_problem("utf8", {where, "." + ending + " is not UTF-8 at byte " + std::to_string(bad + 1), "", "save it as UTF-8", "E3012",
                                           Exit::bad_data}),
             std::nullopt;
    if (text.starts_with("\xef\xbb\xbf")) text.erase(0, 3);
    return text;
  }
};

}  // namespace

void read_shards(DatasetReading& reading, const std::vector<std::string>& paths, bool named) {
  auto pictures = std::make_shared<ShardPictures>(reading.dataset.root);
  reading.dataset.pictures = pictures;
  reading.dataset.layout = counted(paths.size(), "tar shard");
  RowReader rows(reading);
  for (const std::string& path : paths) {
    if (rows.enough()) break;
    const std::string shown = reading.shown(path);
    auto file = named ? open_file(reading.dataset.root + "/" + path, shown, "the file") : reading.folder.open(path, shown, "the file");
    if (!file) reading.problems.add("file", file.error());
    else ShardReader(reading, rows, pictures, path).read(file.take());
  }
  rows.finish();
}

}  // namespace t2i
