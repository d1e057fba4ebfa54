// Tokens that are found in the text as they are, before it is split into words: the special ones and those that
// someone added to a trained tokenizer.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace t2i {

struct AddedToken {
  std::string content;
  int64_t id = -1;
  bool normalized = false;   // looked for in the normalised text, not in the raw one
  bool special = true;
  bool left_strip = false;   // takes the spaces before it along
  bool right_strip = false;  // and those behind it
  bool single_word = false;  // not inside a word
};

// A stretch of text: a token, or (token < 0) ordinary text.
struct Stretch {
  int64_t token;
  std::string text;  // of ordinary text
};

class AddedTokens {
 public:
  using Normalise = std::function<std::string(std::string_view)>;
  AddedTokens() = default;
  AddedTokens(std::vector<AddedToken> tokens, const Normalise& normalise);

  // The text in order, its ordinary stretches normalised. Of several tokens that begin at the same place the longest.
  std::vector<Stretch> split(std::string_view text, const Normalise& normalise) const;

 private:
  std::vector<AddedToken> raw_, normalised_;
};

}  // namespace t2i
