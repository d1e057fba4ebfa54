#include "core/model/assets.h"

#include <fstream>
#include <iterator>

#include "core/base/error.h"

namespace t2i {

const std::string* AssetFolder::read(const std::string& path) {
  std::scoped_lock lock(reading_);  // several loader threads may ask for a tokenizer's files first
  auto [it, is_new] = cache_.try_emplace(path);
  if (is_new) {
    std::filesystem::path relative = std::filesystem::path(path).lexically_normal();
    if (relative.is_absolute() || relative.string().starts_with(".."))
      fail({path, "a plugin asked for a file outside the model's folder", "", "", "E2040", Exit::bad_data});
    std::filesystem::path file = root_ / relative;
    if (auto at = elsewhere_.find(relative.begin()->string()); at != elsewhere_.end())
      file = at->second / relative.lexically_relative(*relative.begin());
    if (std::ifstream in(file, std::ios::binary); in)
      it->second = std::string(std::istreambuf_iterator<char>(in), {});
  }
  return it->second ? &*it->second : nullptr;
}

}  // namespace t2i
