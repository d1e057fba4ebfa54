#include "core/cache/known_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace t2i {
namespace {

constexpr const char* prefix = "files-";
constexpr size_t many_files = 8;
constexpr int64_t just_now_ns = 2'000'000'000;

int64_t ns_of(const timespec& t) { return t.tv_sec * 1'000'000'000 + t.tv_nsec; }

std::vector<Path> files_in(const Path& folder) {
  std::vector<Path> files;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    if (at->path().filename().string().starts_with(prefix) && at->path().extension() == ".txt") files.push_back(at->path());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

std::string file_identity(int fd) {
  struct stat s {};
  timespec now{};
  if (::fstat(fd, &s) < 0 || ::clock_gettime(CLOCK_REALTIME, &now) < 0) return "";
  const int64_t contents = ns_of(s.st_mtim), inode = ns_of(s.st_ctim);
  if (std::max(contents, inode) > ns_of(now) - just_now_ns) return "";
  return fmt::format("{}:{}:{}:{}:{}", s.st_dev, s.st_ino, s.st_size, contents, inode);
}

std::string file_identity(const Path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return "";
  std::string identity = file_identity(fd);
  ::close(fd);
  return identity;
}

KnownFiles::KnownFiles(Path folder) : folder_(std::move(folder)) {
  for (const Path& file : files_in(folder_)) {
    auto text = read_file(file, uint64_t{16} << 30);
    if (!text) continue;
    ++files_;
    for (size_t at = 0; at < text->size();) {
      const size_t end = text->find('\n', at), tab = text->find('\t', at);
      if (end == text->npos) break;
      if (tab < end) known_[text->substr(at, tab - at)] = text->substr(tab + 1, end - tab - 1);
      at = end + 1;
    }
  }
}

std::optional<std::string> KnownFiles::find(const std::string& identity) const {
  std::lock_guard lock(mutex_);
  auto found = known_.find(identity);
  return identity.empty() || found == known_.end() ? std::nullopt : std::optional(found->second);
}

void KnownFiles::remember(const std::string& identity, const std::string& what) {
  if (identity.empty()) return;
  std::lock_guard lock(mutex_);
  known_[identity] = what, new_[identity] = what;
}

void KnownFiles::forget_all() {
  std::lock_guard lock(mutex_);
  known_.clear();
}

void KnownFiles::save() {
  std::lock_guard lock(mutex_);
  if (new_.empty()) return;
  const bool all = files_ >= many_files;
  const std::vector<Path> before = all ? files_in(folder_) : std::vector<Path>();
  std::string text;
  for (const auto& [identity, what] : all ? known_ : new_) text += identity + "\t" + what + "\n";
  write_file(folder_ / (prefix + random_hex(16) + ".txt"), as_bytes(text));
  for (const Path& path : before) real_file_system().remove_file(path);
  files_ = all ? 1 : files_ + 1;
  new_.clear();
}

}  // namespace t2i
