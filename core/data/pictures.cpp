#include "core/data/pictures.h"

#include <unistd.h>

#include <algorithm>

#include "core/data/file.h"

namespace t2i {
namespace {

class FolderPictures : public Pictures {
  std::string root_;
  DataFolder folder_;

 public:
  FolderPictures(const std::string& root, bool allow_outside) : root_(root), folder_(root, allow_outside) {}

  Result<uint64_t> bytes_of(const std::string& name, const std::string& where, const std::string& subject) const override {
    auto file = folder_.open(name, where, subject);
    if (!file) return file.error();
    return file->bytes;
  }

  Result<PictureBytes> read(const std::string& name, uint64_t max_bytes, const std::string& where,
                            const std::string& subject) const override {
    auto file = folder_.open(name, where, subject);
    if (!file) return file.error();
    return read_all(file.take(), max_bytes, where, subject);
  }

  Result<PictureBytes> begin(const std::string& name, uint64_t bytes, const std::string& where,
                             const std::string& subject) const override {
    auto file = folder_.open(name, where, subject);
    if (!file) return file.error();
    PictureBytes first(static_cast<size_t>(std::min(bytes, file->bytes)));
    const ssize_t got = ::pread(file->fd.get(), first.data(), first.size(), 0);
    first.resize(got < 0 ? 0 : static_cast<size_t>(got));  // what cannot be read shows as no picture
    return first;
  }

  std::string shown(const std::string& name) const override {
    return name.starts_with('/') || root_ == "." ? name : root_ + "/" + name;
  }
  std::string file(const std::string& name) const override { return name.starts_with('/') ? name : root_ + "/" + name; }
};

}  // namespace

std::shared_ptr<const Pictures> pictures_in_folder(const std::string& root, bool allow_outside) {
  return std::make_shared<FolderPictures>(root, allow_outside);
}

Result<std::optional<PictureSize>> size_of_picture(const Pictures& pictures, const std::string& name, const std::string& where,
                                                   const std::string& subject, PictureBytes* first) {
  // 16 KiB are nearly always enough; a large colour profile or thumbnail before a JPEG's frame takes more.
  for (uint64_t wanted = uint64_t{1} << 14; wanted <= uint64_t{1} << 24; wanted *= 32) {
    auto begin = pictures.begin(name, wanted, where, subject);
    if (!begin) return begin.error();
    auto size = picture_size(*begin);
    const bool whole = begin->size() < wanted;
    if (first && wanted == uint64_t{1} << 14) *first = begin.take();
    if (size || whole) return size;
  }
  return std::optional<PictureSize>();
}

}  // namespace t2i
