#include "core/config/yaml_tree.h"

#include <fmt/format.h>
#include <yaml-cpp/anchor.h>
#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <sstream>

namespace t2i {
namespace {

std::string place(const std::string& name, int line, int column) { return fmt::format("{}:{}:{}", name, line, column); }

struct Stop {};  // thrown by the builder through yaml-cpp when the tree is to be given up; the error is noted before

// Puts yaml-cpp's events together into a tree.
class Builder : public YAML::EventHandler {
  struct Frame {
    YamlNode node;
    YAML::anchor_t anchor;
    std::string path;                  // "train" while inside train:
    std::map<std::string, size_t> at;  // key → index in node.entries
    bool key_wanted = true;            // in a map: is the next scalar a key?
    bool duplicate = false;            // the coming value belongs to a key already set
    std::string key;
    int key_line = 0, key_column = 0;
  };
  struct Anchored {
    YamlNode node;
    int nodes = 0, depth = 0;
  };

  const std::string& name_;
  YamlText& out_;
  std::vector<Frame> open_;
  std::map<YAML::anchor_t, Anchored> anchors_;
  int nodes_ = 0;
  int documents_ = 0;

 public:
  Builder(const std::string& name, YamlText& out) : name_(name), out_(out) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1)
      stop(mark, "a second YAML document starts here", "Only one is read", "remove the line '---'", "E1006");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { take(leaf(mark, YamlNode::null), anchor); }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    YamlNode node = leaf(mark, YamlNode::scalar);
    node.text = text;
    node.quoted = tag == "!" || tag == "tag:yaml.org,2002:str";
    if (!node.quoted) refuse_tag(mark, tag);
    if (!node.quoted && (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL"))
      if (open_.empty() || open_.back().node.kind != YamlNode::map || !open_.back().key_wanted)
        node.kind = YamlNode::null;
    take(std::move(node), anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto known = anchors_.find(anchor);
    if (known == anchors_.end())
      stop(mark, "an alias stands inside its own anchor", "It would never end", "write the value out", "E1013");
    nodes_ += known->second.nodes - 1;
    limit(mark, static_cast<int>(open_.size()) + known->second.depth);
    YamlNode copy = known->second.node;
    copy.line = mark.line + 1, copy.column = mark.column + 1;
    take(std::move(copy), 0);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    start(mark, tag, anchor, YamlNode::list);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    start(mark, tag, anchor, YamlNode::map);
  }
  void OnSequenceEnd() override { end(); }
  void OnMapEnd() override { end(); }

 private:
  [[noreturn]] void stop(const YAML::Mark& mark, std::string what, std::string why, std::string todo, std::string id) {
    out_.errors.push_back({place(name_, mark.line + 1, mark.column + 1), std::move(what), std::move(why),
                           std::move(todo), std::move(id), Exit::config});
    throw Stop{};
  }

  void limit(const YAML::Mark& mark, int depth) {
    if (depth > yaml_max_depth)
      stop(mark, fmt::format("nested deeper than {} levels", yaml_max_depth), "", "write it flatter", "E1013");
    if (nodes_ > yaml_max_nodes)
      stop(mark, fmt::format("more than {} values, aliases counted as often as they are used", yaml_max_nodes),
           "A configuration has a few dozen", "remove the aliases", "E1013");
  }

  void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "?" && tag != "!")
      stop(mark, fmt::format("the tag {} is not supported", tag), "", "remove it", "E1006");
  }

  YamlNode leaf(const YAML::Mark& mark, YamlNode::Kind kind) {
    ++nodes_;
    limit(mark, static_cast<int>(open_.size()));
    YamlNode node;
    node.kind = kind, node.line = mark.line + 1, node.column = mark.column + 1;
    return node;
  }

  void start(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YamlNode::Kind kind) {
    refuse_tag(mark, tag);
    std::string path;
    if (!open_.empty()) {
      const Frame& in = open_.back();
      if (in.node.kind == YamlNode::map && in.key_wanted)
        stop(mark, "an unclosed bracket, or a list or map as a key", "", "close the bracket; keys are plain words",
             "E1006");
      path = in.node.kind == YamlNode::map ? (in.path.empty() ? in.key : in.path + "." + in.key) : in.path;
    }
    Frame frame;
    frame.node = leaf(mark, kind);
    frame.anchor = anchor;
    frame.path = std::move(path);
    open_.push_back(std::move(frame));
    limit(mark, static_cast<int>(open_.size()));
  }

  void end() {
    Frame done = std::move(open_.back());
    open_.pop_back();
    take(std::move(done.node), done.anchor);
  }

  static void measure(const YamlNode& node, int depth, Anchored& sum) {
    ++sum.nodes;
    sum.depth = std::max(sum.depth, depth);
    for (const YamlNode& item : node.items) measure(item, depth + 1, sum);
    for (const YamlNode::Entry& entry : node.entries) ++sum.nodes, measure(entry.value, depth + 1, sum);
  }

  // A node is complete: it goes into what is open.
  void take(YamlNode node, YAML::anchor_t anchor) {
    if (anchor) {
      Anchored kept;
      measure(node, 0, kept);
      nodes_ += kept.nodes;  // the kept copy takes memory too
      YAML::Mark mark;
      mark.line = node.line - 1, mark.column = node.column - 1;
      limit(mark, 0);
      kept.node = node;
      anchors_[anchor] = std::move(kept);
    }
    if (open_.empty()) {
      out_.root = std::move(node);
      return;
    }
    Frame& in = open_.back();
    if (in.node.kind == YamlNode::list) {
      in.node.items.push_back(std::move(node));
    } else if (in.key_wanted) {
      take_key(in, node);
    } else {
      take_value(in, std::move(node));
    }
  }

