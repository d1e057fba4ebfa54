#include "core/base/error.h"

#include <algorithm>
#include <numeric>

namespace t2i {

std::string to_string(const Error& e) {
  auto ended = [](std::string s) {
    if (!s.empty() && s.back() != '.' && s.back() != '!' && s.back() != '?') s += '.';
    return s;
  };
  std::string line = e.where.empty() ? "" : e.where + ": ";
  line += ended(e.what);
  if (!e.why.empty()) line += " " + ended(e.why);
  if (!e.todo.empty()) line += " → " + e.todo;
  if (!e.id.empty()) line += "  [T2I-" + e.id + "]";
  return printable(line);
}

Failure::Failure(std::vector<Error> all) : errors(std::move(all)) {
  for (const Error& e : errors) text_ += (text_.empty() ? "" : "\n") + to_string(e);
}

std::optional<std::string> nearest(const std::string& name, const std::vector<std::string>& known) {
  auto distance = [](const std::string& a, const std::string& b) {  // Levenshtein, one row
    std::vector<size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 1; i <= a.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i;
      for (size_t j = 1; j <= b.size(); ++j) {
        size_t above = row[j];
        row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
        diagonal = above;
      }
    }
    return row[b.size()];
  };
  std::optional<std::string> best;
  size_t best_distance = name.size() / 3 + 2;  // a third of the letters may be wrong
  for (const std::string& k : known) {
    size_t d = distance(name, k);
    if (d < best_distance) best = k, best_distance = d;
  }
  return best;
}

std::string printable(const std::string& text) {
  std::string out;
  out.reserve(text.size());
  for (unsigned char c : text) {
    if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
      out += '?';
    else
      out += static_cast<char>(c);
  }
  return out;
}

}  // namespace t2i
