// Texts that a model's tokenizers must cut: counted ahead and told of once, since nothing else would show it.
#pragma once
#include <string>
#include <vector>

#include "core/plug/model.h"

namespace t2i {

struct TextAt {
  std::string text, where;  // "metadata.jsonl:7"; empty: the text itself is shown
};

// A sentence, or one per length where tokenizers differ: how many of the texts are too long for which tokenizer, by how
// much, and where the first of them is. Empty where all fit. Looks at the first 20,000, on all threads: that takes about a second.
std::vector<std::string> long_texts_notices(Model& model, const std::vector<TextAt>& texts,
                                            const std::string& what);

// A text of which no tokenizer takes all.
struct LongText {
  size_t index = 0;             // in `texts`
  int64_t length = 0, cut = 0;  // tokens that the widest tokenizer takes, special ones among them, and those beyond
  std::string tokenizer;
};
std::vector<LongText> long_texts(Model& model, const std::vector<TextAt>& texts);  // of all of them

}  // namespace t2i
