// CLIP's text model: transformers' CLIPTextModel and CLIPTextModelWithProjection.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "norm.hpp"

namespace t2i {

struct ClipTextConfig {
  int64_t vocabulary = 49408, width = 512, inner_width = 2048, layers = 12, heads = 8, positions = 77;
  int64_t projection_width = 512;
  Activation activation = Activation::quick_gelu;
  double eps = 1e-5;
  int64_t end_token = 49407;  // 2: whichever token of a text has the highest number
};
// Throws t2i::Error with every problem, each naming `file`, key and value.
ClipTextConfig read_clip_text_config(const Json& json, const std::string& file);

struct ClipTextLayer {
  Scope scope;
  std::string name;
  LayerNorm layer_norm1, layer_norm2;
  Linear q_proj, k_proj, v_proj, out_proj, fc1, fc2;
  int64_t heads;
  Activation activation;
  ClipTextLayer(const Scope& s, const ClipTextConfig& c);
  Tensor operator()(const Tensor& x) const;  // [B,L,width]; one block of the core
};

// Is run by address (blocks are recomputed through pointers into it): neither moved nor copied. Names carry
// "text_model." as published files do; files written by transformers 5 leave it out.
class ClipText {
 public:
  ClipText(const Scope& s, const ClipTextConfig& config, bool with_projection = false);
  ClipText(const ClipText&) = delete;

  struct Output {
    Tensor hidden;  // [B,L,width] after all layers but the last `skip`, through the final norm if asked
    Tensor pooled;  // [B,width], or [B,projection_width] where there is a projection; only if asked
  };
  struct Wanted {
    int64_t skip = 0;
    bool final_norm = true;
    bool pooled = false;
  };
  Output operator()(const Tensor& tokens, const Wanted& wanted) const;  // tokens [B,L] int64

 private:
  Tensor pooled_of(const Tensor& last, const Tensor& tokens) const;

  Scope scope_;
  ClipTextConfig config_;
  t2i_param token_embedding_, position_embedding_;
  std::vector<ClipTextLayer> layers_;
  LayerNorm final_layer_norm_;
  std::optional<Linear> text_projection_;
};

}  // namespace t2i
