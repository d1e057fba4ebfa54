#include "core/checkpoint/pipeline_folder.h"

#include <cerrno>

#include "core/base/file_progress.h"

namespace t2i {
namespace {

namespace stdfs = std::filesystem;

constexpr uint64_t shard_bytes = uint64_t{10} << 30;  // as diffusers: above this, weights are cut into shards

uint64_t bytes_of(const TensorSource& source) {
  uint64_t elements = 1;
  for (int64_t n : source.shape) elements *= static_cast<uint64_t>(n);
  return elements * static_cast<uint64_t>(dtype_bits(source.dtype)) / 8;
}

Error in_the_way(const Path& path, const std::string& option) {
  return {path.string(), "is there already, and nothing is overwritten", "", "choose another " + option + ", or move it away", "E6020", Exit::in_use};
}

}  // namespace

UnfinishedFolder::UnfinishedFolder(Path path) : path_(std::move(path)) {
  remove_tree(real_file_system(), path_);
  make_folders(path_);
}

UnfinishedFolder::~UnfinishedFolder() {
  if (!path_.empty()) remove_tree(real_file_system(), path_);
}

void UnfinishedFolder::publish(const Path& name) {
  if (int renamed = real_file_system().rename(path_, name); renamed < 0) fail_write(real_file_system(), name, "renaming", renamed);
  path_.clear();
}

void UnfinishedFolder::publish_new(const Path& name) {
  int renamed = real_file_system().rename_new(path_, name);
  if (renamed == -EEXIST) fail(in_the_way(name, "--output"));
  if (renamed < 0) fail_write(real_file_system(), name, "renaming", renamed);
  path_.clear();
}

Path unfinished_name(const Path& name) {
  const Path folder = name.has_filename() ? name : name.parent_path();  // "out/" is "out"
  return folder.parent_path() / ("." + folder.filename().string() + ".tmp-" + random_hex(16));
}

void write_json_file(const Path& path, const Json& value) {
  std::string text = python_json(value);
  write_file(path, as_bytes(text));
}

void write_weight_files(const Path& folder, const std::string& stem, std::vector<TensorSource> sources) {
  std::vector<std::vector<TensorSource>> shards(1);
  uint64_t total = 0, in_shard = 0;
  for (TensorSource& s : sources) {
    const uint64_t bytes = bytes_of(s);
    if (in_shard && in_shard + bytes > shard_bytes) shards.emplace_back(), in_shard = 0;
    in_shard += bytes, total += bytes;
    shards.back().push_back(std::move(s));
  }
  if (shards.size() == 1) {
    write_safetensors(folder / (stem + ".safetensors"), std::move(shards[0]), {{"format", "pt"}});
    return;
  }
  Json index{{"metadata", {{"total_size", total}}}, {"weight_map", Json::object()}};
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shard_name(stem, i, shards.size());
    for (const TensorSource& s : shards[i]) index["weight_map"][s.name] = name;
    write_safetensors(folder / name, std::move(shards[i]), {{"format", "pt"}});
  }
  write_json_file(folder / (stem + ".safetensors.index.json"), index);
}

void copy_part_file(const PartFile& one, const Path& folder) {
  Path target = folder / one.to;
  make_folders(target.parent_path());
  if (!one.index.is_null()) return write_json_file(target, one.index);
  AtomicFile file(target);
  std::error_code unknown;
  const uint64_t total = stdfs::file_size(one.from, unknown);
  uint64_t done = 0;
  auto copy = [&](Bytes bytes) {
    file.write(bytes);
    if (!unknown) tell_file_progress("copying", one.to.string(), done += bytes.size(), total);
  };
  if (auto unreadable = stream_file(one.from, copy)) fail(*unreadable);
  file.commit();
}

void copy_part(const ModelPart& part, const Path& folder) {
  make_folders(folder);
  for (const PartFile& one : part_files(part)) copy_part_file(one, folder);
}

void require_new(const Path& path, const std::string& option) {
  std::error_code error;
  if (stdfs::exists(stdfs::symlink_status(path, error))) fail(in_the_way(path, option));
}

}  // namespace t2i
