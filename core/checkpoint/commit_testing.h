// What the tests of commits share: small checkpoints whose content follows from their step, and a look at what is
// there.
#pragma once
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/checkpoint/commit.h"

namespace t2i {

// In memory where that can be: hundreds of commits with real fsyncs take minutes, and what these tests prove does not
// depend on the disk.
struct TestFolder {
  Path path;
  explicit TestFolder(Path parent = std::filesystem::exists("/dev/shm") ? Path("/dev/shm")
                                                                        : std::filesystem::temp_directory_path())
      : path(parent / ("t2i-commit-" + random_hex(16))) {
    std::filesystem::create_directory(path);
  }
  ~TestFolder() { std::filesystem::remove_all(path); }
  Path operator/(const std::string& name) const { return path / name; }
};

inline std::string content_of(const std::string& name, int64_t step) {
  std::string text;
  for (int i = 0; i < 40; ++i) text += name + " of step " + std::to_string(step) + ", line " + std::to_string(i) + "\n";
  return text;
}

inline const std::vector<std::string> test_files = {"model.safetensors", "optimizer.bin", "ema/model.safetensors"};

inline Committed commit(const Path& output, int64_t step, int keep, FileSystem& disk = real_file_system()) {
  CheckpointWriter writer(output, step, 10'000, disk);
  for (const std::string& name : test_files) {
    std::string text = content_of(name, step);
    writer.add_file(name, [&](const ByteSink& sink) {
      sink(as_bytes(text).first(100));
      sink(as_bytes(text).subspan(100));
    });
  }
  return writer.finish({{"step", step}, {"seed", 42}}, keep);
}

// The step of the newest valid checkpoint, −1 for none, after comparing every byte with what was written.
inline int64_t newest_step(const Path& output) {
  Result<NewestCheckpoint> newest = find_newest_valid(output);
  if (!newest || !newest->checkpoint) return -1;
  const Checkpoint& c = *newest->checkpoint;
  EXPECT_EQ(c.manifest.state["step"], c.manifest.step);
  for (const std::string& name : test_files)
    EXPECT_EQ(read_file(c.folder / name).take(), content_of(name, c.manifest.step));
  return c.manifest.step;
}

inline std::vector<std::string> names_in(const Path& folder) {
  std::vector<std::string> names;
  for (const auto& e : std::filesystem::directory_iterator(folder)) names.push_back(e.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace t2i
