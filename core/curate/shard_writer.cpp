// webdataset: tar shards. A row is KEY.png and KEY.txt; where it has more columns, KEY.input_image.png and KEY.instruction.txt.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "core/curate/conversion.h"
#include "core/data/text.h"

namespace t2i {
namespace {

constexpr uint64_t bytes_of_a_shard = 1'000'000'000;
constexpr size_t block = 512;

// POSIX ustar. Owner, group and time are zero: the same data give the same shard.
std::array<char, block> header_of(const std::string& name, uint64_t bytes, char type) {
  std::array<char, block> header{};
  auto put = [&](size_t at, const std::string& text) { std::memcpy(header.data() + at, text.data(), text.size()); };
  put(0, name.substr(0, 100));
  put(100, "0000644"), put(108, "0000000"), put(116, "0000000");
  put(124, fmt::format("{:011o}", bytes)), put(136, "00000000000"), put(148, "        ");
  header[156] = type;
  put(257, std::string("ustar\0" "00", 8));
  unsigned sum = 0;
  for (char c : header) sum += static_cast<unsigned char>(c);
  put(148, fmt::format("{:06o}", sum) + '\0');
  return header;
}

// "27 path=a/long/name.png\n": its own length is counted too.
std::string pax_record(const std::string& key, const std::string& value) {
  const size_t rest = key.size() + value.size() + 3;
  size_t length = rest + 1;
  while (std::to_string(length).size() + rest != length) length = std::to_string(length).size() + rest;
  return fmt::format("{} {}={}\n", length, key, value);
}

class ShardWriter : public LayoutWriter {
  Conversion& job_;
  PictureNames names_;
  std::unique_ptr<StagedFile> shard_;
  uint64_t shards_ = 0, number_ = 0;
  bool plain_;  // one picture, and no text but one of that name

 public:
  explicit ShardWriter(Conversion& job) : job_(job), names_(job, PictureNames::For::tree) {
    plain_ = job.images().size() == 1 && job.images()[0].name == "image" && job.texts().size() <= 1 && (job.texts().empty() || job.texts()[0].name == "text");
  }

  void add(const Row& row) override {
    for (uint32_t time = 0; time < job_.times(row); ++time, ++number_) {
      if (!shard_ || shard_->bytes() > bytes_of_a_shard) next_shard();
      const std::string key = key_of(row);
      for (const ColumnSpec& column : job_.columns) {
        auto value = row.values.find(column.name);
        if (value == row.values.end()) continue;
        const std::string part = plain_ ? "." : "." + column.name + ".";
        if (!column.is_image) {
          member(key + part + "txt", value->second);
          continue;
        }
        const PictureBytes picture = job_.read(row, column.name);
        member(key + part + extension_of(names_.name(row, column, number_)), {reinterpret_cast<const char*>(picture.data()), picture.size()});
        ++job_.pictures, job_.picture_bytes += picture.size();
      }
    }
  }

  void finish() override {
    if (shard_) end_shard();
  }

 private:
  // A row's own name where pictures have one each, and no dot but that of its ending.
  std::string key_of(const Row& row) const {
    const ColumnSpec image = job_.images().front();
    if (!plain_ || !row.values.contains(image.name)) return fmt::format("{:09}", number_);
    const std::string name = names_.name(row, image, number_), stem = name.substr(0, name.rfind('.'));
    const std::string last = stem.substr(stem.rfind('/') + 1);
    return last.find('.') == last.npos ? stem : fmt::format("{:09}", number_);
  }

  void next_shard() {
    if (shard_) end_shard();
    shard_ = std::make_unique<StagedFile>(job_.staging.folder() / fmt::format("{:05}.tar", shards_++), real_file_system());
  }
  void end_shard() {
    shard_->write(std::string(2 * block, '\0'));
    shard_->close();
    shard_.reset();
  }
  void put(std::string_view bytes) {
    shard_->write(bytes);
    shard_->write(std::string((block - bytes.size() % block) % block, '\0'));
  }
  void member(const std::string& name, std::string_view bytes) {
    const bool plain = name.size() <= 100 && std::all_of(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
    if (!plain) {
      const std::string record = pax_record("path", name);
      const auto header = header_of("pax_header", record.size(), 'x');
      put({header.data(), header.size()}), put(record);
    }
    const auto header = header_of(plain ? name : "long_name", bytes.size(), '0');
    put({header.data(), header.size()}), put(bytes);
  }
};

}  // namespace

std::unique_ptr<LayoutWriter> shard_writer(Conversion& job) {
  if (job.images().empty()) fail_layout(job, "pictures");
  for (const ColumnSpec& column : job.columns)
    if (column.name.find_first_of("./") != column.name.npos) fail_layout(job, "columns whose names have no dot");
  return std::make_unique<ShardWriter>(job);
}

}  // namespace t2i
