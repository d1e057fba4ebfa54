// A folder that is written beside its final name and appears there whole, or not at all.
#pragma once
#include <string>

#include "core/base/file.h"

namespace t2i {

class Staging {
 public:
  // Failure E2140 where `final` is there already, E2142 where another process is writing it. What a killed process left is
  // removed.
  explicit Staging(const Path& final, FileSystem& disk = real_file_system());
  ~Staging();  // removes what was not committed
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  const Path& folder() const { return folder_; }
  void write(const std::string& path, Bytes bytes);                           // a new file in it, with the folders to it
  bool link(const std::string& path, const Path& from);                       // false where the disk cannot
  void make_folder_for(const std::string& path);
  void commit();                                                              // all synced, then renamed; E2140 where somebody was first

 private:
  void release();
  FileSystem& disk_;
  Path final_, folder_;
  std::string made_;  // the folder that was made last, so that it is not made for each file
  int lock_ = -1;
  bool committed_ = false;
};

// A file in it that is written piece by piece.
class StagedFile {
 public:
  StagedFile(const Path& path, FileSystem& disk);
  ~StagedFile();
  StagedFile(const StagedFile&) = delete;
  void write(std::string_view text);
  void close();
  uint64_t bytes() const { return bytes_; }

 private:
  void flush();
  FileSystem& disk_;
  Path path_;
  int fd_ = -1;
  uint64_t bytes_ = 0;
  std::string pending_;
};

}  // namespace t2i
