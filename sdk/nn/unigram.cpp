#include "unigram.hpp"

#include <algorithm>

#include "unicode.hpp"

namespace t2i {

Unigram::Unigram(std::vector<Piece> pieces, int64_t unknown) : unknown_(unknown) {
  entries_.reserve(pieces.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    unknown_score_ = i ? std::min(unknown_score_, pieces[i].score) : pieces[i].score;
    entries_.push_back({std::move(pieces[i].text), pieces[i].score, static_cast<int64_t>(i)});
  }
  unknown_score_ -= 10;  // sentencepiece's penalty
  std::sort(entries_.begin(), entries_.end(),
            [](const Entry& a, const Entry& b) { return a.text != b.text ? a.text < b.text : a.token > b.token; });
  entries_.erase(
      std::unique(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) { return a.text == b.text; }),
      entries_.end());
}

int64_t Unigram::find(std::string_view piece) const {
  auto at = std::lower_bound(entries_.begin(), entries_.end(), piece,
                             [](const Entry& e, std::string_view p) { return e.text < p; });
  return at == entries_.end() || at->text != piece ? -1 : at->token;
}

// Calls found(entry) for each piece that `text` begins with, the shortest first: the sorted pieces are narrowed to
// those that agree with it in one more byte, and the first of these is the one that has no further byte.
template <class F>
void Unigram::each_prefix(std::string_view text, F&& found) const {
  auto low = entries_.begin(), high = entries_.end();
  for (size_t n = 0; n < text.size() && low != high; ++n) {
    auto byte = [n](const Entry& e) { return n < e.text.size() ? static_cast<unsigned char>(e.text[n]) : -1; };
    int wanted = static_cast<unsigned char>(text[n]);
    low = std::partition_point(low, high, [&](const Entry& e) { return byte(e) < wanted; });
    high = std::partition_point(low, high, [&](const Entry& e) { return byte(e) == wanted; });
    if (low != high && low->text.size() == n + 1) found(*low);
  }
}

void Unigram::encode(std::string_view word, std::vector<int64_t>& tokens) const {
  struct Best {  // of the splits that end here
    size_t begin = 0;
    double score = 0;
    int64_t token = -1;  // the last one, -1: none ends here yet
  };
  std::vector<Best> best(word.size() + 1);
  for (size_t at = 0; at < word.size();) {
    const double before = best[at].score;
    auto offer = [&](size_t end, double score, int64_t token) {
      Best& b = best[end];
      if (b.token < 0 || score + before > b.score) b = {at, score + before, token};
    };
    size_t next = at;
    next_code_point(word, next);
    bool covered = false;
    each_prefix(word.substr(at), [&](const Entry& e) {
      size_t end = at + e.text.size();
      offer(end, e.score, e.token);
      covered |= end == next;
    });
    if (!covered) offer(next, unknown_score_, unknown_);
    at = next;
  }
  const auto first = static_cast<std::ptrdiff_t>(tokens.size());
  for (size_t end = word.size(); end > 0; end = best[end].begin)
    if (best[end].token != unknown_ || static_cast<std::ptrdiff_t>(tokens.size()) == first || tokens.back() != unknown_)
      tokens.push_back(best[end].token);
  std::reverse(tokens.begin() + first, tokens.end());
}

}  // namespace t2i
