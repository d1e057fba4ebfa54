#include "special_tokens.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <optional>

namespace t2i {
namespace {

constexpr std::array names = {"bos_token", "eos_token", "unk_token", "sep_token",
                              "pad_token", "cls_token", "mask_token"};

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

int64_t number_of(const Json& value, const std::string& where) {
  if (!value.is_number_integer() || value.get<int64_t>() < 0 || value.get<int64_t>() > INT32_MAX)
    fail(where + " has the number " + value.dump() + "; wanted an integer from 0 up.");
  return value.get<int64_t>();
}

}  // namespace

SpecialTokens::SpecialTokens(const TokenizerFolder& folder, Json defaults)
    : file_(folder.path("tokenizer_config.json")), named_(std::move(defaults)) {
  // What each special token is: the class's own, over it tokenizer_config.json, over it special_tokens_map.json, but
  // that only where the first does not list the added tokens.
  const Json &config = folder.config, &whole = folder.whole;
  std::map<int64_t, AddedToken> listed;
  auto take = [&](const Json& from) {
    for (const char* name : names)
      if (from.contains(name)) named_[name] = from[name];
  };
  // The further ones have an old name and a new one. Where a configuration has either, the other file's old name counts
  // no more, and its new name adds to them.
  const char *old_name = "additional_special_tokens", *new_name = "extra_special_tokens";
  const bool settled = config.contains(old_name) || config.contains(new_name);
  if (settled) named_["extra"] = config.value(new_name, Json());
  if (config.contains(old_name) && named_["extra"].empty()) named_["extra"] = config[old_name];
  take(config);
  if (config.contains("added_tokens_decoder")) {
    for (const auto& [id, value] : config["added_tokens_decoder"].items()) {
      std::string where = file_ + ": added_tokens_decoder." + id;
      if (id.empty() || id.find_first_not_of("0123456789") != id.npos || id.size() > 9)
        fail(where + " is not a number.");
      auto t = written(value, where);
      if (!t) fail(where + " is null; wanted a token: an object with 'content'.");
      listed[std::stoll(id)] = t->token;
    }
  } else {
    if (Json map = folder.json("special_tokens_map.json"); !map.is_null()) {
      for (auto& [key, value] : map.items())
        if (value.is_object()) value["special"] = true;
      take(map);
      if (map.contains(old_name) && !settled) named_["extra"] = map[old_name];
      if (Json more = map.value(new_name, Json()); more.is_array()) {
        if (!settled || !named_["extra"].is_array()) named_["extra"] = Json::array();
        named_["extra"].insert(named_["extra"].end(), more.begin(), more.end());
      }
    }
    if (Json added = folder.json("added_tokens.json"); !added.is_null())
      for (const auto& [content, id] : added.items()) {
        bool special = std::any_of(named_.begin(), named_.end(), [&, &text = content](const Json& s) {
          return s == Json(text) || (s.is_object() && s.value("content", "") == text);
        });
        listed[number_of(id, folder.path("added_tokens.json") + ": token '" + content + "'")] = {
            .content = content, .normalized = !special, .special = special};
      }
    if (whole.is_object())
      for (const Json& value : whole.value("added_tokens", Json::array())) {
        const std::string where = folder.path("tokenizer.json") + ": added_tokens";
        auto t = written(value, where);
        if (!t || !value.contains("id") || !value["id"].is_number_integer())
          fail(where + " has " + value.dump() + "; wanted a token with 'id'.");
        listed[value["id"].get<int64_t>()] = t->token;
      }
  }

  // Those listed come first, by number; then the named ones that are not among them. A named token written as a plain
  // text is added again where it equals one written with flags, and as the later one it counts.
  std::vector<std::string> plain;
  auto content_listed = [&](const std::string& content) {
    return std::any_of(listed.begin(), listed.end(), [&](const auto& t) { return t.second.content == content; });
  };
  for (const auto& [id, token] : listed) added_.push_back(token);
  auto add = [&](const Json& value, const std::string& name) {
    auto t = written(value, file_ + ": " + name);
    if (!t || content_listed(t->token.content)) return;
    auto same = [&](const AddedToken& o) { return o.content == t->token.content; };
    if (t->flags ? std::any_of(added_.begin(), added_.end(), same)
                 : std::count(plain.begin(), plain.end(), t->token.content))
      return;
    t->token.special = true;
    added_.push_back(t->token);
    if (!t->flags) plain.push_back(t->token.content);
  };
  for (const char* name : names)
    if (named_.contains(name)) add(named_[name], name);
  if (const Json extra = named_.value("extra", Json()); !extra.is_null()) {
    if (!extra.is_array()) fail(file_ + ": extra_special_tokens is not a list of tokens.");
    for (const Json& value : extra) add(value, "extra_special_tokens");
  }
}

void SpecialTokens::number(const std::function<int64_t(const std::string&)>& find, int64_t size) {
  int64_t highest = -1;
  std::map<std::string, int64_t> ids;
  for (AddedToken& t : added_) {
    t.id = find(t.content);
    if (t.id < 0 && ids.contains(t.content)) t.id = ids[t.content];
    if (t.id < 0) t.id = highest >= size ? highest + 1 : size;
    highest = std::max(highest, ids[t.content] = t.id);
  }
}

std::string SpecialTokens::content(const char* name) const {
  auto t = written(named_.value(name, Json()), file_ + ": " + name);
  return t ? t->token.content : std::string();
}

int64_t SpecialTokens::id(const char* name) const {
  const std::string wanted = content(name);
  auto found = std::find_if(added_.rbegin(), added_.rend(), [&](const AddedToken& t) { return t.content == wanted; });
  if (found == added_.rend())
    fail(file_ + ": '" + name + "' is null, but a prompt cannot be encoded without it. → Name a token.");
  return found->id;
}

std::vector<AddedToken> last_of_each_number(const std::vector<AddedToken>& tokens) {
  std::vector<AddedToken> kept;
  for (const AddedToken& t : tokens) {
    std::erase_if(kept, [&](const AddedToken& o) { return o.id == t.id; });
    kept.push_back(t);
  }
  return kept;
}

}  // namespace t2i
