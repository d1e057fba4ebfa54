// A stranger's model of nothing but installed parts: tokenizer, text model, autoencoder and UNet of t2i::nn.
#include <nn/autoencoder_kl.hpp>
#include <nn/clip_text.hpp>
#include <nn/clip_tokenizer.hpp>
#include <nn/unet.hpp>

#include <memory>

struct SharedParts {
  t2i::Assets assets;
  t2i::UnetConfig unet_config;
  t2i::AutoencoderConfig vae_config;
  t2i::ClipTextConfig text_config;
  std::unique_ptr<t2i::Unet> unet;
  std::unique_ptr<t2i::AutoencoderKL> vae;
  std::unique_ptr<t2i::ClipText> text;

  SharedParts(const t2i::Json& config, t2i::Assets files) : assets(files) {
    const t2i::Json& parts = config.at("parts");
    unet_config = t2i::read_unet_config(parts.at("unet"), "unet/config.json");
    vae_config = t2i::read_autoencoder_config(parts.at("vae"), "vae/config.json");
    text_config = t2i::read_clip_text_config(parts.at("text_encoder"), "text_encoder/config.json");
  }
  const char* describe() const {
    return R"({"latent": {"channels": 4, "downscale": 2}, "parts": {"unet": {"role": "denoiser"}, "vae": {"role": "vae"},
               "text_encoder": {"role": "text_encoder", "optional_prefix": "text_model.",
                                "ignored": ["text_model.embeddings.position_ids"]}},
               "default_loss": "epsilon", "pipelines": {"text": "StableDiffusionPipeline"}})";
  }
  void build(std::string_view part, t2i::Scope s) {
    if (part == "unet") unet = std::make_unique<t2i::Unet>(s, unet_config);
    else if (part == "vae") vae = std::make_unique<t2i::AutoencoderKL>(s, vae_config);
    else if (part == "text_encoder") text = std::make_unique<t2i::ClipText>(s, text_config);
    else t2i::fail("no part '" + std::string(part) + "'", T2I_E_MISSING);
  }
  void tokenize(std::span<const char* const> texts, t2i::Sink out) {
    t2i::ClipTokenizer tokenizer([this](const std::string& path) { return assets.read(path); }, "tokenizer",
                                 text_config.positions, text_config.vocabulary);
    std::vector<int64_t> tokens, shape{static_cast<int64_t>(texts.size()), tokenizer.length()};
    for (const char* prompt : texts)
      for (int64_t token : tokenizer.encode(prompt)) tokens.push_back(token);
    out.put("tokens", t2i::tensor(std::span<const int64_t>(tokens), shape));
  }
  void encode_text(t2i::Named in, t2i::Sink out) { out.put("prompt_embeds", (*text)(in["tokens"], {}).hidden); }
  void encode_image(t2i::Named in, t2i::Sink out) {
    auto [mean, logvar] = vae->encode(in["pixels"]);
    out.put("mean", mean), out.put("logvar", logvar);
  }
  void decode_image(t2i::Named in, t2i::Sink out) {
    out.put("pixels", vae->decode(t2i::unscale_latents(in["latents"], vae_config)));
  }
  t2i::Tensor scale_latents(t2i::Tensor sample) const { return t2i::scale_latents(sample, vae_config); }
  void forward(t2i::Named in, t2i::Sink out) {
    out.put("prediction",
            (*unet)({.latents = in["latents"], .timesteps = in["timesteps"], .context = in["prompt_embeds"]}));
  }
};
T2I_PLUGIN("org.example.shared_parts", "1.0.0", "MIT", t2i::model<SharedParts>("shared_parts", "t2i::nn from outside"))
