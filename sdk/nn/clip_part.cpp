#include "clip_part.hpp"

namespace t2i {

void ClipPart::read(PartConfigs& parts, const char* class_name) {
  parts.read(part_, class_name,
             [this](const Json& json, const std::string& file) { config_ = read_clip_text_config(json, file); });
}

void ClipPart::build(const Scope& scope, bool with_projection) {
  model_ = std::make_unique<ClipText>(scope, config(), with_projection);
}

void ClipPart::tokenize(const Assets& assets, std::span<const char* const> texts, Sink out) {
  std::call_once(tokenizer_read_, [&] {
    auto read = [&](const std::string& path) { return assets.read(path); };
    tokenizer_ = std::make_unique<ClipTokenizer>(read, tokenizer_folder_, config().positions, config().vocabulary);
  });
  std::vector<int64_t> tokens, shape = {static_cast<int64_t>(texts.size()), tokenizer_->length()};
  for (const char* one : texts) {
    std::vector<int64_t> row = tokenizer_->encode(one);
    tokens.insert(tokens.end(), row.begin(), row.end());
  }
  out.put(tokens_, tensor(std::span<const int64_t>(tokens), shape));
}

ClipText::Output ClipPart::encode(Named in, const ClipText::Wanted& wanted) const {
  return built(model_, part_)(in[tokens_], wanted);
}

}  // namespace t2i
