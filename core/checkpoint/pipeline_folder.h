// Writing a model's folder: it has its name only when it is whole.
#pragma once
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/checkpoint/part_files.h"
#include "core/checkpoint/safetensors.h"

namespace t2i {

// A folder while it is being written; gone again unless it is published. What has its name before is removed: it is to be
// one that belongs to who writes, or an unfinished_name().
class UnfinishedFolder {
 public:
  explicit UnfinishedFolder(Path path);
  ~UnfinishedFolder();
  UnfinishedFolder(const UnfinishedFolder&) = delete;
  UnfinishedFolder& operator=(const UnfinishedFolder&) = delete;
  const Path& path() const { return path_; }
  void publish(const Path& name);           // replaces an empty folder of that name
  void publish_new(const Path& name);       // E6020 where anything has that name

 private:
  Path path_;
};

// A name beside `name` that nobody else uses, for a folder that is to have that one.
Path unfinished_name(const Path& name);

void write_json_file(const Path& path, const Json& value);

// STEM.safetensors, or above 10 GiB shards in the order given and the index that names them, as diffusers does.
void write_weight_files(const Path& folder, const std::string& stem, std::vector<TensorSource> sources);

void copy_part_file(const PartFile& file, const Path& folder);
void copy_part(const ModelPart& part, const Path& folder);  // all of part_files(part); makes the folder

// E6020 (73) where something has this name already. To be asked before work is done for it.
void require_new(const Path& path, const std::string& option);

}  // namespace t2i
