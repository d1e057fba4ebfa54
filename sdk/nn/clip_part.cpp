#include "clip_part.hpp"

#include "put_tokens.hpp"

namespace t2i {

void ClipPart::read(PartConfigs& parts, const char* class_name, const char* or_else) {
  shown_folder_ = parts.folder(tokenizer_folder_);
  auto reader = [this](const Json& json, const std::string& file) { config_ = read_clip_text_config(json, file); };
  parts.read(part_, class_name, reader, or_else);
}

void ClipPart::build(const Scope& scope, bool with_projection) {
  model_ = std::make_unique<ClipText>(scope, config(), with_projection);
}

void ClipPart::tokenize(const Assets& assets, std::span<const char* const> texts, Sink out) {
  std::call_once(tokenizer_read_, [&] {
    tokenizer_ = std::make_unique<ClipTokenizer>(files_of(assets, tokenizer_folder_, shown_folder_), shown_folder_,
                                                 config().positions, config().vocabulary);
  });
  put_tokens(texts, out, tokens_, [&](const char* one, int64_t* cut) { return tokenizer_->encode(one, cut); });
}

ClipText::Output ClipPart::encode(Named in, const ClipText::Wanted& wanted) const {
  return built(model_, part_)(in[tokens_], wanted);
}

Json ClipPart::unused(const ClipText::Wanted& wanted) const {
  Json patterns = Json::array();
  if (wanted.pooled) return patterns;  // it passes through every layer
  for (int64_t i = config().layers - wanted.skip; i < config().layers; ++i) patterns.push_back("*encoder.layers." + std::to_string(i) + ".*");
  if (!wanted.final_norm) patterns.push_back("*final_layer_norm.*");
  return patterns;
}

}  // namespace t2i
