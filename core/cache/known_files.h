// What files hold, remembered by what the system says of them: the hash of a picture's bytes with its size in pixels,
// the digest of a model's weights. As long as device, inode, size and the times of the last change of contents and of
// inode are the same, the file is not read again. A file changed less than two seconds before it was read is not
// remembered: a second change within the clock's grain would not show.
#pragma once
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "core/base/file.h"

namespace t2i {

// "2049:1311:48213:1763790000123456789:1763790000123456789"; empty where the file changed just now, or is not there.
std::string file_identity(int fd);
std::string file_identity(const Path& path);

class KnownFiles {
 public:
  // Reads what is remembered in the cache's folder; damaged lines are passed over. Any thread may ask and tell.
  explicit KnownFiles(Path folder);

  // Texts without tabs and ends of line; an empty `identity` is never known.
  std::optional<std::string> find(const std::string& identity) const;
  void remember(const std::string& identity, const std::string& what);
  void forget_all();

  // Writes what is new beside what is there, and all in one file where these have become many.
  void save();

 private:
  const Path folder_;
  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::string> known_, new_;
  size_t files_ = 0;
};

}  // namespace t2i
