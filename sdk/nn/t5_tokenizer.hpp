// T5's tokenizer as published folders have it and transformers 5 uses it: text → the added tokens in it taken out → the
// rest normalised → words, each with "▁" before it → pieces of a unigram model; behind them the token of an end, then
// padding.
//
// The folder holds tokenizer.json or spiece.model (tokenizer.model); beside them tokenizer_config.json,
// special_tokens_map.json and added_tokens.json are honoured as transformers honours them. Errors are thrown as
// t2i::Error and name file and key. A tokenizer that was built is constant: any number of threads may use it.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "added_tokens.hpp"
#include "charsmap.hpp"
#include "tokenizer_folder.hpp"
#include "unigram.hpp"

namespace t2i {

class T5Tokenizer {
 public:
  // `folder`: "tokenizer_3". `vocabulary`: how many tokens the text encoder has embeddings for.
  T5Tokenizer(const ReadFile& read, const std::string& folder, int64_t vocabulary);

  // Exactly `length` tokens: text (cut where it is too long), end, padding. The encoder has no limit of its own;
  // pipelines have one (SD3: 256, FLUX: 512). `cut`: how many were left out.
  std::vector<int64_t> encode(std::string_view text, int64_t length, int64_t* cut = nullptr) const;
  // The text's own tokens, however many: neither end nor padding.
  std::vector<int64_t> tokens(std::string_view text) const;

 private:
  Unigram unigram_;
  Charsmap charsmap_;
  AddedTokens added_;
  int64_t end_ = 1, padding_ = 0;
  bool pad_left_ = false, cut_left_ = false;
};

}  // namespace t2i
