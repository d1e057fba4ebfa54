#include "clip_tokenizer.hpp"

#include <t2i/t2i.hpp>

#include <algorithm>
#include <array>

#include "tokenizer_files.hpp"
#include "unicode.hpp"

namespace t2i {
namespace {

std::string normalise(std::string_view text) {
  std::string composed = nfc(text), spaced;
  spaced.reserve(composed.size());
  bool in_space = false;
  for (size_t at = 0; at < composed.size();) {
    size_t begin = at;
    bool space = is_space(next_code_point(composed, at));
    if (space && !in_space) spaced += ' ';
    if (!space) spaced.append(composed, begin, at - begin);
    in_space = space;
  }
  return lower_case(spaced);
}

// Calls found(word) for each word of normalised text: an English contraction's tail, a run of letters, one digit, a run
// of anything else that is not space.
template <class F>
void each_word(std::string_view text, F&& found) {
  using namespace std::string_view_literals;
  static constexpr std::array tails = {"'s"sv, "'t"sv, "'re"sv, "'ve"sv, "'m"sv, "'ll"sv, "'d"sv};
  // Where special tokens go by other names, these two are still cut apart from what is behind them, and then into
  // punctuation, letters, punctuation.
  static constexpr std::array markers = {"<|startoftext|>"sv, "<|endoftext|>"sv};
  for (size_t at = 0; at < text.size();) {
    std::string_view rest = text.substr(at);
    auto begins = [&](std::string_view s) { return rest.starts_with(s); };
    if (auto m = std::find_if(markers.begin(), markers.end(), begins); m != markers.end()) {
      found(m->substr(0, 2)), found(m->substr(2, m->size() - 4)), found(m->substr(m->size() - 2));
      at += m->size();
      continue;
    }
    if (auto t = std::find_if(tails.begin(), tails.end(), begins); t != tails.end()) {
      found(*t);
      at += t->size();
      continue;
    }
    size_t begin = at;
    char32_t c = next_code_point(text, at);
    if (is_space(c)) continue;
    auto run = [&](auto&& belongs) {
      for (size_t next = at; next < text.size(); at = next)
        if (!belongs(next_code_point(text, next))) break;
    };
    if (is_letter(c))
      run(is_letter);
    else if (!is_number(c))
      run([](char32_t o) { return !is_space(o) && !is_letter(o) && !is_number(o); });
    found(text.substr(begin, at - begin));
  }
}

}  // namespace

ClipTokenizer::ClipTokenizer(const ReadFile& read, const std::string& folder, int64_t positions, int64_t vocabulary) {
  TokenizerFiles files = read_tokenizer_files(read, folder);
  start_ = files.start, end_ = files.end, padding_ = files.padding;
  pad_left_ = files.sides.pad_left, cut_left_ = files.sides.cut_left;
  length_ = files.sides.length ? files.sides.length : positions;
  if (length_ > positions)
    fail(folder + "/tokenizer_config.json: model_max_length is " + std::to_string(length_) +
         ", but the text encoder has " + std::to_string(positions) +
         " places (max_position_embeddings). → Take tokenizer and text encoder from the same model.");
  int64_t highest = 0;
  for (const auto& [token, id] : files.bpe.vocabulary()) highest = std::max(highest, id);
  for (const AddedToken& t : files.added) highest = std::max(highest, t.id);
  check_vocabulary(folder, highest, vocabulary);
  bpe_ = std::move(files.bpe);
  added_ = AddedTokens(std::move(files.added), normalise);
}

std::vector<int64_t> ClipTokenizer::tokens(std::string_view text) const {
  if (size_t at = find_invalid_utf8(text); at != text.npos)
    fail("the text is not UTF-8 at byte " + std::to_string(at) + ". → Save it as UTF-8.");
  std::vector<int64_t> tokens;
  for (const Stretch& s : added_.split(text, normalise)) {
    if (s.token >= 0)
      tokens.push_back(s.token);
    else
      each_word(s.text, [&](std::string_view word) { bpe_.encode(word, tokens); });
  }
  return tokens;
}

std::vector<int64_t> ClipTokenizer::encode(std::string_view text, int64_t* cut) const {
  std::vector<int64_t> t = tokens(text);
  auto room = static_cast<size_t>(length_ - 2);
  if (cut) *cut = static_cast<int64_t>(t.size() - std::min(t.size(), room));
  if (t.size() > room) t.erase(cut_left_ ? t.begin() : t.begin() + static_cast<std::ptrdiff_t>(room),
                               cut_left_ ? t.end() - static_cast<std::ptrdiff_t>(room) : t.end());
  t.insert(t.begin(), start_);
  t.push_back(end_);
  t.insert(pad_left_ ? t.begin() : t.end(), static_cast<size_t>(length_) - t.size(), padding_);
  return t;
}

}  // namespace t2i
