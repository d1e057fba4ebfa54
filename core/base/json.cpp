#include "core/base/json.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "core/base/file.h"
#include "core/base/number_text.h"

namespace t2i {
namespace {

// Iterates the text and tells where it is: the parser's events carry no position, and a key that comes twice needs one.
struct Cursor {
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;
  const char* at = nullptr;
  const char** last = nullptr;
  reference operator*() const { return *at; }
  Cursor& operator++() {
    ++at;
    if (last) *last = at;
    return *this;
  }
  Cursor operator++(int) {
    Cursor before = *this;
    ++*this;
    return before;
  }
  bool operator==(const Cursor& other) const { return at == other.at; }
  bool operator!=(const Cursor& other) const { return at != other.at; }
};

// Builds the value from the parser's events, refusing what the parser itself would let pass.
struct Builder {
  using number_integer_t = Json::number_integer_t;
  using number_unsigned_t = Json::number_unsigned_t;
  using number_float_t = Json::number_float_t;
  using string_t = Json::string_t;
  using binary_t = Json::binary_t;

  const int max_depth;
  Json root;
  std::vector<Json*> open;  // the arrays and objects around the next value
  Json* slot = nullptr;     // of the member whose key was just read
  std::string problem;
  std::ptrdiff_t position = -1;  // of the parser's own errors; −1: where the cursor is
  bool at_key = false;

  explicit Builder(int depth) : max_depth(depth) {}

  Json* put(Json value) {
    if (open.empty()) return root = std::move(value), &root;
    if (open.back()->is_array()) {
      open.back()->push_back(std::move(value));
      return &open.back()->back();
    }
    return *slot = std::move(value), slot;
  }
  bool begin(Json container) {
    if (static_cast<int>(open.size()) >= max_depth) {
      problem = "more than " + std::to_string(max_depth) + " arrays and objects within each other";
      return false;
    }
    open.push_back(put(std::move(container)));
    return true;
  }
  bool end() { return open.pop_back(), true; }

