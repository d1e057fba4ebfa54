// FLUX.1 dev and schnell: the transformer of transformer.hpp, which sees the tokens of a T5 encoder and is told a CLIP
// text model's pooled text; an autoencoder of 16 channels. Trained as a rectified flow; dev is also told how strongly
// to follow the prompt (Meng et al. 2023, arXiv:2210.03142), so that one prediction is enough.
#pragma once
#include <t2i/functions.hpp>

#include <memory>
#include <string>

#include "nn/clip_part.hpp"
#include "nn/latent_family.hpp"
#include "nn/t5_part.hpp"
#include "transformer.hpp"

namespace flux {

class Flux : public t2i::WithAutoencoder {
 public:
  // Reads every part's configuration; throws t2i::Error with all problems of all of them.
  Flux(const t2i::Json& config, t2i::Assets assets);
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
  TransformerConfig transformer_config_;
  t2i::ClipPart clip_{"text_encoder", "tokenizer", "tokens"};
  t2i::T5Part t5_{"text_encoder_2", "tokenizer_2", "tokens_2"};
  double guidance_ = 3.5, training_guidance_ = 1;
  std::string description_, file_names_;

  std::unique_ptr<Transformer> transformer_;
};

}  // namespace flux
