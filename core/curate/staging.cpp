#include "core/curate/staging.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace t2i {
namespace {

Error is_there(const Path& path) {
  return {path.string(), "is there already", "Nothing is overwritten", "give another name, or remove it", "E2140", Exit::usage};
}

}  // namespace

Staging::Staging(const Path& final, FileSystem& disk) : disk_(disk), final_(final.lexically_normal()) {
  std::error_code error;
  if (std::filesystem::exists(std::filesystem::symlink_status(final_, error))) fail(is_there(final_));
  const Path parent = final_.has_parent_path() ? final_.parent_path() : Path(".");
  make_folders(parent, disk_);
  folder_ = parent / ("." + final_.filename().string() + ".converting");
  for (int attempt = 0; attempt < 3; ++attempt) {
    const int made = disk_.make_folder(folder_);
    if (made != 0 && made != -EEXIST) fail_write(disk_, folder_, "making", made);
    lock_ = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock_ < 0) continue;  // removed by whoever wrote it
    if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
      release();
      fail({final_.string(), "another process is writing it", "It works in " + folder_.string(), "wait for it, or give another name", "E2142", Exit::in_use});
    }
    if (made == 0) return;
    release();  // a killed process left it
    if (int wrong = remove_tree(disk_, folder_)) fail_write(disk_, folder_, "removing", wrong);
  }
  fail_write(disk_, folder_, "making", -EEXIST);
}

Staging::~Staging() {
  if (!committed_ && lock_ >= 0) remove_tree(disk_, folder_);
  release();
}

void Staging::release() {
  if (lock_ >= 0) ::close(lock_);
  lock_ = -1;
}

void Staging::make_folder_for(const std::string& path) {
  const std::string folder = path.find('/') == path.npos ? "" : path.substr(0, path.rfind('/'));
  if (folder.empty() || folder == made_) return;
  make_folders(folder_ / folder, disk_);
  made_ = folder;
}

void Staging::write(const std::string& path, Bytes bytes) {
  make_folder_for(path);
  StagedFile file(folder_ / path, disk_);
  file.write({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  file.close();
}

bool Staging::link(const std::string& path, const Path& from) {
  make_folder_for(path);
  const Path to = folder_ / path;
  if (::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), AT_SYMLINK_FOLLOW) == 0) return true;
  if (errno == EXDEV || errno == EPERM || errno == EMLINK || errno == EACCES || errno == EOPNOTSUPP) return false;
  fail_write(disk_, to, "linking", -errno);
}

void Staging::commit() {
  if (::syncfs(lock_) != 0) fail_write(disk_, folder_, "syncing", -errno);  // thousands of files at once, not one by one
  kill_point("convert-rename");
  const int renamed = disk_.rename_new(folder_, final_);
  if (renamed == -EEXIST) fail(is_there(final_));
  if (renamed != 0) fail_write(disk_, final_, "renaming", renamed);
  committed_ = true;
  sync_folder(disk_, final_.has_parent_path() ? final_.parent_path() : Path("."));
}

StagedFile::StagedFile(const Path& path, FileSystem& disk) : disk_(disk), path_(path) {
  fd_ = disk_.create(path_);
  if (fd_ < 0) fail_write(disk_, path_, "making", fd_);
}

StagedFile::~StagedFile() {
  if (fd_ >= 0) disk_.close(fd_);
}

void StagedFile::write(std::string_view text) {
  constexpr size_t at_once = size_t{1} << 20;
  bytes_ += text.size();
  if (pending_.size() + text.size() < at_once) return void(pending_ += text);
  flush();
  write_all(disk_, fd_, as_bytes(text), path_);
}

void StagedFile::flush() {
  if (!pending_.empty()) write_all(disk_, fd_, as_bytes(pending_), path_);
  pending_.clear();
}

void StagedFile::close() {
  flush();
  const int closed = disk_.close(std::exchange(fd_, -1));
  if (closed != 0) fail_write(disk_, path_, "closing", closed);
}

}  // namespace t2i
