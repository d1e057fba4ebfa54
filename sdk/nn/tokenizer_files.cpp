#include "tokenizer_files.hpp"

#include <algorithm>

#include "config_reader.hpp"

namespace t2i {
namespace {

Bpe::Vocabulary vocabulary_of(const Json& object, const std::string& file) {
  if (!object.is_object()) fail(file + ": the vocabulary is not an object of tokens and their numbers.");
  Bpe::Vocabulary v;
  v.reserve(object.size());
  for (const auto& [token, id] : object.items()) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX)
      fail(file + ": token '" + token + "' has the number " + id.dump() + "; wanted an integer from 0 up.");
    v[token] = id.get<int64_t>();
  }
  return v;
}

std::pair<std::string, std::string> pair_of(std::string_view line, const std::string& where) {
  size_t space = line.find(' ');
  if (space == line.npos || space == 0 || space + 1 == line.size() || line.find(' ', space + 1) != line.npos)
    fail(where + ": '" + std::string(line) + "' is not a merge: two tokens with one space between.");
  return {std::string(line.substr(0, space)), std::string(line.substr(space + 1))};
}

// A merges.txt: a line of version, then one merge a line.
Bpe::Merges merges_of(std::string_view text, const std::string& file) {
  Bpe::Merges merges;
  int64_t number = 0;
  while (!text.empty()) {
    size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with("#version")) continue;
    merges.push_back(pair_of(line, file + ":" + std::to_string(number)));
  }
  return merges;
}

// The "model" of a tokenizer.json.
Bpe::Merges merges_of(const Json& model, const std::string& file) {
  ConfigReader c(model, file, "model.");
  c.choice("type", "BPE", {"BPE"});
  c.only("end_of_word_suffix", "</w>", {"</w>"});
  c.only("continuing_subword_prefix", nullptr, {nullptr, ""});
  c.only("dropout", nullptr, {nullptr, 0.0});
  c.only("byte_fallback", false, {false});
  c.only("ignore_merges", false, {false});
  c.harmless({"vocab", "merges", "unk_token", "fuse_unk"});
  c.done();
  Bpe::Merges merges;
  for (const Json& m : model.value("merges", Json::array())) {
    std::string where = file + ": model.merges[" + std::to_string(merges.size()) + "]";
    if (m.is_string())
      merges.push_back(pair_of(m.get_ref<const std::string&>(), where));
    else if (m.is_array() && m.size() == 2 && m[0].is_string() && m[1].is_string())
      merges.emplace_back(m[0].get<std::string>(), m[1].get<std::string>());
    else
      fail(where + " is " + m.dump() + "; wanted a pair of tokens.");
  }
  return merges;
}

}  // namespace

static TokenizerFiles read_all(const TokenizerFolder& folder) {
  const std::string whole_file = folder.path("tokenizer.json"), merges_file = folder.path("merges.txt");
  const Json& whole = folder.whole;
  SpecialTokens specials(folder, {{"bos_token", "<|startoftext|>"},
                                  {"eos_token", "<|endoftext|>"},
                                  {"unk_token", "<|endoftext|>"},
                                  {"pad_token", "<|endoftext|>"}});
  TokenizerFiles f;
  Bpe::Vocabulary vocabulary;
  Bpe::Merges merges;
  std::string merges_from = whole_file;
  if (whole.is_object()) {
    if (!whole.contains("model") || !whole["model"].is_object()) fail(whole_file + ": has no 'model'.");
    merges = merges_of(whole["model"], whole_file);
    vocabulary = vocabulary_of(whole["model"].value("vocab", Json()), whole_file);
  } else {
    Json object = folder.json("vocab.json");
    std::string_view text = folder.bytes("merges.txt");
    if (object.is_null() || !text.data())
      fail(folder.name + ": no tokenizer here: neither tokenizer.json nor vocab.json with merges.txt. → Copy the folder '" +
               folder.name + "' of the published model.",
           T2I_E_MISSING);
    vocabulary = vocabulary_of(object, folder.path("vocab.json"));
    merges = merges_of(text, merges_file);
    merges_from = merges_file;
  }
  auto unknown = vocabulary.find(specials.content("unk_token"));
  int64_t unknown_id = unknown == vocabulary.end() ? -1 : unknown->second;
  auto size = static_cast<int64_t>(vocabulary.size());
  f.bpe = Bpe(std::move(vocabulary), merges, unknown_id, merges_from);

  auto find = [&](const std::string& content) {
    auto found = f.bpe.vocabulary().find(content);
    return found == f.bpe.vocabulary().end() ? -1 : found->second;
  };
  specials.number(find, size);
  f.start = specials.id("bos_token"), f.end = specials.id("eos_token"), f.padding = specials.id("pad_token");
  f.added = last_of_each_number(specials.added());
  f.sides = read_sides(folder, {"do_lower_case", "errors"});
  return f;
}

TokenizerFiles read_tokenizer_files(const ReadFile& read, const std::string& folder) {
  return with_folder_in_errors(folder, [&] { return read_all(TokenizerFolder(read, folder)); });
}

}  // namespace t2i
