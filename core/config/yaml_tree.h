// YAML text as a plain tree that remembers where everything stood and whether a scalar was quoted.
//
// yaml-cpp does the parsing; built on its events rather than its nodes, because its nodes keep duplicate keys silently,
// forget quotes, and share aliased subtrees so that a walk of a small file can take for ever. Here a duplicate is an
// error, a plain `no` stays the text "no" until a knob's type decides, and a tree has at most 100,000 nodes, 20 deep.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.h"

namespace t2i {

struct YamlNode {
  enum Kind { null, scalar, list, map };
  struct Entry;
  Kind kind = null;
  std::string text;          // of a scalar, as written (quotes and escapes resolved)
  bool quoted = false;       // "5" is text whatever it looks like
  int line = 0, column = 0;  // from 1
  std::vector<YamlNode> items;
  std::vector<Entry> entries;
};

struct YamlNode::Entry {
  std::string key;
  int line = 0, column = 0;  // of the key
  YamlNode value;
};

struct YamlText {
  YamlNode root;  // of the first document; null when the text is empty
  std::vector<Error> errors;
};

inline constexpr int yaml_max_nodes = 100000;
inline constexpr int yaml_max_depth = 20;

// `name` stands for the file in messages. Errors E1002 (duplicate), E1004 (tab), E1005 (not text), E1006 (not YAML),
// E1013 (too large). Duplicates leave a usable tree (the first value wins); after any other error it is incomplete.
YamlText parse_yaml(const std::string& text, const std::string& name);

// The first byte that is not UTF-8, or that no text holds (E1005); empty for text.
std::vector<Error> text_problems(const std::string& text, const std::string& name);

// A scalar for an error message: `"16a"`, `null`, `a list`, `a map`.
std::string yaml_shown(const YamlNode& node);

}  // namespace t2i
