// A model of your own: a small transformer on pixel patches, conditioned on time and on the bytes of the prompt.
// n = batch, T = image tokens (h*w), L = text tokens, D = width. Built against the installed SDK alone.
#include <t2i/t2i.hpp>

#include <cmath>
using namespace t2i;

class Tiny {
  static constexpr int64_t channels = 48, text_length = 32;  // 3 * 4 * 4: a latent pixel is a 4x4 patch of the picture
  struct Block {
    Scope scope;
    Linear qkv, out, up, down;
    Block(const Scope& s, int64_t dim)
        : scope(s), qkv(s.at("qkv"), dim, 3 * dim), out(s.at("out"), dim, dim), up(s.at("up"), dim, 4 * dim), down(s.at("down"), 4 * dim, dim) {}
  };
  int64_t dim, heads, depth, in_channels;
  std::string description;
  Scope text_scope;
  t2i_param embedding = T2I_NO_PARAM;
  Conv2d in;
  Linear time_1, time_2, head;
  std::vector<Block> blocks;
 public:
  Tiny(const Json& config, Assets) {
    const Json& c = config.at("parts").at("transformer");
    dim = c.at("dim"), heads = c.at("heads"), depth = c.at("depth"), in_channels = c.at("in_channels");
    description = Json{{"parts", {{"transformer", {{"role", "denoiser"}}}, {"text_encoder", {{"role", "text_encoder"}}}}},
                       {"latent", {{"channels", channels}, {"downscale", 4}}},
                       {"first_layer", {{"part", "transformer"}, {"weight", "in.weight"}, {"config_key", "in_channels"}, {"channels", in_channels}}},
                       {"token_limit", text_length}, {"default_loss", "rectified_flow"}, {"default_sampler", "flow_euler"},
                       {"pipelines", {{"text", "TinyPipeline"}, {"ip2p", "TinyEditPipeline"}}}}.dump();
  }
  const char* describe() const { return description.c_str(); }
  void build(std::string_view part, Scope s) {
    if (part == "text_encoder") return void((text_scope = s, embedding = s.declare("embedding", {256, dim}, "normal:0.02")));
    in = Conv2d(s.at("in"), in_channels, dim, 3, 1, 1);
    time_1 = Linear(s.at("time_1"), dim, dim), time_2 = Linear(s.at("time_2"), dim, dim), head = Linear(s.at("head"), dim, channels);
    for (int64_t i = 0; i < depth; ++i) blocks.emplace_back(s.at("blocks." + std::to_string(i)), dim);
  }
  void tokenize(std::span<const char* const> texts, Sink out) {
    std::vector<int64_t> tokens(texts.size() * text_length);  // [n,L], padded with zeros
    for (size_t i = 0; i < texts.size(); ++i)
      for (int64_t k = 0; k < text_length && texts[i][k]; ++k) tokens[i * text_length + k] = static_cast<unsigned char>(texts[i][k]);
    out.put("tokens", tensor(std::span<const int64_t>(tokens), std::array{static_cast<int64_t>(texts.size()), text_length}));
  }
  void encode_text(Named in, Sink out) { out.put("prompt_embeds", op<"embedding">({text_scope.get(embedding), in["tokens"]})); }  // [n,L,D]
  void encode_image(Named in, Sink out) {  // no VAE: patches are the latents, exactly
    Tensor mean = op<"pixel_unshuffle">({in["pixels"], 4});
    out.put("mean", mean), out.put("logvar", op<"full_like">({mean, -30.0}));
  }
  Tensor scale_latents(const Tensor& x) { return x; }
  void decode_image(Named in, Sink out) { out.put("pixels", op<"pixel_shuffle">({in["latents"], 4})); }
  void forward(Named step, Sink out) {
    Tensor x = step["latents"];
    int64_t n = x.size(0), h = x.size(2), w = x.size(3);
    if (step.has("image_latents")) x = cat({x, step["image_latents"]}, 1);
    x = op<"transpose.int">({op<"flatten.using_ints">({in(x), 2}), 1, 2});                                        // [n,T,D]
    Tensor time = time_2(op<"silu">({time_1(time_features(step["timesteps"], x))}));                              // [n,D]
    x = cat({x, step["prompt_embeds"]}, 1) + op<"unsqueeze">({time, 1});                                          // [n,T+L,D]
    for (Block& b : blocks) x = run_block(b.scope, "block", {x}, [this, &b](auto t) { return block(b, t[0]); });
    x = head(norm(op<"slice.Tensor">({x, 1, 0, h * w})));                                                         // [n,T,C]
    out.put("prediction", op<"reshape">({op<"transpose.int">({x, 1, 2}), {n, channels, h, w}}));
  }
 private:
  Tensor norm(const Tensor& x) const { return op<"layer_norm">({x, {dim}}); }
  Tensor block(const Block& b, Tensor x) const {
    auto split = [&](const Tensor& y) { return op<"transpose.int">({op<"unflatten.int">({y, -1, {heads, dim / heads}}), 1, 2}); };
    auto [q, k, v] = op_many<"chunk", 3>({b.qkv(norm(x)), 3, -1});
    Tensor attended = op<"transpose.int">({op<"scaled_dot_product_attention">({split(q), split(k), split(v)}), 1, 2});
    x = x + b.out(op<"flatten.using_ints">({attended, 2}));
    return x + b.down(op<"gelu">({b.up(norm(x)), "tanh"}));
  }
  Tensor time_features(const Tensor& t, const Tensor& like) const {  // Vaswani et al. 2017: sines of falling frequency, [n,D]
    std::vector<float> f(dim / 2);
    for (size_t i = 0; i < f.size(); ++i) f[i] = std::exp(-9.21f * static_cast<float>(i) / static_cast<float>(f.size()));
    Tensor angles = op<"unsqueeze">({t, 1}) * tensor(std::span<const float>(f), std::array<int64_t, 2>{1, dim / 2}, t);
    return to(cat({op<"cos">({angles}), op<"sin">({angles})}, -1), like.dtype());
  }
};
T2I_PLUGIN("org.example.tiny", "1.0.0", "MIT", model<Tiny>("tiny", "a transformer on pixel patches"))
