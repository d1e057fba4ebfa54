#include "tokenizer_files.hpp"

#include <t2i/t2i.hpp>

#include <algorithm>
#include <map>
#include <optional>

#include "config_reader.hpp"

namespace t2i {
namespace {

using Read = std::function<std::string_view(const std::string&)>;

Json parse(const Read& read, const std::string& file) {
  std::string_view text = read(file);
  if (!text.data()) return Json();
  try {
    Json j = Json::parse(text);
    if (!j.is_object()) fail(file + ": not a JSON object. → Restore the tokenizer's file.");
    return j;
  } catch (const Json::exception& e) {
    fail(file + ": not JSON: " + e.what() + ". → Restore the tokenizer's file.");
  }
}

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

// A special token as configurations write it: a text, or an object with flags.
struct Written {
  AddedToken token;
  bool flags;  // written with flags
};
std::optional<Written> written(const Json& value, const std::string& where) {
  if (value.is_null()) return std::nullopt;
  if (value.is_string()) return Written{{.content = value.get<std::string>()}, false};
  if (!value.is_object() || !value.contains("content") || !value["content"].is_string())
    fail(where + " is " + value.dump() + "; wanted a token: a text, or an object with 'content'.");
  AddedToken t;
  t.content = value["content"].get<std::string>();
  t.special = value.value("special", false);
  t.normalized = value.value("normalized", !t.special);
  t.left_strip = value.value("lstrip", false);
  t.right_strip = value.value("rstrip", false);
  t.single_word = value.value("single_word", false);
  return Written{t, true};
}

constexpr std::array named = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

bool left(ConfigReader& c, const char* key, const Json& fallback) {
  std::string side = fallback.is_string() ? fallback.get<std::string>() : "right";
  std::transform(side.begin(), side.end(), side.begin(), [](unsigned char ch) { return std::tolower(ch); });
  return c.choice(key, side, {"right", "left"}) == "left";
}

}  // namespace

static TokenizerFiles read_all(const Read& read, const std::string& folder) {
  const std::string whole_file = folder + "/tokenizer.json", vocabulary_file = folder + "/vocab.json",
                    merges_file = folder + "/merges.txt", config_file = folder + "/tokenizer_config.json";
  TokenizerFiles f;
  Json whole = parse(read, whole_file), config = parse(read, config_file);
  if (config.is_null()) config = Json::object();

  // What each special token is: the class's own, over it tokenizer_config.json, over it special_tokens_map.json, but
  // that only where the first does not list the added tokens.
  Json specials = {{"bos_token", "<|startoftext|>"}, {"eos_token", "<|endoftext|>"},
                   {"unk_token", "<|endoftext|>"},   {"pad_token", "<|endoftext|>"}};
  std::map<int64_t, AddedToken> listed;
  auto take = [&](const Json& from) {
    for (const char* name : named)
      if (from.contains(name)) specials[name] = from[name];
    for (const char* name : {"additional_special_tokens", "extra_special_tokens"})
      if (from.contains(name)) specials["extra"] = from[name];
  };
  take(config);
  if (config.contains("added_tokens_decoder")) {
    for (const auto& [id, value] : config["added_tokens_decoder"].items()) {
      std::string where = config_file + ": added_tokens_decoder." + id;
      if (id.empty() || id.find_first_not_of("0123456789") != id.npos || id.size() > 9) fail(where + " is not a number.");
      listed[std::stoll(id)] = written(value, where)->token;
    }
  } else {
    const std::string map_file = folder + "/special_tokens_map.json", added_file = folder + "/added_tokens.json";
    if (Json map = parse(read, map_file); !map.is_null()) {
      for (auto& [key, value] : map.items())
        if (value.is_object()) value["special"] = true;
      take(map);
    }
    if (Json added = parse(read, added_file); !added.is_null())
      for (const auto& [content, id] : vocabulary_of(added, added_file)) {
        bool special = std::any_of(specials.begin(), specials.end(), [&](const Json& s) {
          return s == Json(content) || (s.is_object() && s.value("content", "") == content);
        });
        listed[id] = {.content = content, .normalized = !special, .special = special};
      }
    if (whole.is_object())
      for (const Json& value : whole.value("added_tokens", Json::array())) {
        auto t = written(value, whole_file + ": added_tokens");
        if (!t || !value.contains("id") || !value["id"].is_number_integer())
          fail(whole_file + ": added_tokens has " + value.dump() + "; wanted a token with 'id'.");
        listed[value["id"].get<int64_t>()] = t->token;
      }
  }

  // Those listed come first, by number; then the named ones that are not among them. A named token written as a plain
  // text is added again where it equals one written with flags, and as the later one it counts.
  std::vector<std::string> plain;
  auto content_listed = [&](const std::string& content) {
    return std::any_of(listed.begin(), listed.end(), [&](const auto& t) { return t.second.content == content; });
  };
  for (const auto& [id, token] : listed) f.added.push_back(token);
  auto add = [&](const Json& value, const std::string& name) {
    auto t = written(value, config_file + ": " + name);
    if (!t || content_listed(t->token.content)) return;
    auto same = [&](const AddedToken& o) { return o.content == t->token.content; };
    if (t->flags ? std::any_of(f.added.begin(), f.added.end(), same) : std::count(plain.begin(), plain.end(), t->token.content))
      return;
    t->token.special = true;
    f.added.push_back(t->token);
    if (!t->flags) plain.push_back(t->token.content);
  };
  for (const char* name : named)
    if (specials.contains(name)) add(specials[name], name);
  if (specials.contains("extra")) {
    if (!specials["extra"].is_array()) fail(config_file + ": extra_special_tokens is not a list of tokens.");
    for (const Json& value : specials["extra"]) add(value, "extra_special_tokens");
  }

  // The vocabulary and the merges.
  Bpe::Vocabulary vocabulary;
  Bpe::Merges merges;
  std::string merges_from = whole_file;
  if (whole.is_object()) {
    if (!whole.contains("model") || !whole["model"].is_object()) fail(whole_file + ": has no 'model'.");
    merges = merges_of(whole["model"], whole_file);
    vocabulary = vocabulary_of(whole["model"].value("vocab", Json()), whole_file);
  } else {
    Json object = parse(read, vocabulary_file);
    std::string_view text = read(merges_file);
    if (object.is_null() || !text.data())
      fail(folder + ": no tokenizer here: neither tokenizer.json nor vocab.json with merges.txt. → Copy the folder '" +
               folder + "' of the published model.",
           T2I_E_MISSING);
    vocabulary = vocabulary_of(object, vocabulary_file);
    merges = merges_of(text, merges_file);
    merges_from = merges_file;
  }
  auto content = [&](const char* name) {
    auto t = written(specials.value(name, Json()), config_file + ": " + name);
    return t ? t->token.content : std::string();
  };
  auto unknown = vocabulary.find(content("unk_token"));
  int64_t unknown_id = unknown == vocabulary.end() ? -1 : unknown->second;
  auto size = static_cast<int64_t>(vocabulary.size());
  f.bpe = Bpe(std::move(vocabulary), merges, unknown_id, merges_from);

  // An added token that the vocabulary has keeps its number there, another gets the next free one.
  int64_t highest = -1;
  std::map<std::string, int64_t> ids;
  for (AddedToken& t : f.added) {
    auto in_vocabulary = f.bpe.vocabulary().find(t.content);
    if (in_vocabulary != f.bpe.vocabulary().end())
      t.id = in_vocabulary->second;
    else if (ids.contains(t.content))
      t.id = ids[t.content];
    else
      t.id = highest >= size ? highest + 1 : size;
    highest = std::max(highest, ids[t.content] = t.id);
  }
  auto id = [&](const char* name) {
    std::string c = content(name);
    auto it = ids.find(c);
    if (it == ids.end())
      fail(config_file + ": '" + name + "' is null, but a prompt cannot be encoded without it. → Name a token.");
    return it->second;
  };
  f.start = id("bos_token"), f.end = id("eos_token"), f.padding = id("pad_token");

  ConfigReader c(config, config_file);
  double length = c.number("model_max_length", 0);
  f.length = length >= 2 && length < 1e6 ? static_cast<int64_t>(length) : 0;  // huge: transformers' "not set"
  auto section = [&](const char* name) {
    return whole.is_object() && whole.contains(name) && whole[name].is_object() ? whole[name].value("direction", Json())
                                                                                : Json();
  };
  f.pad_left = left(c, "padding_side", section("padding"));
  f.cut_left = left(c, "truncation_side", section("truncation"));
  c.only("split_special_tokens", false, {false});
  for (const char* name : named) c.harmless({name});
  c.harmless({"added_tokens_decoder", "additional_special_tokens", "extra_special_tokens", "add_prefix_space",
              "do_lower_case", "errors", "name_or_path", "special_tokens_map_file", "tokenizer_class", "backend",
              "clean_up_tokenization_spaces", "processor_class", "tokenizer_file", "model_input_names", "use_fast",
              "is_local", "local_files_only", "max_length", "stride", "truncation_strategy", "pad_to_multiple_of",
              "pad_token_type_id", "add_bos_token", "add_eos_token", "legacy", "auto_map"});
  c.done();
  return f;
}

TokenizerFiles read_tokenizer_files(const Read& read, const std::string& folder) {
  try {
    return read_all(read, folder);
  } catch (const Json::exception& e) {  // a value of another kind than its key has
    fail(folder + ": a file of the tokenizer has a value of the wrong kind: " + e.what() +
         ". → Restore the tokenizer's files of the published model.");
  }
}

}  // namespace t2i
