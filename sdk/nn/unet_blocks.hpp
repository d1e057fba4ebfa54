// The levels of a UNet: residual blocks, each followed by attention where the level has it, and the change of size.
#pragma once
#include <optional>
#include <vector>

#include "resnet.hpp"
#include "transformer_2d.hpp"
#include "unet_config.hpp"

namespace t2i {

// What every level sees beside the image.
struct UnetConditions {
  Tensor time;     // [B,time_width], activated
  Tensor context;  // [B,S,context_width]
};

struct UnetStage {
  std::vector<ResnetBlock2D> resnets;
  std::vector<Transformer2D> transformers;  // one for each residual block, or none
  std::vector<SpatialAttention> attentions; // likewise
  // `inputs`: how many channels each residual block takes.
  UnetStage(const Scope& s, const UnetConfig& u, const UnetLevel& level, const std::vector<int64_t>& inputs);
  Tensor layer(size_t i, const Tensor& x, const UnetConditions& c, const Tensor& skip = {}) const;
};

struct UnetDown {
  UnetStage stage;
  std::optional<Downsample2D> downsampler;
  UnetDown(const Scope& s, const UnetConfig& u, const UnetLevel& level, int64_t in, bool last);
  // Appends what the way up will need to `skips`.
  Tensor operator()(Tensor x, const UnetConditions& c, std::vector<Tensor>& skips) const;
};

struct UnetMid {
  std::vector<ResnetBlock2D> resnets;  // one, or two with attention between
  std::optional<Transformer2D> attention;
  UnetMid(const Scope& s, const UnetConfig& u);
  Tensor operator()(Tensor x, const UnetConditions& c) const;
};

struct UnetUp {
  UnetStage stage;
  std::optional<Upsample2D> upsampler;
  // `previous`: channels from below; `skip`: of the last skip, which comes from the next finer level.
  UnetUp(const Scope& s, const UnetConfig& u, const UnetLevel& level, int64_t previous, int64_t skip, bool last);
  // Takes its skips from the end of `skips`.
  Tensor operator()(Tensor x, const UnetConditions& c, std::vector<Tensor>& skips) const;
};

}  // namespace t2i
