// A tokenizer's folder: its files, whatever kind of tokenizer it is, and what tokenizer_config.json says beside tokens.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "config_reader.hpp"

namespace t2i {

// The bytes of a file of the model folder, by its path there; data() == nullptr when it is not there.
using ReadFile = std::function<std::string_view(const std::string& path)>;
// Those of the folder `name`, under paths that begin with `shown` instead: where it lies, for messages.
ReadFile files_of(const Assets& assets, const std::string& name, const std::string& shown);

struct TokenizerFolder {
  TokenizerFolder(const ReadFile& read, const std::string& folder);

  // A JSON object, null when the file is not there.
  Json json(const char* file) const;
  // A file's bytes, data() == nullptr when it is not there. Throws where something else stands in its place: a Git LFS
  // pointer, a web page, nothing.
  std::string_view bytes(const char* file) const;
  std::string path(const char* file) const { return name + "/" + file; }

  ReadFile read;
  std::string name;
  Json whole;   // tokenizer.json, null: not there
  Json config;  // tokenizer_config.json, {}: not there
};

// On which sides padding goes and too long texts are cut, and model_max_length. Every other key of
// tokenizer_config.json that is not harmless to all tokenizers or in `harmless` is an error.
struct TokenizerSides {
  bool pad_left = false, cut_left = false;
  int64_t length = 0;  // 0: not said
};
TokenizerSides read_sides(const TokenizerFolder& folder, const std::vector<std::string>& harmless);

// Throws where a token has a number that the text encoder, with so many embeddings, does not have.
void check_vocabulary(const std::string& folder, int64_t highest, int64_t embeddings);

// For what a tokenizer's files are read by: a value of another kind than its key has becomes an error with the folder.
template <class F>
auto with_folder_in_errors(const std::string& folder, F&& f) {
  try {
    return f();
  } catch (const Json::exception& e) {
    fail(folder + ": a file of the tokenizer has a value of the wrong kind: " + e.what() +
         ". → Restore the tokenizer's files of the published model.");
  }
}

}  // namespace t2i
