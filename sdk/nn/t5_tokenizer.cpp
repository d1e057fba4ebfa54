#include "t5_tokenizer.hpp"

#include <t2i/t2i.hpp>

#include "t5_files.hpp"
#include "unicode.hpp"

namespace t2i {
namespace {

constexpr std::string_view mark = "▁";  // U+2581, before each word

// Calls found(word) for each run of anything but spaces in normalised text, with a mark before it. A mark that is in
// the text (where the table of normalisation makes no space of it) begins a word too.
template <class F>
void each_word(std::string_view text, F&& found) {
  std::string word;
  auto end_word = [&] {
    if (!word.empty()) found(word);
    word.clear();
  };
  for (size_t at = 0; at < text.size();) {
    size_t begin = at;
    char32_t c = next_code_point(text, at);
    std::string_view letter = text.substr(begin, at - begin);
    if (is_space(c) || letter == mark) end_word();
    if (is_space(c)) continue;
    if (word.empty()) word = mark;
    if (letter != mark) word += letter;
  }
  end_word();
}

}  // namespace

T5Tokenizer::T5Tokenizer(const ReadFile& read, const std::string& folder, int64_t vocabulary) {
  T5Files files = read_t5_files(read, folder);
  end_ = files.end, padding_ = files.padding;
  pad_left_ = files.sides.pad_left, cut_left_ = files.sides.cut_left;
  check_vocabulary(folder, files.highest, vocabulary);
  unigram_ = std::move(files.unigram);
  charsmap_ = std::move(files.charsmap);
  added_ = AddedTokens(std::move(files.added), [this](std::string_view t) { return charsmap_.normalise(t); });
}

std::vector<int64_t> T5Tokenizer::tokens(std::string_view text) const {
  if (size_t at = find_invalid_utf8(text); at != text.npos)
    fail("the text is not UTF-8 at byte " + std::to_string(at) + ". → Save it as UTF-8.");
  std::vector<int64_t> tokens;
  for (const Stretch& s : added_.split(text, [this](std::string_view t) { return charsmap_.normalise(t); })) {
    if (s.token >= 0) tokens.push_back(s.token);
    else each_word(s.text, [&](std::string_view word) { unigram_.encode(word, tokens); });
  }
  return tokens;
}

std::vector<int64_t> T5Tokenizer::encode(std::string_view text, int64_t length, int64_t* cut) const {
  if (length < 1) fail("a text of " + std::to_string(length) + " tokens has no room for its end; wanted at least 1");
  std::vector<int64_t> t = tokens(text);
  auto room = static_cast<size_t>(length - 1);
  if (cut) *cut = static_cast<int64_t>(t.size() - std::min(t.size(), room));
  if (t.size() > room && cut_left_) t.erase(t.begin(), t.end() - static_cast<std::ptrdiff_t>(room));
  if (t.size() > room) t.resize(room);
  t.push_back(end_);
  t.insert(pad_left_ ? t.begin() : t.end(), static_cast<size_t>(length) - t.size(), padding_);
  return t;
}

}  // namespace t2i
