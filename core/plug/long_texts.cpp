#include "core/plug/long_texts.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

namespace t2i {
namespace {

constexpr size_t most_texts = 20'000, at_once = 64;

// What one tokenizer had to cut. Tokenizers that cut the same are told of together.
struct Cut {
  int64_t length = 0;  // that it gives
  size_t texts = 0, first = 0;
  int64_t most = 0;
  auto operator<=>(const Cut&) const = default;
};

// "tokens_2" is of the folder's tokenizer_2.
std::string tokenizer_of(const std::string& tokens) { return "tokenizer" + tokens.substr(std::string("tokens").size()); }

std::string shown(const TextAt& text) {
  constexpr size_t most = 40;
  if (!text.where.empty()) return text.where;
  std::string head = text.text.substr(0, most);
  while (text.text.size() > head.size() && !head.empty() && (text.text[head.size()] & 0xC0) == 0x80) head.pop_back();
  return "\"" + printable(head) + (text.text.size() > head.size() ? "…\"" : "\"");
}

// What tokenizers make of some texts: the length each gives, and how many tokens of each text it leaves out.
struct Some {
  std::map<std::string, int64_t> lengths;
  Tensors left_out;
};

std::vector<Some> tokenized(Model& model, const std::vector<TextAt>& texts, size_t looked_at) {
  std::vector<Some> made((looked_at + at_once - 1) / at_once);
  at::parallel_for(0, static_cast<int64_t>(made.size()), 1, [&](int64_t from, int64_t to) {
    for (size_t k = static_cast<size_t>(from); k < static_cast<size_t>(to); ++k) {
      std::vector<std::string> some;
      for (size_t i = k * at_once; i < std::min((k + 1) * at_once, looked_at); ++i) some.push_back(texts[i].text);
      for (const auto& [name, ids] : model.tokenize(some, &made[k].left_out)) made[k].lengths[name] = ids.size(-1);
    }
  });
  return made;
}

}  // namespace

std::vector<LongText> long_texts(Model& model, const std::vector<TextAt>& texts) {
  std::vector<LongText> out;
  const std::vector<Some> made = tokenized(model, texts, texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const Some& some = made[i / at_once];
    LongText least;
    least.index = i;
    for (const auto& [name, counts] : some.left_out) {
      const int64_t cut = counts[static_cast<int64_t>(i % at_once)].item<int64_t>();
      auto length = some.lengths.find(name);
      if (least.tokenizer.empty() || cut < least.cut)
        least.cut = cut, least.tokenizer = tokenizer_of(name), least.length = length == some.lengths.end() ? 0 : length->second;
    }
    if (least.cut > 0) out.push_back(std::move(least));
  }
  return out;
}

std::vector<std::string> long_texts_notices(Model& model, const std::vector<TextAt>& texts, const std::string& what) {
  std::map<std::string, Cut> by_name;
  const size_t looked_at = std::min(texts.size(), most_texts);
  const std::vector<Some> made = tokenized(model, texts, looked_at);
  for (size_t begin = 0; begin < looked_at; begin += at_once) {
    const Some& some = made[begin / at_once];
    for (const auto& [name, counts] : some.left_out) {
      Cut& cut = by_name[name];
      if (auto length = some.lengths.find(name); length != some.lengths.end()) cut.length = length->second;
      for (int64_t i = 0; i < counts.numel(); ++i) {
        const int64_t count = counts[i].item<int64_t>();
        if (count <= 0) continue;
        if (!cut.texts++) cut.first = begin + static_cast<size_t>(i);
        cut.most = std::max(cut.most, count);
      }
    }
  }
  std::map<Cut, std::vector<std::string>> tokenizers;
  for (const auto& [name, cut] : by_name)
    if (cut.texts) tokenizers[cut].push_back(tokenizer_of(name));
  std::vector<std::string> notices;
  for (const auto& [cut, names] : tokenizers)
    notices.push_back(fmt::format("{} of {}{} {} longer than the {} tokens of {}: what is beyond is not seen, {} tokens at most; the first is {}",
                                  cut.texts, texts.size() > looked_at ? "the first " : "", looked_at,
                                  looked_at == 1 ? what + " is" : what + "s are", cut.length, fmt::join(names, " and "), cut.most,
                                  shown(texts[cut.first])));
  return notices;
}

}  // namespace t2i
