// A unigram language model's best split of a word: the pieces whose scores add up to the most (Kudo 2018,
// arXiv:1804.10959, eq. 5, by Viterbi). A code point that no piece begins with costs more than any piece.
//
// Sums are doubles. Scores are float32, so that a double holds sums of them exactly: splits that weigh the same are
// told apart by their order alone, as the tokenizers library does. libsentencepiece adds in float32, and its rounding
// decides between "!!" "!!!" and "!!!" "!!": in 2 of 100 texts with repeated letters (1500 pieces, 2026-11-21) other
// tokens.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace t2i {

class Unigram {
 public:
  struct Piece {
    std::string text;
    double score;
  };
  Unigram() = default;
  // A piece's token is its place in `pieces`, of equal ones the last. `unknown` is the token of what no piece covers.
  Unigram(std::vector<Piece> pieces, int64_t unknown);

  // Appends the tokens of `word`, valid UTF-8. Unknown ones next to each other become one.
  void encode(std::string_view word, std::vector<int64_t>& tokens) const;
  int64_t find(std::string_view piece) const;  // its token, -1: there is none

 private:
  struct Entry {
    std::string text;
    double score;
    int64_t token;
  };
  template <class F>
  void each_prefix(std::string_view text, F&& found) const;

  std::vector<Entry> entries_;  // sorted by text
  int64_t unknown_ = -1;
  double unknown_score_ = 0;
};

}  // namespace t2i
