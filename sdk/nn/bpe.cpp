// Merging goes through a queue instead of scanning the word for the best pair again and again: a word of n bytes costs
// n log n, so that a prompt of one endless word cannot stall a loader thread.
#include "bpe.hpp"

#include <t2i/t2i.hpp>

#include <queue>

#include "unicode.hpp"

namespace t2i {
namespace {

struct Symbol {
  int64_t token;
  int previous, next;  // positions, -1: none
  bool alive = true;
};
struct Candidate {
  int64_t rank, result;
  int left;
  bool operator<(const Candidate& o) const { return std::tie(o.rank, o.left) < std::tie(rank, left); }
};

uint64_t key(int64_t left, int64_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

std::string visible_byte(uint8_t byte) {
  auto shown = [](int b) { return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae; };
  char32_t c = byte;
  if (!shown(byte)) {
    c = 256;
    for (int b = 0; b < byte; ++b) c += !shown(b);
  }
  std::string text;
  append_code_point(text, c);
  return text;
}

Bpe::Bpe(Vocabulary vocabulary, const Merges& merges, int64_t unknown, const std::string& where)
    : vocabulary_(std::move(vocabulary)), unknown_(unknown) {
  auto id = [&](const std::string& token) {
    auto it = vocabulary_.find(token);
    return it == vocabulary_.end() ? -1 : it->second;
  };
  for (int b = 0; b < 256; ++b) {
    std::string text = visible_byte(static_cast<uint8_t>(b));
    inner_[static_cast<size_t>(b)] = id(text);
    last_[static_cast<size_t>(b)] = id(text + "</w>");
  }
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    int64_t l = id(left), r = id(right), both = id(left + right);
    if (l < 0 || r < 0 || both < 0)
      fail(where + ": merge " + std::to_string(rank + 1) + " joins '" + left + "' and '" + right + "', but '" +
           (l < 0 ? left : r < 0 ? right : left + right) +
           "' is not in the vocabulary. → Take both files from the same tokenizer.");
    merges_[key(l, r)] = {static_cast<int64_t>(rank), both};
  }
}

const Bpe::Merge* Bpe::find(int64_t left, int64_t right) const {
  auto it = merges_.find(key(left, right));
  return it == merges_.end() ? nullptr : &it->second;
}

void Bpe::encode(std::string_view word, std::vector<int64_t>& tokens) const {
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  for (size_t i = 0; i < word.size(); ++i) {
    auto byte = static_cast<uint8_t>(word[i]);
    int64_t token = i + 1 == word.size() ? last_[byte] : inner_[byte];
    if (token < 0) token = unknown_;
    if (token < 0) fail("the tokenizer has neither a token for byte " + std::to_string(byte) + " nor an unknown token");
    int at = static_cast<int>(i);
    symbols.push_back({token, at - 1, i + 1 == word.size() ? -1 : at + 1});
  }

  std::priority_queue<Candidate> queue;
  auto offer = [&](int left) {
    if (left < 0 || symbols[static_cast<size_t>(left)].next < 0) return;
    const Symbol& a = symbols[static_cast<size_t>(left)];
    if (const Merge* m = find(a.token, symbols[static_cast<size_t>(a.next)].token)) queue.push({m->rank, m->result, left});
  };
  for (size_t i = 0; i + 1 < symbols.size(); ++i) offer(static_cast<int>(i));
  while (!queue.empty()) {
    Candidate best = queue.top();
    queue.pop();
    Symbol& a = symbols[static_cast<size_t>(best.left)];
    if (!a.alive || a.next < 0) continue;
    Symbol& b = symbols[static_cast<size_t>(a.next)];
    const Merge* now = find(a.token, b.token);
    if (!now || now->result != best.result) continue;  // a neighbour was merged since
    a.token = best.result;
    b.alive = false;
    a.next = b.next;
    if (b.next >= 0) symbols[static_cast<size_t>(b.next)].previous = best.left;
    offer(a.previous);
    offer(best.left);
  }
  for (const Symbol& s : symbols)
    if (s.alive) tokens.push_back(s.token);
}

}  // namespace t2i
