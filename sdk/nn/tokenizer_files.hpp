// The files of a CLIP tokenizer's folder, read and settled into one answer: which of them decides what is the order in
// which transformers 5 looks at them.
#pragma once
#include <array>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "added_tokens.hpp"
#include "bpe.hpp"

namespace t2i {

struct TokenizerFiles {
  Bpe bpe;
  std::vector<AddedToken> added;  // with ids; the last of equal ones counts
  int64_t start = 0, end = 0, padding = 0;
  int64_t length = 0;     // model_max_length, 0: not said
  bool pad_left = false;  // padding_side
  bool cut_left = false;  // truncation_side
};

// Throws t2i::Error that names file and key.
TokenizerFiles read_tokenizer_files(const std::function<std::string_view(const std::string&)>& read,
                                    const std::string& folder);

}  // namespace t2i
