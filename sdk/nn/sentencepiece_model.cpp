#include "sentencepiece_model.hpp"

#include <t2i/t2i.hpp>

#include <bit>

#include "unicode.hpp"

namespace t2i {
namespace {

// The fields of a message, one after another.
class Fields {
 public:
  Fields(std::string_view bytes, const std::string& file) : rest_(bytes), file_(file) {}

  bool next() {
    if (rest_.empty()) return false;
    uint64_t key = varint();
    number = key >> 3, type = key & 7;
    if (number == 0) broken("a field has the number 0");
    if (type == 0) value = varint();
    else if (type == 1) bytes = take(8);
    else if (type == 2) bytes = take(varint());
    else if (type == 5) bytes = take(4);
    else broken("a field has the unknown type " + std::to_string(type));
    return true;
  }
  bool is(uint64_t wanted_number, uint64_t wanted_type) const { return number == wanted_number && type == wanted_type; }

  uint64_t number = 0, type = 0, value = 0;
  std::string_view bytes;

 private:
  [[noreturn]] void broken(const std::string& why) const {
    fail(file_ + ": not a SentencePiece model, or one that is cut off: " + why +
         ". → Download the file again; it belongs to the published model's tokenizer.");
  }
  uint64_t varint() {
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      auto byte = static_cast<unsigned char>(take(1)[0]);
      v |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return v;
    }
    broken("a number is longer than 10 bytes");
  }
  std::string_view take(uint64_t n) {
    if (n > rest_.size())
      broken("a field ends " + std::to_string(n - rest_.size()) + " bytes behind the end of what holds it");
    std::string_view taken = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return taken;
  }

  std::string_view rest_;
  const std::string& file_;
};

SentencePieceModel::Piece read_piece(std::string_view bytes, const std::string& file) {
  SentencePieceModel::Piece p;
  for (Fields f(bytes, file); f.next();) {
    if (f.is(1, 2)) p.text = f.bytes;
    if (f.is(2, 5)) {
      uint32_t bits = 0;
      for (size_t i = 4; i-- > 0;) bits = bits << 8 | static_cast<unsigned char>(f.bytes[i]);
      p.score = std::bit_cast<float>(bits);
    }
    if (f.is(3, 0)) p.type = static_cast<int64_t>(f.value);
  }
  return p;
}

}  // namespace

SentencePieceModel read_sentencepiece_model(std::string_view bytes, const std::string& file) {
  SentencePieceModel m;
  bool has_trainer = false, has_normalizer = false;
  for (Fields f(bytes, file); f.next();) {
    if (f.is(1, 2)) m.pieces.push_back(read_piece(f.bytes, file));
    if (f.is(2, 2)) {
      has_trainer = true;
      for (Fields t(f.bytes, file); t.next();) {
        if (t.is(3, 0)) m.algorithm = static_cast<int64_t>(t.value);
        if (t.is(35, 0)) m.byte_fallback = t.value != 0;
        if (t.is(40, 0)) m.unknown = static_cast<int64_t>(t.value);
      }
    }
    if (f.is(3, 2)) {
      has_normalizer = true;
      for (Fields n(f.bytes, file); n.next();)
        if (n.is(2, 2)) m.charsmap = n.bytes;
    }
  }
  // They are written behind the pieces: a file that was cut off between two pieces has neither.
  if (m.pieces.empty() || !has_trainer || !has_normalizer)
    fail(file + ": not a SentencePiece model, or one that is cut off: it has " + std::to_string(m.pieces.size()) +
         " pieces, " + (has_trainer ? "a" : "no") + " trainer_spec and " + (has_normalizer ? "a" : "no") +
         " normalizer_spec. → Download the file again; it belongs to the published model's tokenizer.");
  for (size_t i = 0; i < m.pieces.size(); ++i)
    if (m.pieces[i].text.empty() || find_invalid_utf8(m.pieces[i].text) != std::string::npos)
      fail(file + ": piece " + std::to_string(i) + " is empty or not UTF-8. → Download the file again.");
  return m;
}

}  // namespace t2i
