// The configurations to begin with that are installed: *.yaml in share/t2i/presets beside the program and in ~/.t2i/presets.
// A preset is a configuration that runs as it is, but for its paths. Its head is comments: first a sentence, then notes, and
// lines "processes: 8" and "memory: 80GB" that say what it is planned for.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace t2i {

struct Preset {
  std::string name, doc;           // the file's stem, the sentence
  std::vector<std::string> notes;  // the other lines of its head
  int64_t processes = 1;
  std::string memory;  // of each; as --memory of `t2i plan` takes it
  std::string path, text;
};

// By name; of two with a name the user's own.
std::vector<Preset> installed_presets();

// The one of that name, or, where `name` has a '/' or ends with .yaml, that file. Failure: E8040 with the nearest name, or
// that the file cannot be read.
Preset find_preset(const std::string& name);

// Beside the presets: other-names.json. Empty where it is not installed.
std::filesystem::path shared_file(const std::string& name);

}  // namespace t2i
