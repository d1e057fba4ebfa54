// Stable Diffusion 1.x and models of its shape: a UNet2DConditionModel that works on the latents of an AutoencoderKL
// and looks at the last hidden state of one CLIPTextModel.
#pragma once
#include <t2i/functions.hpp>

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "nn/clip_text.hpp"
#include "nn/clip_tokenizer.hpp"
#include "nn/latent_family.hpp"
#include "nn/unet.hpp"

namespace sd15 {

class Sd15 : public t2i::WithAutoencoder {
 public:
  // Reads every part's configuration; throws t2i::Error with all problems of all of them.
  Sd15(const t2i::Json& config, t2i::Assets assets);
  const char* describe() const { return description_.c_str(); }
  const char* file_names();
  void build(std::string_view part, t2i::Scope scope);

  void forward(t2i::Named in, t2i::Sink out);
  void tokenize(std::span<const char* const> texts, t2i::Sink out);
  void encode_text(t2i::Named in, t2i::Sink out);

 private:
  void check_fit(const t2i::PartConfigs& parts) const;
  std::string description(const t2i::Json& config) const;
  const t2i::ClipTokenizer& tokenizer();

  t2i::Assets assets_;
  t2i::UnetConfig unet_config_;
  std::optional<t2i::ClipTextConfig> text_config_;
  int64_t clip_skip_ = 0;
  std::string description_, file_names_;

  std::once_flag tokenizer_read_;  // on first use: commands that never see a text need not parse a vocabulary
  std::unique_ptr<t2i::ClipTokenizer> tokenizer_;
  std::unique_ptr<t2i::Unet> unet_;
  std::unique_ptr<t2i::ClipText> text_encoder_;
};

}  // namespace sd15
