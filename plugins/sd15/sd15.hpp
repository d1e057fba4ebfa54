// Stable Diffusion 1.x and models of its shape: a UNet2DConditionModel that works on the latents of an AutoencoderKL
// and looks at the last hidden state of one text model: a CLIPTextModel, or a T5EncoderModel in its place. A text that
// is not as wide as the UNet takes it can be projected: by the linear layer that diffusers' UNet has for that.
#pragma once
#include <t2i/functions.hpp>

#include <memory>
#include <string>

#include "nn/clip_part.hpp"
#include "nn/latent_family.hpp"
#include "nn/t5_part.hpp"
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
  bool has_text() const { return clip_.there() || t5_.there(); }
  void check_fit(const t2i::PartConfigs& parts, bool project_text);
  void fit_text(const t2i::PartConfigs& parts, bool project_text, t2i::Misfits& misfits);
  std::string description(const t2i::Json& config, const t2i::PartConfigs& parts) const;

  t2i::Assets assets_;
  t2i::UnetConfig unet_config_;
  bool new_projection_ = false;  // of the text, which the folder's UNet does not have
  t2i::ClipPart clip_{"text_encoder", "tokenizer", "tokens"};
  t2i::T5Part t5_{"text_encoder", "tokenizer", "tokens"};  // one of the two at most is there
  int64_t clip_skip_ = 0;
  std::string description_, file_names_;

  std::unique_ptr<t2i::Unet> unet_;
};

}  // namespace sd15
