// SentencePiece's table of normalisation, as a model file carries it ("precompiled charsmap"), applied as the
// tokenizers library applies it: where a grapheme shorter than 6 bytes begins with an entry, the entry's text takes the
// place of the whole grapheme; elsewhere each code point is looked up alone. (SentencePiece itself takes the longest
// entry at each place: what differs are marks on letters that have an entry of their own.)
//
// The table's bytes: u32 the length of a trie, the trie, replacement texts with a NUL behind each. The trie is a
// darts-clone double array of u32; its values are offsets among the texts.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace t2i {

class Charsmap {
 public:
  Charsmap() = default;
  // Empty bytes: a table that changes nothing. `where` names the table in errors.
  Charsmap(std::string_view bytes, std::string where);

  std::string normalise(std::string_view text) const;  // of valid UTF-8

 private:
  // What replaces the shortest entry that `text` begins with.
  std::optional<std::string_view> find(std::string_view text) const;
  [[noreturn]] void broken() const;

  std::vector<uint32_t> trie_;
  std::string texts_, where_;
};

}  // namespace t2i
