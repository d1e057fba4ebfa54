#include "tokenizer_folder.hpp"

#include <algorithm>

namespace t2i {

ReadFile files_of(const Assets& assets, const std::string& name, const std::string& shown) {
  return [assets, name, begin = shown.size()](const std::string& path) { return assets.read(name + path.substr(begin)); };
}

TokenizerFolder::TokenizerFolder(const ReadFile& read_file, const std::string& folder) : read(read_file), name(folder) {
  whole = json("tokenizer.json");
  config = json("tokenizer_config.json");
  if (config.is_null()) config = Json::object();
}

std::string_view TokenizerFolder::bytes(const char* file) const {
  std::string_view found = read(path(file));
  if (!found.data()) return found;
  size_t first = std::min(found.find_first_not_of(" \t\r\n"), found.size());
  std::string begin(found.substr(first, 9));
  std::transform(begin.begin(), begin.end(), begin.begin(), [](unsigned char c) { return std::tolower(c); });
  if (begin.empty()) fail(path(file) + ": empty. → Download the file again.");
  if (found.starts_with("version https://git-lfs"))
    fail(path(file) +
         ": a Git LFS pointer, not the file that it points to: the folder was cloned without git-lfs. → Run "
         "'git lfs pull' there, or download the file itself.");
  if (begin == "<!doctype" || begin.starts_with("<html") || begin.starts_with("<?xml"))
    fail(path(file) +
         ": a web page, not the file: the download was answered with an error or a login. → Download it again.");
  return found;
}

Json TokenizerFolder::json(const char* file) const {
  const std::string where = path(file);
  std::string_view text = bytes(file);
  if (!text.data()) return Json();
  try {
    Json j = Json::parse(text);
    if (!j.is_object()) fail(where + ": not a JSON object. → Restore the tokenizer's file.");
    return j;
  } catch (const Json::exception& e) {
    fail(where + ": not JSON: " + e.what() + ". → Restore the tokenizer's file.");
  }
}

static bool left(ConfigReader& c, const char* key, const Json& fallback) {
  std::string side = fallback.is_string() ? fallback.get<std::string>() : "right";
  std::transform(side.begin(), side.end(), side.begin(), [](unsigned char ch) { return std::tolower(ch); });
  return c.choice(key, side, {"right", "left"}) == "left";
}

TokenizerSides read_sides(const TokenizerFolder& folder, const std::vector<std::string>& harmless) {
  ConfigReader c(folder.config, folder.path("tokenizer_config.json"));
  TokenizerSides s;
  double length = c.number("model_max_length", 0);
  s.length = length >= 2 && length < 1e6 ? static_cast<int64_t>(length) : 0;  // huge: transformers' "not set"
  auto section = [&](const char* name) {
    const Json& whole = folder.whole;
    return whole.is_object() && whole.contains(name) && whole[name].is_object() ? whole[name].value("direction", Json())
                                                                                : Json();
  };
  s.pad_left = left(c, "padding_side", section("padding"));
  s.cut_left = left(c, "truncation_side", section("truncation"));
  c.only("split_special_tokens", false, {false});
  c.harmless({"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
              "added_tokens_decoder", "additional_special_tokens", "extra_special_tokens", "add_prefix_space",
              "name_or_path", "special_tokens_map_file", "tokenizer_class", "backend", "clean_up_tokenization_spaces",
              "processor_class", "tokenizer_file", "model_input_names", "use_fast", "is_local", "local_files_only",
              "max_length", "stride", "truncation_strategy", "pad_to_multiple_of", "pad_token_type_id",
              "add_bos_token", "add_eos_token", "legacy", "auto_map"});
  c.harmless(harmless);
  c.done();
  return s;
}

void check_vocabulary(const std::string& folder, int64_t highest, int64_t embeddings) {
  if (highest >= embeddings)
    fail(folder + ": the tokenizer has a token numbered " + std::to_string(highest) + ", but the text encoder has " +
         std::to_string(embeddings) +
         " embeddings (vocab_size). → Take tokenizer and text encoder from the same model.");
}

}  // namespace t2i
