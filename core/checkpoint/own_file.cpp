#include "core/checkpoint/own_file.h"

#include "core/base/version.h"

namespace t2i {

namespace stdfs = std::filesystem;

void require_own_file(const Path& path, const std::string& option) {
  std::error_code error;
  if (!stdfs::exists(stdfs::symlink_status(path, error))) return;
  if (stdfs::is_directory(path, error))
    fail({path.string(), "is a folder, not a file", "", "name a file in it with " + option, "E6007", Exit::in_use});
  if (stdfs::is_regular_file(path, error) && stdfs::file_size(path, error) == 0 && !error) return;  // made to be filled
  if (Result<SafetensorsFile> file = open_safetensors(path)) {
    auto software = file->metadata.find("software");
    if (software != file->metadata.end() && software->second.starts_with("t2i ")) return;
  }
  fail({path.string(), "there is a file already, which t2i did not write", "It would be lost",
        "choose another " + option + ", or move it away", "E6007", Exit::in_use});
}

void write_own_file(const Path& path, const std::string& option, std::vector<TensorSource> tensors) {
  require_own_file(path, option);
  if (path.has_parent_path()) make_folders(path.parent_path());
  write_safetensors(path, std::move(tensors), {{"software", std::string("t2i ") + version}});
}

}  // namespace t2i
