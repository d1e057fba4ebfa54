// What a UNet2DConditionModel's config.json says, checked and in the form the network is built from.
#pragma once
#include <t2i/functions.hpp>

#include <optional>
#include <string>
#include <vector>

namespace t2i {

enum class UnetBlock { plain, cross_attention, self_attention };  // what follows each residual block

// One resolution of the down or up path; lists over levels are in the order of the path.
struct UnetLevel {
  UnetBlock kind = UnetBlock::plain;
  int64_t channels = 0;
  int64_t layers = 2;                      // residual blocks going down; the up path has one more
  std::vector<int64_t> transformer_layers; // per residual block
  int64_t heads = 8;                       // of cross-attention; of self-attention it is the width of a head
  int64_t context_width = 768;
  bool only_cross_attention = false;
};

struct UnetConfig {
  int64_t in_channels = 4, out_channels = 4;
  std::optional<int64_t> sample_size;  // what the model was made for, in latent pixels
  bool center_input = false;
  bool cosine_first = true;
  double frequency_shift = 0;
  int64_t time_width = 0;
  std::optional<Activation> time_after, time_sum_activation;
  Activation activation = Activation::silu;
  std::vector<UnetLevel> down, up;
  bool has_mid = true, mid_attention = true;
  std::vector<int64_t> mid_transformer_layers;
  double mid_scale = 1;
  int64_t groups = 32;
  double eps = 1e-5;
  int64_t downsample_padding = 1;
  bool linear_projection = false;
  bool scale_and_shift = false;
  int64_t conv_in_kernel = 3, conv_out_kernel = 3;
  int64_t text_width = 0;           // of the text, where a linear layer projects it to context_width; 0: none does
  int64_t addition_time_width = 0;  // of each of time_ids' numbers; 0: no added embedding of pooled text and sizes
  int64_t addition_input_width = 0; // of pooled text and all of time_ids' sinusoids together

  // How wide the text is that it takes, and the key that says so.
  int64_t text_input() const { return text_width ? text_width : down.front().context_width; }
  const char* text_key() const { return text_width ? "encoder_hid_dim" : "cross_attention_dim"; }
};

// Throws t2i::Error with every problem, each naming `file`, key and value.
UnetConfig read_unet_config(const Json& json, const std::string& file);

// An activation by its name in configurations; supported: activation_names.
Activation activation_of(const std::string& name);
inline const std::vector<std::string> activation_names = {"silu", "swish", "gelu", "mish", "relu"};

}  // namespace t2i
