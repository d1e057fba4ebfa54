// Which tokens of a tokenizer are special or were added, by the small files beside its vocabulary:
// tokenizer_config.json, special_tokens_map.json, added_tokens.json and the added tokens of tokenizer.json. Which of
// them decides what is the order in which transformers 5 looks at them, the same for every kind of tokenizer.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "added_tokens.hpp"
#include "tokenizer_folder.hpp"

namespace t2i {

class SpecialTokens {
 public:
  // `defaults`: the tokens that the tokenizer's class has where the files name none, by name ("eos_token": "</s>"), and
  // under "extra" a list of further ones.
  SpecialTokens(const TokenizerFolder& folder, Json defaults);

  // Gives every token its number: find(content) is that in the vocabulary, -1 where it has none, and then it is the
  // next free one from `size` up.
  void number(const std::function<int64_t(const std::string&)>& find, int64_t size);

  std::string content(const char* name) const;                     // "" where there is none
  int64_t id(const char* name) const;                              // throws where there is none
  const std::vector<AddedToken>& added() const { return added_; }  // of equal ones the last counts

 private:
  std::string file_;
  Json named_;
  std::vector<AddedToken> added_;
};

// Tokens by number, of equal numbers the last one.
std::vector<AddedToken> last_of_each_number(const std::vector<AddedToken>& tokens);

}  // namespace t2i
