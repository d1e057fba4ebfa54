// Byte-pair encoding of one word: its bytes become symbols, the last with "</w>" behind it, and neighbours are joined
// by the table of merges, lowest rank first, leftmost first among equals.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace t2i {

class Bpe {
 public:
  using Vocabulary = std::unordered_map<std::string, int64_t>;
  using Merges = std::vector<std::pair<std::string, std::string>>;  // by rank

  Bpe() = default;
  // `unknown` is the id of a byte that the vocabulary does not have, -1 when there is none. `where` names the merges'
  // file in errors: a merge whose parts or result are not in the vocabulary is one.
  Bpe(Vocabulary vocabulary, const Merges& merges, int64_t unknown, const std::string& where);

  // Appends the tokens of `word` (any bytes, not empty).
  void encode(std::string_view word, std::vector<int64_t>& tokens) const;
  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  struct Merge {
    int64_t rank, result;
  };
  const Merge* find(int64_t left, int64_t right) const;

  Vocabulary vocabulary_;
  std::unordered_map<uint64_t, Merge> merges_;  // by (left << 32 | right)
  std::array<int64_t, 256> inner_{}, last_{};   // a byte's token inside a word and at its end, -1: not there
  int64_t unknown_ = -1;
};

// How a byte is written in the vocabulary: printable bytes as themselves, the others as code points from 256 up, so
// that every token is visible text. UTF-8.
std::string visible_byte(uint8_t byte);

}  // namespace t2i
