// The files of a T5 tokenizer's folder, read and settled into one answer, as transformers 5 settles it: tokenizer.json
// where it is there, or else a SentencePiece model. Of tokenizer.json the vocabulary, the table of normalisation and
// the tokens count; its pipeline must be one that does what T5's own does, for that is what transformers puts in its
// place.
#pragma once
#include <string>
#include <vector>

#include "charsmap.hpp"
#include "special_tokens.hpp"
#include "unigram.hpp"

namespace t2i {

struct T5Files {
  Unigram unigram;
  Charsmap charsmap;
  std::vector<AddedToken> added;  // with numbers
  int64_t highest = 0;            // the highest number of a token
  int64_t end = 0, padding = 0;
  TokenizerSides sides;
};

// Throws t2i::Error that names file and key.
T5Files read_t5_files(const ReadFile& read, const std::string& folder);

}  // namespace t2i
