// What tokenize() of a model hands back for one tokenizer: the ids of some texts, and how much of each did not fit.
#pragma once
#include <t2i/t2i.hpp>

#include <span>
#include <string>
#include <vector>

namespace t2i {

// Puts `name` [n,L] and `name`_cut [n], int64. `encode(text, &cut)` gives the L ids of a text, and the tokens left out.
template <class Encode>
void put_tokens(std::span<const char* const> texts, Sink out, const std::string& name, Encode encode) {
  std::vector<int64_t> tokens, cut(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    std::vector<int64_t> row = encode(texts[i], &cut[i]);
    tokens.insert(tokens.end(), row.begin(), row.end());
  }
  const int64_t n = static_cast<int64_t>(texts.size());
  const std::vector<int64_t> shape{n, n ? static_cast<int64_t>(tokens.size()) / n : 0}, each{n};
  out.put(name, tensor(std::span<const int64_t>(tokens), shape));
  out.put(name + "_cut", tensor(std::span<const int64_t>(cut), each));
}

}  // namespace t2i
