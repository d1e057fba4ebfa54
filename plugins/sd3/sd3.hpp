// Stable Diffusion 3 and 3.5: the transformer of mmdit.hpp, two CLIP text models side by side and T5 behind them in the
// sequence, an autoencoder of 16 channels. Trained as a rectified flow.
#pragma once
#include <t2i/functions.hpp>

#include <memory>
#include <string>

#include "mmdit.hpp"
#include "nn/clip_part.hpp"
#include "nn/latent_family.hpp"
#include "nn/t5_part.hpp"

namespace sd3 {

class Sd3 : public t2i::WithAutoencoder {
 public:
  // Reads every part's configuration; throws t2i::Error with all problems of all of them.
  Sd3(const t2i::Json& config, t2i::Assets assets);
  const char* describe() const { return description_.c_str(); }
  const char* file_names();
  void build(std::string_view part, t2i::Scope scope);

  void forward(t2i::Named in, t2i::Sink out);
  void tokenize(std::span<const char* const> texts, t2i::Sink out);
  void encode_text(t2i::Named in, t2i::Sink out);

 private:
  void check_fit(const t2i::PartConfigs& parts) const;
  std::string description(const t2i::Json& config) const;

  t2i::Assets assets_;
  MmditConfig transformer_config_;
  t2i::ClipPart text_1_{"text_encoder", "tokenizer", "tokens"}, text_2_{"text_encoder_2", "tokenizer_2", "tokens_2"};
  t2i::T5Part text_3_{"text_encoder_3", "tokenizer_3", "tokens_3"};
  int64_t clip_skip_ = 0;
  std::string description_, file_names_;

  std::unique_ptr<Mmdit> transformer_;
};

}  // namespace sd3
