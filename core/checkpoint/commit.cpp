#include "core/checkpoint/commit.h"

#include <errno.h>
#include <string.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "core/base/number_text.h"

namespace t2i {
namespace {

namespace stdfs = std::filesystem;

std::optional<int64_t> number_after(std::string_view name, std::string_view prefix) {
  int64_t n = 0;
  if (!name.starts_with(prefix) || name.size() == prefix.size() || name.size() > prefix.size() + 18)
    return std::nullopt;
  auto [end, error] = std::from_chars(name.data() + prefix.size(), name.data() + name.size(), n);
  return error == std::errc() && end == name.data() + name.size() && n >= 0 ? std::optional(n) : std::nullopt;
}

bool all_hex(std::string_view text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == text.npos;
}

std::vector<Path> entries_of(const Path& folder) {
  std::vector<Path> all;
  std::error_code error;
  for (stdfs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    all.push_back(at->path());
  std::sort(all.begin(), all.end());
  return all;
}

Path temporary_name(const Path& output, int64_t step) {
  return output / (".tmp-" + std::to_string(step) + "-" + random_hex(32));
}
Path aside_name(const Path& target) { return target.string() + ".replaced-" + random_hex(8); }

Error notice(const Path& where, const std::string& what, const std::string& todo) {
  return {where.string(), what, "", todo, "E4115", Exit::io};
}

// The first file below `folder` that the manifest does not list: somebody else's.
std::optional<std::string> foreign_in(const Path& folder, const Manifest& manifest) {
  std::set<std::string> ours{"manifest.json"};
  for (const FileRecord& f : manifest.files) ours.insert(f.name);
  std::error_code error;
  for (stdfs::recursive_directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::string name = at->path().lexically_relative(folder).string();
    if (!at->is_directory(error) || at->is_symlink(error)) {
      if (!ours.count(name)) return name;
    }
  }
  return std::nullopt;
}

// Removes a complete checkpoint that bears a temporary name already, the manifest last: interrupted, the rest is still
// known as a checkpoint's. One that somebody put files into is moved aside instead.
void retire(FileSystem& disk, const Path& temporary, const Manifest& manifest, std::vector<Error>& notices) {
  if (std::optional<std::string> foreign = foreign_in(temporary, manifest)) {
    Path aside = aside_name(temporary.parent_path() / ("checkpoint-" + std::to_string(manifest.step)));
    if (disk.rename(temporary, aside) == 0)
      notices.push_back(notice(aside, "was kept: '" + *foreign + "' in it was not written by t2i",
                               "remove the folder when you do not need it"));
    return;
  }
  int failed = 0;
  for (const FileRecord& f : manifest.files) {
    kill_point("retire-file");
    int removed = disk.remove_file(temporary / f.name);
    if (removed < 0 && removed != -ENOENT) failed = removed;
  }
  kill_point("retire-rest");
  if (failed == 0) failed = remove_tree(disk, temporary);
  if (failed < 0)
    notices.push_back(notice(temporary, std::string("an old checkpoint could not be removed: ") + strerror(-failed),
                             "remove it when the disk allows"));
}

void prune(FileSystem& disk, const Path& output, int64_t newest, int keep, std::vector<Error>& notices) {
  int kept = 1;
  for (const auto& [step, folder] : list_checkpoints(output)) {
    if (step >= newest) continue;  // later ones belong to a future that was given up; they are not ours to judge
    Result<Manifest> manifest = read_manifest(folder, disk);
    if (!manifest || stdfs::is_symlink(folder)) continue;
    if (++kept <= keep) continue;
    if (std::optional<std::string> foreign = foreign_in(folder, *manifest)) {
      notices.push_back(notice(folder, "was not pruned: '" + *foreign + "' in it was not written by t2i",
                               "move that file elsewhere"));
      continue;
    }
    kill_point("prune-rename");
    Path temporary = temporary_name(output, step);  // one rename takes it out of sight; no half of it can be found
    if (int renamed = disk.rename(folder, temporary); renamed < 0) {
      notices.push_back(notice(folder, std::string("could not be pruned: ") + strerror(-renamed), "remove it by hand"));
      continue;
    }
    kill_point("prune-renamed");
    retire(disk, temporary, *manifest, notices);
  }
}

void point_latest(FileSystem& disk, const Path& output, const Path& folder, std::vector<Error>& notices) {
  Path link = output / (".tmp-latest-" + random_hex(32));
  int done = disk.symlink(folder.filename(), link);
  kill_point("latest-linked");
  if (done == 0) {
    done = disk.rename(link, output / "latest");
    if (done < 0) disk.remove_file(link);
  }
  kill_point("latest-renamed");
  try {
    sync_folder(disk, output);  // before anything that the old link points to is pruned
  } catch (const Failure& f) {
    notices.push_back(f.errors.front());
  }
  if (done < 0)  // a disk without symbolic links; nothing depends on it
    notices.push_back(notice(output / "latest", std::string("could not be set: ") + strerror(-done),
                             "use " + folder.filename().string()));
}

}  // namespace

FileRecord write_checkpoint_file(const Path& folder, const std::string& name,
                                 const std::function<void(const ByteSink&)>& write, FileSystem& disk,
                                 uint64_t expected_bytes) {
  Path path = folder / name;
  make_folders(path.parent_path(), disk);
  struct Open {
    FileSystem& disk;
    int fd;
    ~Open() {
      if (fd >= 0) disk.close(fd);
    }
  } file{disk, disk.create(path)};
  if (file.fd < 0) fail_write(disk, path, "creating the file", file.fd, expected_bytes);
  kill_point("checkpoint-file-created");
  RecordHash hash;
  write([&](Bytes bytes) {
    hash.update(bytes);
    expected_bytes -= std::min<uint64_t>(expected_bytes, bytes.size());
    write_all(disk, file.fd, bytes, path, expected_bytes);
  });
  kill_point("checkpoint-file-written");
  sync_file(disk, file.fd, path);
  int closed = disk.close(std::exchange(file.fd, -1));
  if (closed < 0 && closed != -EINTR) fail_write(disk, path, "closing", closed);
  kill_point("checkpoint-file-synced");
  return hash.record(name);
}

CheckpointWriter::CheckpointWriter(Path output_folder, int64_t step, uint64_t expected_bytes, FileSystem& disk)
    : disk_(disk), output_(std::move(output_folder)), still_expected_(expected_bytes) {
  manifest_.step = step;
  target_ = output_ / ("checkpoint-" + std::to_string(step));
  kill_point("checkpoint-begin");
  make_folders(output_, disk_);
  auto before = list_checkpoints(output_);
  std::string kept = before.empty() ? "" : " (+" + std::to_string(before.size()) + " kept)";
  require_free(disk_, output_, expected_bytes, target_.filename().string() + kept,
               before.empty() ? "Nothing was overwritten"
                              : "Nothing was overwritten; last good: " + before[0].second.filename().string());
  temporary_ = temporary_name(output_, step);
  if (int made = disk_.make_folder(temporary_); made < 0) fail_write(disk_, temporary_, "making the folder", made);
  kill_point("checkpoint-folder-made");
}

CheckpointWriter::~CheckpointWriter() {
  if (!published_) remove_tree(disk_, temporary_);
}

void CheckpointWriter::add_file(const std::string& name, const std::function<void(const ByteSink&)>& write) {
  if (!is_inner_name(name))
    fail({name, "cannot be the name of a file in a checkpoint", "", "report this", "E4116", Exit::failed});
  add_file(write_checkpoint_file(temporary_, name, write, disk_, still_expected_));
}

void CheckpointWriter::add_file(const std::string& name, Bytes bytes) {
  add_file(name, [&](const ByteSink& sink) { sink(bytes); });
}

void CheckpointWriter::add_file(FileRecord written) {
  still_expected_ -= std::min(still_expected_, written.bytes);
  manifest_.files.push_back(std::move(written));
}

Committed CheckpointWriter::finish(const Json& state, int keep) {
  Committed committed{target_, {}};
  manifest_.state = state;
  std::string text = manifest_text(manifest_);
  write_checkpoint_file(
      temporary_, "manifest.json", [&](const ByteSink& sink) { sink(as_bytes(text)); }, disk_);
  std::set<Path> folders;
  for (const FileRecord& f : manifest_.files)
    for (Path p = Path(f.name).parent_path(); !p.empty(); p = p.parent_path()) folders.insert(temporary_ / p);
  for (const Path& p : folders) sync_folder(disk_, p);
  sync_folder(disk_, temporary_);
  kill_point("checkpoint-complete");

  publish(committed.notices);
  kill_point("checkpoint-committed");
  point_latest(disk_, output_, target_, committed.notices);
  if (keep > 0) prune(disk_, output_, manifest_.step, keep, committed.notices);
  kill_point("checkpoint-done");
  return committed;
}

// The temporary folder gets the checkpoint's name, and that is on the disk. Where the name is taken by a checkpoint of
// the same step, the two are exchanged at once, so that one of them is there at every instant.
void CheckpointWriter::publish(std::vector<Error>& notices) {
  auto no_such_call = [](int returned) { return returned == -EINVAL || returned == -ENOSYS || returned == -ENOTSUP; };
  std::error_code error;
  std::optional<Manifest> old;
  if (stdfs::exists(stdfs::symlink_status(target_, error))) {
    Result<Manifest> manifest = read_manifest(target_, disk_);
    if (manifest && !stdfs::is_symlink(target_)) {
      old = std::move(*manifest);
    } else {
      Path aside = aside_name(target_);
      if (int moved = disk_.rename(target_, aside); moved < 0)
        fail_write(disk_, target_, "moving aside what was there", moved);
      notices.push_back(notice(aside, "is what was at " + target_.string() + "; it is no whole checkpoint of t2i's",
                               "remove it when you do not need it"));
      kill_point("replace-aside");
    }
  }
  int renamed = 0;
  Path retired = temporary_;
  if (old) {
    renamed = disk_.rename_exchange(temporary_, target_);
    if (no_such_call(renamed)) {  // some network disks: two steps, with an instant between them
      retired = temporary_name(output_, old->step);
      renamed = disk_.rename(target_, retired);
      if (renamed == 0) {
        renamed = disk_.rename(temporary_, target_);
        if (renamed < 0) disk_.rename(retired, target_);
      }
    }
  } else {
    renamed = disk_.rename_new(temporary_, target_);
    if (no_such_call(renamed)) renamed = disk_.rename(temporary_, target_);
  }
  if (renamed < 0) fail_write(disk_, target_, "renaming the complete checkpoint", renamed);
  published_ = true;
  kill_point("checkpoint-renamed");
  sync_folder(disk_, output_);
  if (old) {
    kill_point("replace-exchanged");
    retire(disk_, retired, *old, notices);
  }
}

std::vector<std::pair<int64_t, Path>> list_checkpoints(const Path& output_folder) {
  std::vector<std::pair<int64_t, Path>> found;
  std::error_code error;
  for (const Path& path : entries_of(output_folder)) {
    std::string name = path.filename().string();
    std::optional<int64_t> step = number_after(name, "checkpoint-");
    if (step && name == "checkpoint-" + std::to_string(*step) && stdfs::is_directory(path, error))
      found.emplace_back(*step, path);
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

std::vector<Error> remove_leftovers(const Path& output_folder, FileSystem& disk) {
  std::vector<Error> notices;
  std::error_code error;
  for (const Path& path : entries_of(output_folder)) {
    std::string name = path.filename().string();
    size_t dash = name.rfind('-');
    bool folder = dash != name.npos && number_after(name.substr(0, dash), ".tmp-") &&
                  all_hex(name.substr(dash + 1), 32) && stdfs::is_directory(stdfs::symlink_status(path, error));
    bool link = name.starts_with(".tmp-latest-") && all_hex(name.substr(12), 32) && stdfs::is_symlink(path, error);
    bool file = name.starts_with('.') && dash != name.npos && name.substr(0, dash).ends_with(".tmp") &&
                all_hex(name.substr(dash + 1), 16) && stdfs::is_regular_file(stdfs::symlink_status(path, error));
    if (!folder && !link && !file) continue;
    kill_point("leftover");
    Result<Manifest> manifest = folder ? read_manifest(path, disk) : Error{};
    if (manifest) {
      retire(disk, path, *manifest, notices);
    } else if (int removed = remove_tree(disk, path); removed < 0) {
      notices.push_back(notice(path, std::string("what a killed run left could not be removed: ") + strerror(-removed),
                               "remove it by hand"));
    }
  }
  return notices;
}

Result<Checkpoint> verify_checkpoint(const Path& folder, FileSystem& disk) {
  Result<Manifest> manifest = read_manifest(folder, disk);
  if (!manifest) return manifest.error();
  for (const FileRecord& f : manifest->files)
    if (std::optional<Error> e = verify_file(folder, f, disk)) return *e;
  return Checkpoint{folder, std::move(*manifest)};
}

Result<NewestCheckpoint> find_newest_valid(const Path& output_folder, FileSystem& disk) {
  NewestCheckpoint newest;
  size_t ours = 0;
  for (const auto& [step, folder] : list_checkpoints(output_folder)) {
    Result<Checkpoint> checkpoint = verify_checkpoint(folder, disk);
    if (checkpoint && checkpoint->manifest.step != step)
      checkpoint = Error{folder.string(),
                         "its manifest is of step " + std::to_string(checkpoint->manifest.step),
                         "The folder was renamed",
                         "give it its name back",
                         "E4112",
                         Exit::bad_data};
    if (checkpoint) {
      newest.checkpoint = std::move(*checkpoint);
      return newest;
    }
    bool foreign = checkpoint.error().id == "E4103";
    ours += !foreign;
    newest.notices.push_back(
        foreign ? notice(folder, "was passed over: it has no manifest.json, so t2i did not write it", "")
                : checkpoint.error());
  }
  if (ours == 0) return newest;
  const Error& first = newest.notices.front();
  return Error{output_folder.string(),
               grouped(ours) + " checkpoints are there and none of them is whole; of the newest, " + first.where +
                   ": " + first.what,
               "Starting from the beginning would write over this run",
               "restore one from a copy, or give another output folder",
               "E4113",
               Exit::bad_data};
}

}  // namespace t2i
