#include "unet_config.hpp"

#include <algorithm>

#include "config_reader.hpp"

namespace t2i {
namespace {

using Names = std::vector<std::string>;
const Names down_names = {"DownBlock2D", "CrossAttnDownBlock2D", "AttnDownBlock2D"};
const Names up_names = {"UpBlock2D", "CrossAttnUpBlock2D", "AttnUpBlock2D"};

UnetBlock kind_of(const std::string& name) {
  if (name.starts_with("CrossAttn")) return UnetBlock::cross_attention;
  return name.starts_with("Attn") ? UnetBlock::self_attention : UnetBlock::plain;
}

// One level's entry of transformer_layers_per_block: a number for all residual blocks, or one for each.
std::vector<int64_t> spread(const Json& entry, int64_t blocks) {
  if (entry.is_number_integer()) return std::vector<int64_t>(static_cast<size_t>(blocks), entry.get<int64_t>());
  if (!entry.is_array() || static_cast<int64_t>(entry.size()) < blocks) return {};
  std::vector<int64_t> out;
  for (const Json& i : entry)
    if (i.is_number_integer()) out.push_back(i.get<int64_t>());
  return out;
}

void read_transformer_layers(ConfigReader& c, UnetConfig& u) {
  const char *key = "transformer_layers_per_block", *up_key = "reverse_transformer_layers_per_block";
  const Json one = 1;
  const Json *down = c.raw(key), *up = c.raw(up_key);
  if (!down) down = &one;
  size_t n = u.down.size();
  auto entry = [&](const Json& list, size_t i) -> const Json& { return list.is_array() ? list[i] : list; };
  auto good = [&](const Json& list) {
    auto positive = [](const Json& i) { return i.is_number_integer() && i.get<int64_t>() > 0; };
    auto level = [&](const Json& i) { return positive(i) || (i.is_array() && std::all_of(i.begin(), i.end(), positive)); };
    return positive(list) || (list.is_array() && list.size() == n && std::all_of(list.begin(), list.end(), level));
  };
  std::string wanted = "wanted an integer, or for each of the " + std::to_string(n) +
                       " levels an integer or a list with one for each residual block";
  if (!good(*down)) return c.problem(key, wanted);
  bool reversed = up && !up->is_null();
  if (reversed && (!up->is_array() || !good(*up))) return c.problem(up_key, wanted);
  bool nested = down->is_array() && std::any_of(down->begin(), down->end(), [](const Json& i) { return i.is_array(); });
  if (nested && !reversed) return c.problem(key, "lists within the list need reverse_transformer_layers_per_block");
  for (size_t i = 0; i < n; ++i) {
    u.down[i].transformer_layers = spread(entry(*down, i), u.down[i].layers);
    u.up[i].transformer_layers = spread(reversed ? (*up)[i] : entry(*down, n - 1 - i), u.up[i].layers + 1);
    if (u.down[i].transformer_layers.empty()) c.problem(key, "level " + std::to_string(i) + " has too few");
    if (u.up[i].transformer_layers.empty()) c.problem(reversed ? up_key : key, "too few for the way up");
  }
  u.mid_transformer_layers = spread(entry(*down, n - 1), 1);
}

// Keys of variants that are not built here: only the value that leaves the variant out.
void read_variants(ConfigReader& c, UnetConfig& u) {
  c.only("num_attention_heads", nullptr, {nullptr});
  c.only("dropout", 0.0, {0.0});
  c.only("dual_cross_attention", false, {false});
  for (const char* key : {"class_embed_type", "num_class_embeds", "time_cond_proj_dim"}) c.only(key, nullptr, {nullptr});
  u.text_width = c.optional_integer("encoder_hid_dim").value_or(0);
  if (!c.optional_choice("encoder_hid_dim_type", {"text_proj"}).empty() && !u.text_width)
    c.problem("encoder_hid_dim_type", "it needs encoder_hid_dim");
  if (const Json* context = c.raw("cross_attention_dim"); u.text_width && context && context->is_array())
    c.problem("cross_attention_dim", "with encoder_hid_dim it is one number for all levels");
  c.only("class_embeddings_concat", false, {false});
  c.only("time_embedding_type", "positional", {"positional"});
  c.only("attention_type", "default", {"default"});
  if (c.optional_choice("addition_embed_type", {"text_time"}) == "text_time") {
    u.addition_time_width = c.integer("addition_time_embed_dim", 0);
    u.addition_input_width = c.integer("projection_class_embeddings_input_dim", 0);
    if (!u.addition_time_width) c.problem("addition_time_embed_dim", "addition_embed_type needs it");
    if (!u.addition_input_width) c.problem("projection_class_embeddings_input_dim", "addition_embed_type needs it");
  }
  // The first five act only in kinds of blocks that are not among the supported ones. upcast_attention is the precision
  // that attention's kernels sum in, which is float32 whatever it says.
  c.harmless({"resnet_skip_time_act", "resnet_out_scale_factor", "cross_attention_norm", "mid_block_only_cross_attention",
              "addition_embed_type_num_heads", "upcast_attention", "addition_time_embed_dim",
              "projection_class_embeddings_input_dim"});
}

}  // namespace

Activation activation_of(const std::string& name) {
  if (name == "gelu") return Activation::gelu;
  if (name == "mish") return Activation::mish;
  return name == "relu" ? Activation::relu : Activation::silu;
}

UnetConfig read_unet_config(const Json& json, const std::string& file) {
  ConfigReader c(json, file);
  UnetConfig u;
  u.in_channels = c.integer("in_channels", 4);
  u.out_channels = c.integer("out_channels", 4);
  if (const Json* size = c.raw("sample_size"); size && !size->is_null()) {
    std::vector<int64_t> hw = c.integers("sample_size", 64, 2);
    if (!hw.empty()) u.sample_size = std::max(hw[0], hw[1]);
  }
  u.center_input = c.flag("center_input_sample", false);
  u.cosine_first = c.flag("flip_sin_to_cos", true);
  u.frequency_shift = c.number("freq_shift", 0);
  u.activation = activation_of(c.choice("act_fn", "silu", activation_names));
  auto maybe = [&](const char* key) -> std::optional<Activation> {
    std::string name = c.optional_choice(key, activation_names);
    return name.empty() ? std::nullopt : std::optional(activation_of(name));
  };
  u.time_after = maybe("timestep_post_act");
  u.time_sum_activation = maybe("time_embedding_act_fn");

  std::vector<int64_t> channels = c.integers("block_out_channels", {320, 640, 1280, 1280});
  size_t n = channels.size();
  u.time_width = c.optional_integer("time_embedding_dim").value_or(channels[0] * 4);
  Names down = c.choices("down_block_types", {down_names[1], down_names[1], down_names[1], down_names[0]}, down_names);
  Names up = c.choices("up_block_types", {up_names[0], up_names[1], up_names[1], up_names[1]}, up_names);
  if (down.size() != n) c.problem("down_block_types", "wanted one for each of the block_out_channels");
  if (up.size() != n) c.problem("up_block_types", "wanted one for each of the block_out_channels");
  down.resize(n, down_names[0]), up.resize(n, up_names[0]);
  std::vector<int64_t> layers = c.integers("layers_per_block", 2, n), heads = c.integers("attention_head_dim", 8, n),
                       context = c.integers("cross_attention_dim", 1280, n);
  std::vector<bool> only_cross = c.flags("only_cross_attention", false, n);
  for (size_t i = 0; i < n; ++i) {
    UnetLevel level{kind_of(down[i]), channels[i], layers[i], {}, heads[i], context[i], only_cross[i]};
    if (heads[i] > channels[i]) c.problem("attention_head_dim", "block_out_channels has fewer channels than that");
    u.down.push_back(level);
  }
  u.up.assign(u.down.rbegin(), u.down.rend());
  for (size_t i = 0; i < n; ++i) u.up[i].kind = kind_of(up[i]);
  read_transformer_layers(c, u);

  const Json* mid = c.raw("mid_block_type");
  u.has_mid = !mid || !mid->is_null();
  u.mid_attention = u.has_mid && c.choice("mid_block_type", "UNetMidBlock2DCrossAttn",
                                          {"UNetMidBlock2DCrossAttn", "UNetMidBlock2D"}) == "UNetMidBlock2DCrossAttn";
  u.mid_scale = c.number("mid_block_scale_factor", 1);
  u.groups = c.integer("norm_num_groups", 32);
  for (int64_t width : channels)
    if (width % u.groups) c.problem("norm_num_groups", "it does not divide block_out_channels' " + std::to_string(width));
  u.eps = c.number("norm_eps", 1e-5);
  u.downsample_padding = c.integer("downsample_padding", 1, 0);
  u.linear_projection = c.flag("use_linear_projection", false);
  u.scale_and_shift = c.choice("resnet_time_scale_shift", "default", {"default", "scale_shift"}) == "scale_shift";
  u.conv_in_kernel = c.integer("conv_in_kernel", 3);
  u.conv_out_kernel = c.integer("conv_out_kernel", 3);
  read_variants(c, u);
  c.done();
  return u;
}

}  // namespace t2i
