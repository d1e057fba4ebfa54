// The multimodal diffusion transformer of Stable Diffusion 3 and 3.5 (Esser et al. 2024, arXiv:2403.03206, §4 and fig. 2):
// diffusers' SD3Transformer2DModel. Text and picture have weights of their own and attend to each other.
#pragma once
#include <t2i/functions.hpp>

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "nn/timestep.hpp"

namespace sd3 {

struct MmditConfig {
  int64_t sample_size = 128, patch = 2, in_channels = 16, out_channels = 16;
  int64_t layers = 18, heads = 18, head_width = 64;
  int64_t context_width = 4096;   // of a text token
  int64_t pooled_width = 2048;
  int64_t places = 96;            // positions along one side that the table of positions has
  std::set<int64_t> dual_layers;  // with a second attention over the picture alone (3.5 medium)
  bool qk_norm = false;           // root-mean-square norms of queries and keys (3.5)
  int64_t width() const { return heads * head_width; }
};
// Throws t2i::Error with every problem, each naming `file`, key and value.
MmditConfig read_mmdit_config(const t2i::Json& json, const std::string& file);

// What the published single files call its parameters: sdk/NAMES.md, file_names().
t2i::Json mmdit_file_names(const MmditConfig& config);

// One modality's projections within an attention.
struct Projections {
  t2i::Scope scope;
  t2i::Linear q, k, v;
  t2i_param norm_q = T2I_NO_PARAM, norm_k = T2I_NO_PARAM;
};

struct MmditBlock {
  t2i::Scope scope;
  std::string name;
  bool last, dual;  // the last block does not change the text
  int64_t heads, head_width;
  t2i::Linear norm1, norm1_context, to_out, to_add_out, ff_in, ff_out, ff_context_in, ff_context_out, to_out2;
  Projections picture, text, alone;

  MmditBlock(const t2i::Scope& s, const MmditConfig& c, bool is_last, bool is_dual);
  // x [B,N,width], context [B,L,width], emb [B,width] (before its activation) -> {x, context}.
  std::array<t2i::Tensor, 2> operator()(const t2i::Tensor& x, const t2i::Tensor& context, const t2i::Tensor& emb) const;

 private:
  std::array<t2i::Tensor, 2> body(const t2i::Tensor& x, const t2i::Tensor& context, const t2i::Tensor& emb) const;
  std::array<t2i::Tensor, 3> project(const Projections& p, const t2i::Tensor& x) const;
};

// Is run by address (blocks are recomputed through pointers into it): neither moved nor copied.
class Mmdit {
 public:
  Mmdit(const t2i::Scope& s, const MmditConfig& config);
  Mmdit(const Mmdit&) = delete;
  // latents [B,in_channels,h,w], timesteps [B] (0...1000), context [B,L,context_width], pooled [B,pooled_width]
  // -> [B,out_channels,h,w].
  t2i::Tensor operator()(const t2i::Tensor& latents, const t2i::Tensor& timesteps, const t2i::Tensor& context,
                         const t2i::Tensor& pooled) const;

 private:
  t2i::Tensor positions(int64_t rows, int64_t columns) const;  // [1,rows*columns,width]

  t2i::Scope scope_;
  MmditConfig config_;
  t2i::Conv2d patches_;
  t2i_param positions_;
  t2i::TimestepEmbedding time_, pooled_;
  t2i::Linear context_, norm_out_, out_;
  std::vector<MmditBlock> blocks_;
};

}  // namespace sd3