  bool null() { return put(nullptr), true; }
  bool boolean(bool v) { return put(v), true; }
  bool number_integer(number_integer_t v) { return put(v), true; }
  bool number_unsigned(number_unsigned_t v) { return put(v), true; }
  bool number_float(number_float_t v, const string_t&) { return put(v), true; }
  bool string(string_t& v) { return put(std::move(v)), true; }
  bool binary(binary_t&) { return false; }
  bool start_object(size_t) { return begin(Json::object()); }
  bool end_object() { return end(); }
  bool start_array(size_t) { return begin(Json::array()); }
  bool end_array() { return end(); }
  bool key(string_t& name) {
    auto [member, fresh] = open.back()->get_ref<Json::object_t&>().emplace(name, nullptr);
    slot = &member->second;
    if (fresh) return true;
    problem = "the key '" + name + "' comes twice in one object";
    at_key = true;
    return false;
  }
  bool parse_error(size_t where, const string_t&, const nlohmann::detail::exception& e) {
    position = static_cast<std::ptrdiff_t>(where);
    problem = e.what();
    for (std::string_view lead :
         {"] ", "syntax error while parsing ", " - "})  // keeps what is wrong, not how it was found
      if (size_t at = problem.find(lead); at != problem.npos) problem.erase(0, at + lead.size());
    if (size_t from = problem.find("; last read: '"); from != problem.npos) {  // the place is said better by its column
      size_t to = problem.rfind("'; expected");
      problem.erase(from, (to == problem.npos ? problem.size() : to + 1) - from);
    }
    problem = "not valid JSON: " + problem;
    return false;
  }
};

constexpr std::string_view python_words[] = {"-Infinity", "Infinity", "NaN"};

// The words as texts. A column told later in the same line is two too far per word: published files have one key a line.
std::string quote_python_words(std::string_view text) {
  std::string out;
  bool in_string = false;
  for (size_t i = 0; i < text.size();) {
    std::string_view rest = text.substr(i), found;
    if (!in_string)
      for (std::string_view word : python_words)
        if (found.empty() && rest.starts_with(word)) found = word;
    if (!found.empty()) {
      out.append("\"").append(found).append("\"");
      i += found.size();
      continue;
    }
    if (text[i] == '"') in_string = !in_string;
    size_t count = in_string && text[i] == '\\' ? 2 : 1;
    out += text.substr(i, count);
    i += count;
  }
  return out;
}

}  // namespace

Result<Json> parse_json(std::string_view text, const std::string& where, const JsonRules& rules) {
  if (rules.python_numbers && text.size() <= rules.max_bytes) {
    JsonRules plain = rules;
    plain.python_numbers = false;
    return parse_json(quote_python_words(text), where, plain);
  }
  auto error = [&](const std::string& place, std::string what, std::string why, std::string todo) {
    return Error{place, std::move(what), std::move(why), std::move(todo), rules.id, Exit::bad_data};
  };
  if (text.size() > rules.max_bytes)
    return error(where,
                 "JSON of " + bytes_text(text.size()) + " is larger than the " + bytes_text(rules.max_bytes) +
                     " that are read here",
                 "", "check that this is the right file");
  const char* last = text.data();
  Builder builder(rules.max_depth);
  if (Json::sax_parse(Cursor{text.data(), &last}, Cursor{text.data() + text.size()}, &builder))
    return std::move(builder.root);

  // The offending byte is the last that was read; of a key, its opening quote.
  std::ptrdiff_t offset = builder.position >= 0 ? builder.position - 1 : last - text.data() - 1;
  offset = std::clamp<std::ptrdiff_t>(offset, 0, static_cast<std::ptrdiff_t>(text.size()));
  if (builder.at_key) {
    auto escaped = [&](std::ptrdiff_t at) {
      std::ptrdiff_t slashes = 0;
      while (at - slashes > 0 && text[at - slashes - 1] == '\\') ++slashes;
      return slashes % 2 == 1;
    };
    do --offset;
    while (offset > 0 && (text[offset] != '"' || escaped(offset)));
  }
  std::string_view before = text.substr(0, offset);
  size_t line = rules.first_line + std::count(before.begin(), before.end(), '\n');
  size_t column = offset - (before.rfind('\n') == before.npos ? 0 : before.rfind('\n') + 1) + 1;
  std::string place = where + ":" + std::to_string(line) + ":" + std::to_string(column);

  std::string why, todo = "correct the file there, or get it anew";
  std::string_view rest = text.substr(before.size());
  std::string_view word =
      text.substr(before.find_last_of(" \t\r\n,:[{") == before.npos ? 0 : before.find_last_of(" \t\r\n,:[{") + 1);
  if (rest.starts_with('\'') || word.starts_with("True") || word.starts_with("False") || word.starts_with("None")) {
    why = "It looks like a Python dict, not JSON";
    todo = "write it with json.dumps";
  } else if (word.starts_with("NaN") || word.starts_with("Infinity") || word.starts_with("-Infinity")) {
    why = "JSON has no NaN or Infinity";
    todo = "write a number or null";
  } else if (rest.empty() || builder.problem.find("unexpected end of input") != std::string::npos) {
    todo = "get the file anew: it is cut short";
  } else if (builder.at_key) {
    todo = "remove one of the two";
  }
  return error(place, builder.problem, why, todo);
}

Result<Json> read_json(const std::string& path, const JsonRules& rules) {
  Result<std::string> text = read_file(path, rules.max_bytes);
  if (!text) return text.error();
  return parse_json(*text, path, rules);
}

std::string python_json(const Json& value) {
  std::string text = value.dump(2, ' ', true) + "\n";
  for (std::string_view word : python_words) {
    std::string quoted = ": \"" + std::string(word) + "\"";
    for (size_t at = text.find(quoted); at != text.npos; at = text.find(quoted, at))
      text.replace(at, quoted.size(), ": " + std::string(word));
  }
  return text;
}

}  // namespace t2i
