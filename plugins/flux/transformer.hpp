// The transformer of FLUX.1 (Black Forest Labs 2024): diffusers' FluxTransformer2DModel, with the packing of latents
// that its pipelines do around it. A place of the picture is a square of 2 x 2 latents.
#pragma once
#include <string>
#include <vector>

#include "blocks.hpp"
#include "nn/timestep.hpp"

namespace flux {

struct TransformerConfig {
  static constexpr int64_t patch = 2;               // latents along one side of a place
  static constexpr int64_t packed = patch * patch;  // numbers of a place that one latent channel gives
  int64_t in_channels = 16, out_channels = 16;      // of latents; the file counts packed ones
  int64_t double_layers = 19, single_layers = 38;
  BlockSize size;
  int64_t context_width = 4096;  // of a text token
  int64_t pooled_width = 768;
  bool guidance = false;                     // is told how strongly to follow the prompt: distilled guidance
  std::vector<int64_t> axes = {16, 56, 56};  // how much of a head turns with (time, row, column)
};
// Throws t2i::Error with every problem, each naming `file`, key and value.
TransformerConfig read_transformer_config(const t2i::Json& json, const std::string& file);

// What the published single files call its parameters: sdk/NAMES.md, file_names().
t2i::Json transformer_file_names(const TransformerConfig& config);

// Is run by address (blocks are recomputed through pointers into it): neither moved nor copied.
class Transformer {
 public:
  Transformer(const t2i::Scope& s, const TransformerConfig& config);
  Transformer(const Transformer&) = delete;

  struct Input {
    t2i::Tensor latents;    // [B,in_channels,h,w], h and w even
    t2i::Tensor timesteps;  // [B], 0...1000
    t2i::Tensor guidance;   // [B], where the configuration has it
    t2i::Tensor context;    // [B,L,context_width]
    t2i::Tensor pooled;     // [B,pooled_width]
  };
  t2i::Tensor operator()(const Input& in) const;  // -> [B,out_channels,h,w]

 private:
  void check(const Input& in) const;
  t2i::Tensor told(const Input& in) const;  // time, guidance and pooled text: [B,W]
  Turns turns(int64_t tokens, int64_t rows, int64_t columns, const t2i::Tensor& like) const;

  TransformerConfig config_;
  t2i::Linear places_, context_, norm_out_, out_;
  t2i::TimestepEmbedding time_, guidance_, pooled_;
  std::vector<DoubleBlock> double_blocks_;
  std::vector<SingleBlock> single_blocks_;
};

}  // namespace flux