  void take_key(Frame& in, const YamlNode& node) {
    if (node.kind != YamlNode::scalar) {
      out_.errors.push_back({place(name_, node.line, node.column), "a key is empty, or not plain text", "",
                             "write key: value", "E1006", Exit::config});
      throw Stop{};
    }
    in.key = node.text, in.key_line = node.line, in.key_column = node.column;
    in.duplicate = in.at.count(in.key) != 0;
    in.key_wanted = false;
  }

  void take_value(Frame& in, YamlNode node) {
    in.key_wanted = true;
    if (node.kind == YamlNode::null && node.line != in.key_line)  // nothing written: yaml-cpp means the next line
      node.line = in.key_line, node.column = in.key_column;
    if (!in.duplicate) {
      in.at[in.key] = in.node.entries.size();
      in.node.entries.push_back({in.key, in.key_line, in.key_column, std::move(node)});
      return;
    }
    const YamlNode::Entry& first = in.node.entries[in.at[in.key]];
    std::string path = in.path.empty() ? in.key : in.path + "." + in.key;
    out_.errors.push_back({place(name_, in.key_line, in.key_column),
                           fmt::format("'{}' is already set at line {}", path, first.line), "",
                           fmt::format("remove one of them (line {} has {}, line {} has {})", first.line,
                                       yaml_shown(first.value), in.key_line, yaml_shown(node)),
                           "E1002", Exit::config});
  }
};

// Length of the UTF-8 sequence at text[i], or 0 where there is none (overlong forms and surrogates included).
size_t utf8_length(const std::string& text, size_t i) {
  auto byte = [&](size_t k) -> unsigned { return k < text.size() ? static_cast<unsigned char>(text[k]) : 0u; };
  auto follows = [&](size_t k) { return (byte(k) & 0xC0) == 0x80; };
  unsigned a = byte(i), b = byte(i + 1);
  if (a < 0x80) return 1;
  if (a >= 0xC2 && a <= 0xDF) return follows(i + 1) ? 2 : 0;
  if (a >= 0xE0 && a <= 0xEF) {
    bool sound = follows(i + 1) && follows(i + 2) && !(a == 0xE0 && b < 0xA0) && !(a == 0xED && b > 0x9F);
    return sound ? 3 : 0;
  }
  if (a >= 0xF0 && a <= 0xF4) {
    bool sound =
        follows(i + 1) && follows(i + 2) && follows(i + 3) && !(a == 0xF0 && b < 0x90) && !(a == 0xF4 && b > 0x8F);
    return sound ? 4 : 0;
  }
  return 0;
}

std::vector<Error> tab_problems(const std::string& text, const std::string& name) {
  int tabs = 0, first_line = 0, first_column = 0, line = 0;
  for (size_t start = 0; start < text.size();) {
    ++line;
    size_t end = std::min(text.find('\n', start), text.size());
    size_t content = std::min(text.find_first_not_of(" \t\r", start), end);
    size_t tab = text.find('\t', start);
    if (tab < content && tabs++ == 0) first_line = line, first_column = static_cast<int>(tab - start) + 1;
    start = end + 1;
  }
  if (tabs == 0) return {};
  std::string more = tabs > 1 ? fmt::format(" (in {} lines)", tabs) : "";
  return {{place(name, first_line, first_column), "tab used for indentation" + more + "; YAML allows only spaces", "",
           fmt::format("sed -i 's/\\t/  /g' {}", name), "E1004", Exit::config}};
}

}  // namespace

std::vector<Error> text_problems(const std::string& text, const std::string& name) {
  int line = 1;
  size_t line_start = 0;
  for (size_t i = 0; i < text.size();) {
    auto c = static_cast<unsigned char>(text[i]);
    size_t length = utf8_length(text, i);
    bool control = (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7F;
    if (length == 0 || control) {
      std::string what = length == 0 ? fmt::format("byte 0x{:02X} (offset {}) is not UTF-8", c, i)
                                     : fmt::format("control character 0x{:02X} (offset {})", c, i);
      return {{place(name, line, static_cast<int>(i - line_start) + 1), what, "Configurations are UTF-8 text",
               "save it as UTF-8", "E1005", Exit::config}};
    }
    if (c == '\n') ++line, line_start = i + 1;
    i += length;
  }
  return {};
}

YamlText parse_yaml(const std::string& text, const std::string& name) {
  YamlText out;
  out.errors = text_problems(text, name);
  if (out.errors.empty()) out.errors = tab_problems(text, name);
  if (!out.errors.empty()) return out;
  std::istringstream stream(text);
  Builder builder(name, out);
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Stop&) {
  } catch (const YAML::DeepRecursion& e) {
    out.errors.push_back({place(name, e.mark.line + 1, e.mark.column + 1),
                          fmt::format("nested deeper than {} levels", yaml_max_depth), "", "write it flatter", "E1013",
                          Exit::config});
  } catch (const YAML::Exception& e) {
    out.errors.push_back({place(name, e.mark.line + 1, e.mark.column + 1), "not valid YAML: " + e.msg, "",
                          "check indentation, quotes and brackets here and in the line above", "E1006", Exit::config});
  }
  return out;
}

std::string yaml_shown(const YamlNode& node) {
  if (node.kind == YamlNode::null) return "null";
  if (node.kind == YamlNode::list) return "a list";
  if (node.kind == YamlNode::map) return "a map";
  std::string text = node.text;
  if (text.size() > 60) {
    size_t cut = 57;
    while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;  // never half a character
    text = text.substr(0, cut) + "…";
  }
  return node.quoted ? '"' + text + '"' : text;
}

}  // namespace t2i
