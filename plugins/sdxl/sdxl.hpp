// Stable Diffusion XL (Podell et al. 2023, arXiv:2307.01952): a UNet2DConditionModel that looks at the penultimate
// hidden states of two CLIP text models side by side, and is told the second one's pooled text and the picture's sizes
// beside the timestep. The refiner is the same with the second text model alone and an aesthetic score in place of the
// target size.
#pragma once
#include <t2i/functions.hpp>

#include <memory>
#include <string>

#include "nn/clip_part.hpp"
#include "nn/latent_family.hpp"
#include "nn/unet.hpp"

namespace sdxl {

class Sdxl : public t2i::WithAutoencoder {
 public:
  // Reads every part's configuration; throws t2i::Error with all problems of all of them.
  Sdxl(const t2i::Json& config, t2i::Assets assets);
  const char* describe() const { return description_.c_str(); }
  const char* file_names();
  void build(std::string_view part, t2i::Scope scope);

  void forward(t2i::Named in, t2i::Sink out);
  void tokenize(std::span<const char* const> texts, t2i::Sink out);
  void encode_text(t2i::Named in, t2i::Sink out);

 private:
  bool is_refiner() const { return text_2_.there() && !text_1_.there(); }
  void check_fit(const t2i::PartConfigs& parts) const;
  std::string description(const t2i::Json& config) const;
  t2i::ClipText::Wanted wanted_of_the_first() const;  // text model
  t2i::Tensor sizes_for_the_unet(const t2i::Tensor& time_ids) const;

  t2i::Assets assets_;
  t2i::UnetConfig unet_config_;
  t2i::ClipPart text_1_{"text_encoder", "tokenizer", "tokens"}, text_2_{"text_encoder_2", "tokenizer_2", "tokens_2"};
  int64_t clip_skip_ = 0;
  std::string description_, file_names_;

  std::unique_ptr<t2i::Unet> unet_;
};

}  // namespace sdxl
