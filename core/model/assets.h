// The small files of a model folder (tokenizers, configurations) as plugins ask for them: read once, kept.
#pragma once
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace t2i {

class AssetFolder {
  std::filesystem::path root_;
  std::map<std::string, std::filesystem::path> elsewhere_;
  std::mutex reading_;
  std::map<std::string, std::optional<std::string>> cache_;  // a text stays where it is when others come

 public:
  // `elsewhere`: folders that are to be read in place of those of their names below the root.
  explicit AssetFolder(std::filesystem::path root, std::map<std::string, std::filesystem::path> elsewhere = {})
      : root_(std::move(root)), elsewhere_(std::move(elsewhere)) {}
  // The text of `path` below the folder, nullptr when there is none; valid as long as this lives. From any thread. Paths
  // that leave the folder are refused (throws).
  const std::string* read(const std::string& path);
};

}  // namespace t2i
