// Who wants to know how far a file of gigabytes is that is read or written. One observer for the process, because the code
// that moves bytes is far below the code that shows a line.
#pragma once
#include <cstdint>
#include <string>

namespace t2i {

struct FileProgress {
  virtual ~FileProgress() = default;
  // `done` of `total` bytes; equal when it ends. Called often, so it must cost nothing when it is not time to show.
  virtual void moved(const char* doing, const std::string& name, uint64_t done, uint64_t total) = 0;
};

// Null: nobody. [main thread]
inline FileProgress*& file_progress() {
  static FileProgress* observer = nullptr;
  return observer;
}

inline void tell_file_progress(const char* doing, const std::string& name, uint64_t done, uint64_t total) {
  if (FileProgress* observer = file_progress()) observer->moved(doing, name, done, total);
}

}  // namespace t2i
