#include "added_tokens.hpp"

#include <algorithm>

#include "unicode.hpp"

namespace t2i {
namespace {

// Where the last code point before `end` begins.
size_t previous(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) --at;
  return at;
}
size_t without_spaces_before(std::string_view text, size_t end) {
  while (end > 0) {
    size_t at = previous(text, end), after = at;
    if (!is_space(next_code_point(text, after))) break;
    end = at;
  }
  return end;
}
size_t without_spaces_behind(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    size_t after = begin;
    if (!is_space(next_code_point(text, after))) break;
    begin = after;
  }
  return begin;
}
bool inside_word(std::string_view text, size_t begin, size_t end) {
  if (begin > 0) {
    size_t at = previous(text, begin);
    if (is_word(next_code_point(text, at))) return true;
  }
  return end < text.size() && is_word(next_code_point(text, end));
}

const AddedToken* longest_at(const std::vector<AddedToken>& tokens, std::string_view text, size_t at) {
  const AddedToken* best = nullptr;
  for (const AddedToken& t : tokens)
    if (text.substr(at).starts_with(t.content) && (!best || t.content.size() > best->content.size())) best = &t;
  return best;
}

void split_by(const std::vector<AddedToken>& tokens, std::string_view text, std::vector<Stretch>& out) {
  size_t taken = 0;  // everything before is in `out`
  for (size_t at = 0; at < text.size();) {
    const AddedToken* t = longest_at(tokens, text, at);
    if (!t) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + t->content.size();
    at = end;
    if (t->single_word && inside_word(text, begin, end)) continue;
    if (t->left_strip) begin = std::max(without_spaces_before(text, begin), taken);
    // A token that follows is looked for from here, not from behind the stripped spaces: they may begin it.
    if (t->right_strip) end = without_spaces_behind(text, end);
    if (taken < begin) out.push_back({-1, std::string(text.substr(taken, begin - taken))});
    out.push_back({t->id, {}});
    taken = end;
  }
  if (taken < text.size()) out.push_back({-1, std::string(text.substr(taken))});
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Normalise& normalise) {
  for (AddedToken& t : tokens) {
    if (t.normalized) t.content = normalise(t.content);
    if (!t.content.empty()) (t.normalized ? normalised_ : raw_).push_back(std::move(t));
  }
}

std::vector<Stretch> AddedTokens::split(std::string_view text, const Normalise& normalise) const {
  std::vector<Stretch> coarse, fine;
  split_by(raw_, text, coarse);
  for (Stretch& s : coarse) {
    if (s.token >= 0)
      fine.push_back(std::move(s));
    else
      split_by(normalised_, normalise(s.text), fine);
  }
  return fine;
}

}  // namespace t2i
