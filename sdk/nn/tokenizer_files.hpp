// The files of a CLIP tokenizer's folder, read and settled into one answer.
#pragma once
#include <string>
#include <vector>

#include "bpe.hpp"
#include "special_tokens.hpp"

namespace t2i {

struct TokenizerFiles {
  Bpe bpe;
  std::vector<AddedToken> added;  // with numbers
  int64_t start = 0, end = 0, padding = 0;
  TokenizerSides sides;
};

// Throws t2i::Error that names file and key.
TokenizerFiles read_tokenizer_files(const ReadFile& read, const std::string& folder);

}  // namespace t2i
