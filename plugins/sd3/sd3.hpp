// Stable Diffusion 3 and 3.5: the transformer of mmdit.hpp, two CLIP text models side by side and T5 behind them in the
// sequence, an autoencoder of 16 channels. Trained as a rectified flow.
#pragma once
#include <t2i/functions.hpp>

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "mmdit.hpp"
#include "nn/autoencoder_kl.hpp"
#include "nn/clip_text.hpp"
#include "nn/clip_tokenizer.hpp"

namespace sd3 {

class Sd3 {
 public:
  // Reads every part's configuration; throws t2i::Error with all problems of all of them.
  Sd3(const t2i::Json& config, t2i::Assets assets);
  const char* describe() const { return description_.c_str(); }
  void build(std::string_view part, t2i::Scope scope);

  void forward(t2i::Named in, t2i::Sink out);
  void tokenize(std::span<const char* const> texts, t2i::Sink out);
  void encode_text(t2i::Named in, t2i::Sink out);
  void encode_image(t2i::Named in, t2i::Sink out);
  void decode_image(t2i::Named in, t2i::Sink out);
  t2i::Tensor scale_latents(t2i::Tensor sample) const;

 private:
  // One of the CLIP models; `config` is empty where the folder has none.
  struct Text {
    const char *part, *tokenizer_folder, *tokens;
    std::optional<t2i::ClipTextConfig> config{};
    std::once_flag tokenizer_read{};
    std::unique_ptr<t2i::ClipTokenizer> tokenizer{};
    std::unique_ptr<t2i::ClipText> model{};
  };

  void check_fit() const;
  std::string description(const t2i::Json& config) const;
  t2i::ClipText::Output encoded(const Text& text, t2i::Named in) const;

  t2i::Assets assets_;
  MmditConfig transformer_config_;
  std::optional<t2i::AutoencoderConfig> vae_config_;
  Text text_1_{"text_encoder", "tokenizer", "tokens"}, text_2_{"text_encoder_2", "tokenizer_2", "tokens_2"};
  int64_t clip_skip_ = 0, t5_length_ = 256;
  std::string description_;

  std::unique_ptr<Mmdit> transformer_;
  std::unique_ptr<t2i::AutoencoderKL> vae_;
};

}  // namespace sd3
