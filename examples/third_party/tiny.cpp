// A model of your own: a small transformer on pixel patches, conditioned on time and on the bytes of the prompt.
// n = batch, T = image tokens (h*w), L = text tokens, D = width. Built against the installed SDK alone.
#include <t2i/t2i.hpp>
using namespace t2i;

struct Block {
  Scope scope;
  Linear qkv, out, up, down;
  Block(const Scope& s, int64_t dim) : scope(s), qkv(s.at("qkv"), dim, 3 * dim), out(s.at("out"), dim, dim),
                                       up(s.at("up"), dim, 4 * dim), down(s.at("down"), 4 * dim, dim) {}
};
struct Tiny {
  static constexpr int64_t channels = 48, text_length = 32;  // 3 * 4 * 4: a latent pixel is a 4x4 patch of the picture
  int64_t dim, heads, depth, in_channels;
  std::string description;
  Scope text;
  t2i_param table = T2I_NO_PARAM;
  Conv2d in;
  Linear time, head;
  std::vector<Block> blocks;

  Tiny(const Json& config, Assets) {
    const Json& c = config.at("parts").at("transformer");
    dim = c.at("dim"), heads = c.at("heads"), depth = c.at("depth"), in_channels = c.at("in_channels");
    Json about = Json::parse(R"({"latent": {"channels": 48, "downscale": 4}, "token_limit": 32,
      "parts": {"transformer": {"role": "denoiser"}, "text_encoder": {"role": "text_encoder"}},
      "first_layer": {"part": "transformer", "weight": "in.weight", "config_key": "in_channels"},
      "default_loss": "rectified_flow", "default_sampler": "flow_euler",
      "pipelines": {"text": "TinyPipeline", "ip2p": "TinyEditPipeline"}})");
    about["first_layer"]["channels"] = in_channels;
    description = about.dump();
  }
  const char* describe() const { return description.c_str(); }
  void build(std::string_view part, Scope s) {
    if (part == "text_encoder") return void((text = s, table = s.declare("embedding", {256, dim}, "normal:0.1")));
    if (part != "transformer") fail("no part '" + std::string(part) + "'", T2I_E_MISSING);
    in = Conv2d(s.at("in"), in_channels, dim, 3, 1, 1), time = Linear(s.at("time"), dim, dim);
    for (int64_t i = 0; i < depth; ++i) blocks.emplace_back(s.at("blocks." + std::to_string(i)), dim);
    head = Linear(s.at("head"), dim, channels);
  }
  void tokenize(std::span<const char* const> texts, Sink out) {  // the prompt's bytes, padded with zeros: [n,L]
    std::vector<int64_t> t(texts.size() * text_length), shape{static_cast<int64_t>(texts.size()), text_length};
    for (size_t i = 0; i < texts.size(); ++i)
      for (size_t k = 0; k < text_length && texts[i][k]; ++k) t[i * text_length + k] = uint8_t(texts[i][k]);
    out.put("tokens", tensor(std::span<const int64_t>(t), shape));
  }
  void encode_text(Named in, Sink out) { out.put("prompt_embeds", op<"embedding">({text.get(table), in["tokens"]})); }
  void encode_image(Named step, Sink out) {  // no VAE: patches are the latents, exactly
    Tensor mean = op<"pixel_unshuffle">({step["pixels"], 4});
    out.put("mean", mean), out.put("logvar", op<"full_like">({mean, -30.0}));
  }
  Tensor scale_latents(const Tensor& x) { return x; }
  void decode_image(Named step, Sink out) { out.put("pixels", op<"pixel_shuffle">({step["latents"], 4})); }
  void forward(Named step, Sink out) {
    Tensor x = step["latents"];
    int64_t n = x.size(0), h = x.size(2), w = x.size(3);
    if (step.has("image_latents")) x = cat({x, step["image_latents"]}, 1);
    x = op<"transpose.int">({op<"flatten.using_ints">({in(x), 2}), 1, 2});               // [n,T,D]
    x = cat({x, step["prompt_embeds"]}, 1) + time(time_features(step["timesteps"], x));  // [n,T+L,D]
    for (Block& b : blocks) x = run_block(b.scope, "block", {x}, [this, &b](auto t) { return block(b, t[0]); });
    x = head(norm(op<"slice.Tensor">({x, 1, 0, h * w})));  // [n,T,C]
    out.put("prediction", op<"reshape">({op<"transpose.int">({x, 1, 2}), {n, channels, h, w}}));
  }
  Tensor norm(const Tensor& x) const { return op<"layer_norm">({x, {dim}}); }
  Tensor split(const Tensor& x) const {
    return op<"transpose.int">({op<"unflatten.int">({x, -1, {heads, dim / heads}}), 1, 2});
  }
  Tensor block(const Block& b, Tensor x) const {
    auto [q, k, v] = op_many<"chunk", 3>({b.qkv(norm(x)), 3, -1});
    Tensor mixed = op<"transpose.int">({op<"scaled_dot_product_attention">({split(q), split(k), split(v)}), 1, 2});
    x = x + b.out(op<"flatten.using_ints">({mixed, 2}));
    return x + b.down(op<"gelu">({b.up(norm(x)), "tanh"}));
  }
  Tensor time_features(const Tensor& t, const Tensor& like) const {  // sines of falling frequency, [n,1,D]
    Tensor f = op<"exp">({op<"arange">({dim / 2}) * (-18.42 / static_cast<double>(dim))});
    Tensor angle = op<"view">({t, {-1, 1, 1}}) * op<"to.other">({f, t});
    return to(cat({op<"cos">({angle}), op<"sin">({angle})}, -1), like.dtype());
  }
};
T2I_PLUGIN("org.example.tiny", "1.0.0", "MIT", model<Tiny>("tiny", "a transformer on pixel patches"))
