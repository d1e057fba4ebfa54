// The denoiser of Stable Diffusion 1 and 2 and of their larger kin: diffusers' UNet2DConditionModel.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "timestep.hpp"
#include "unet_blocks.hpp"

namespace t2i {

struct UnetInputs {
  Tensor latents;    // [B,in_channels,H,W]
  Tensor timesteps;  // [B]
  Tensor context;    // [B,S,text_input()]
  Tensor pooled{};   // [B,P], where the configuration has an added embedding
  Tensor time_ids{}; // [B,6], likewise
};

// Is run by address (blocks are recomputed through pointers into it): neither moved nor copied.
class Unet {
 public:
  Unet(const Scope& s, const UnetConfig& config);
  Unet(const Unet&) = delete;
  Tensor operator()(const UnetInputs& in) const;  // [B,out_channels,H,W]

 private:
  Tensor time_embedding_of(const UnetInputs& in) const;

  UnetConfig config_;
  Conv2d conv_in_, conv_out_;
  TimestepEmbedding time_embedding_;
  std::optional<TimestepEmbedding> add_embedding_;
  std::optional<Linear> text_projection_;
  std::vector<UnetDown> down_;
  std::optional<UnetMid> mid_;
  std::vector<UnetUp> up_;
  GroupNorm conv_norm_out_;
};

}  // namespace t2i
