#include "t5_part.hpp"

#include "put_tokens.hpp"

namespace t2i {

Json t5_text_part() {
  // Of the published ones the last layers of feed-forwards exceed float16: transformers clamps what comes out there.
  return {{"role", "text_encoder"},
          {"dtypes", Json::array({"float32", "bfloat16"})},
          {"adapter_targets", Json::array({"*.SelfAttention.*"})},
          {"aliases", {{"shared.weight", "encoder.embed_tokens.weight"}}},
          {"ignored", Json::array({"encoder.embed_tokens.weight"})},
          // The last of a feed-forward is kept as transformers keeps it: what it takes in is larger than float16 has room for.
          {"not_quantized", Json::array({"shared.weight", "*relative_attention_bias.weight", "*.wo.weight"})}};
}

void T5Part::read(PartConfigs& parts) {
  shown_folder_ = parts.folder(tokenizer_folder_);
  parts.read(part_, "T5EncoderModel",
             [this](const Json& json, const std::string& file) { config_ = read_t5_config(json, file); });
}

void T5Part::tokenize(const Assets& assets, std::span<const char* const> texts, Sink out) {
  std::call_once(tokenizer_read_, [&] {
    tokenizer_ = std::make_unique<T5Tokenizer>(files_of(assets, tokenizer_folder_, shown_folder_), shown_folder_,
                                               config().vocabulary);
  });
  put_tokens(texts, out, tokens_, [&](const char* one, int64_t* cut) { return tokenizer_->encode(one, length_, cut); });
}

}  // namespace t2i
