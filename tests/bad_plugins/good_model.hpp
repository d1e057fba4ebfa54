// A model without a fault, for the broken ones of this folder to spoil in one place each: two convolutions with a block
// between, told the time and the lengths of the prompts. It takes any model folder and reads nothing of it.
#pragma once
#include <t2i/schedule.hpp>

struct GoodModel {
  t2i::Scope scope;
  t2i::Conv2d first, middle, last;

  GoodModel(const t2i::Json&, t2i::Assets) {}
  const char* describe() const {
    return R"({"latent": {"channels": 4, "downscale": 8}, "parts": {"unet": {"role": "denoiser"}}})";
  }
  void build(std::string_view part, t2i::Scope s) {
    if (part != "unet") t2i::fail("no part '" + std::string(part) + "'", T2I_E_MISSING);
    scope = s;
    first = t2i::Conv2d(s.at("first"), 4, 8, 3, 1, 1), middle = t2i::Conv2d(s.at("middle"), 8, 8, 3, 1, 1);
    last = t2i::Conv2d(s.at("last"), 8, 4, 3, 1, 1);
  }
  void tokenize(std::span<const char* const> texts, t2i::Sink out) {
    std::vector<int64_t> lengths, shape{static_cast<int64_t>(texts.size()), 1};
    for (const char* text : texts) lengths.push_back(static_cast<int64_t>(std::strlen(text)));
    out.put("tokens", t2i::tensor(std::span<const int64_t>(lengths), shape));
  }
  void encode_text(t2i::Named in, t2i::Sink out) { out.put("prompt_embeds", t2i::to(in["tokens"], T2I_F32)); }
  void forward(t2i::Named in, t2i::Sink out) { out.put("prediction", predict(in)); }

  // What goes into the block.
  t2i::Tensor told(t2i::Named in) const {
    t2i::Tensor x = in["latents"];
    t2i::Tensor told = in["timesteps"] * 0.001 + t2i::mean_per_sample(in["prompt_embeds"]);  // [n]
    return first(x) + t2i::per_sample(t2i::op<"to.other">({told, x}), x);
  }
  t2i::Tensor body(const t2i::Tensor& x) const { return x + t2i::op<"tanh">({middle(x)}); }
  t2i::Tensor predict(t2i::Named in) const {
    return last(t2i::run_block(scope, "middle", {told(in)}, [this](auto x) { return body(x[0]); }));
  }
};
