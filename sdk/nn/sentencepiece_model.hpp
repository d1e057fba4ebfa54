// A SentencePiece model file (spiece.model): a protobuf message, of which a few fields are needed, read by the wire
// format. The fields' numbers are those of sentencepiece_model.proto.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace t2i {

struct SentencePieceModel {
  enum Type { normal = 1, unknown_piece = 2, control = 3, user_defined = 4 };
  struct Piece {
    std::string text;
    float score = 0;
    int64_t type = normal;
  };
  std::vector<Piece> pieces;
  std::string charsmap;   // empty: texts stay as they are
  int64_t algorithm = 1;  // 1 unigram, 2 BPE, 3 words, 4 characters
  int64_t unknown = 0;    // the unknown token's number
  bool byte_fallback = false;
};

// `file` names it in errors: what is there in its place, or where it is cut off.
SentencePieceModel read_sentencepiece_model(std::string_view bytes, const std::string& file);

}  // namespace t2i
