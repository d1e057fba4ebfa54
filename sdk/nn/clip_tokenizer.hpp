// CLIP's tokenizer as published folders have it: text → NFC, single spaces, lower case → words → byte pairs, between a
// token of start and one of end, padded to a fixed length.
//
// The folder holds tokenizer.json, or vocab.json and merges.txt; beside them tokenizer_config.json,
// special_tokens_map.json and added_tokens.json are honoured as transformers honours them. Errors are thrown as
// t2i::Error and name file and key. A tokenizer that was built is constant: any number of threads may use it.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "added_tokens.hpp"
#include "bpe.hpp"
#include "tokenizer_folder.hpp"

namespace t2i {

class ClipTokenizer {
 public:
  // `folder`: "tokenizer". `positions`: how many tokens the text encoder has places for; the length of the tokenizer's
  // answers where its files do not set one. `vocabulary`: how many tokens the encoder has embeddings for.
  ClipTokenizer(const ReadFile& read, const std::string& folder, int64_t positions, int64_t vocabulary);

  // Exactly length() tokens: start, text (cut where it is too long), end, padding. `cut`: how many were left out.
  std::vector<int64_t> encode(std::string_view text, int64_t* cut = nullptr) const;
  // The text's own tokens, however many: neither start nor end nor padding.
  std::vector<int64_t> tokens(std::string_view text) const;
  int64_t length() const { return length_; }

 private:
  Bpe bpe_;
  AddedTokens added_;
  int64_t start_ = 0, end_ = 0, padding_ = 0, length_ = 77;
  bool pad_left_ = false, cut_left_ = false;
};

}  // namespace t2i
