// Text to image: the prompt is all there is. In training it may be dropped now and then, so that the model can also be
// asked without it: classifier-free guidance, Ho and Salimans 2022 (arXiv:2207.12598), eq. 6 in the form
//   e = e_negative + s (e_prompt - e_negative).
#include <t2i/conditioning.hpp>

struct Text {
  double guidance, dropout;

  explicit Text(const t2i::Json& config)
      : guidance(config.at("guidance_scale")), dropout(config.at("conditioning_dropout_prob")) {}
  const char* describe() const {
    return R"({"columns": [{"name": "image", "kind": "image", "use": "target"}, {"name": "text", "kind": "text", "use": "prompt"}],
               "added_latents": []})";
  }

  void apply(t2i::Named in, t2i::Sink out) {
    t2i::Tensor dropped;
    if (dropout > 0 && in.has("rng"))
      dropped = t2i::op<"lt.Scalar">({t2i::Rng{in["rng"]}.uniform("conditioning_dropout"), dropout});
    t2i::pass_conditioning(in, out, dropped);
  }

  // Predictions: [negative, prompt], or the prompt's alone when guidance would change nothing.
  uint32_t branches() const { return guidance > 1 ? 2 : 1; }
  void branch(uint32_t index, t2i::Named in, t2i::Sink out) {
    if (branches() == 2 && index == 0) t2i::pass_negative(in, out);
    else t2i::pass_conditioning(in, out);
  }
  t2i::Tensor combine(std::span<const t2i::Tensor> e) const {
    if (e.size() != branches())
      t2i::fail("guidance takes " + std::to_string(branches()) + " predictions, got " + std::to_string(e.size()));
    return e.size() == 1 ? e[0] : e[0] + (e[1] - e[0]) * guidance;
  }
};

T2I_PLUGIN("t2i.task.text", "0.1.0", "Apache-2.0", t2i::task<Text>("text", "text to image", R"({
  "conditioning_dropout_prob": {"type": "number", "default": 0, "minimum": 0, "maximum": 1,
                                "description": "how often a caption is replaced by the empty one in training"},
  "guidance_scale": {"type": "number", "default": 7.5, "minimum": 0,
                     "description": "how strongly the prompt is followed when generating; 1 or less: without guidance"}})"))
