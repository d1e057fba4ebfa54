// InstructPix2Pix: edit a picture by an instruction (Brooks, Holynski and Efros 2023, arXiv:2211.09800). The source
// picture's latents join the noisy ones as further channels of the denoiser's first layer.
//
// Training drops the instruction, the picture, or both, by one draw p ~ U[0,1) per sample and d = the option:
//   instruction dropped: p < 2d,   picture dropped: d <= p < 3d.
// A dropped instruction is dropped whole, the pooled text of families that have it included, as generating asks for it:
// there "neither" has the embeddings and the pooled text of no prompt (the core's train.null_text: zeros, or the encoded
// empty text). diffusers' training script keeps the instruction's pooled text; with dropout_keeps_pooled, so does this.
// Generating combines three predictions (eq. 3 there):
//   e = e(none, none) + s_T (e(picture, text) - e(picture, none)) + s_I (e(picture, none) - e(none, none)).
#include <t2i/conditioning.hpp>

struct InstructPix2Pix {
  double guidance, image_guidance, dropout;
  bool keeps_pooled;

  explicit InstructPix2Pix(const t2i::Json& config)
      : guidance(config.at("guidance_scale")),
        image_guidance(config.at("image_guidance_scale")),
        dropout(config.at("conditioning_dropout_prob")),
        keeps_pooled(config.at("dropout_keeps_pooled")) {}
  const char* describe() const {
    return R"({"columns": [{"name": "input_image", "kind": "image", "use": "source"},
                           {"name": "instruction", "kind": "text", "use": "prompt"},
                           {"name": "output_image", "kind": "image", "use": "target"}],
               "added_latents": ["image_latents"]})";
  }

  void apply(t2i::Named in, t2i::Sink out) {
    using t2i::op;
    t2i::Tensor image = in["image_latents"], text_dropped;
    if (dropout > 0 && in.has("rng")) {
      t2i::Tensor p = t2i::Rng{in["rng"]}.uniform("conditioning_dropout");
      text_dropped = op<"lt.Scalar">({p, 2 * dropout});
      t2i::Tensor image_dropped = op<"logical_and">({op<"ge.Scalar">({p, dropout}), op<"lt.Scalar">({p, 3 * dropout})});
      image = op<"masked_fill.Scalar">({image, t2i::per_sample(image_dropped, image), 0.0});
    }
    const bool as_it_is = keeps_pooled && in.has("pooled");
    t2i::pass_conditioning(in, out, text_dropped, {"image_latents", as_it_is ? "pooled" : ""});
    if (as_it_is) out.put("pooled", in["pooled"]);
    out.put("image_latents", image);
  }

  // Predictions: [picture and instruction, picture, neither]. As diffusers' pipeline has it, guidance is on only when
  // the one scale is above 1 and the other not below 1.
  uint32_t branches() const { return guidance > 1 && image_guidance >= 1 ? 3 : 1; }
  void branch(uint32_t index, t2i::Named in, t2i::Sink out) {
    t2i::Tensor image = in["image_latents"];
    if (index == 0) t2i::pass_conditioning(in, out, {}, {"image_latents"});
    else t2i::pass_negative(in, out, {"image_latents"});
    out.put("image_latents", index == 2 ? t2i::op<"zeros_like">({image}) : image);
  }
  t2i::Tensor combine(std::span<const t2i::Tensor> e) const {
    if (e.size() != branches())
      t2i::fail("guidance takes " + std::to_string(branches()) + " predictions, got " + std::to_string(e.size()));
    if (e.size() == 1) return e[0];
    return e[2] + (e[0] - e[1]) * guidance + (e[1] - e[2]) * image_guidance;
  }
};

T2I_PLUGIN("t2i.task.ip2p", "0.1.0", "Apache-2.0",
           t2i::task<InstructPix2Pix>("ip2p", "edit a picture by an instruction (InstructPix2Pix)", R"({
  "conditioning_dropout_prob": {"type": "number", "default": 0.05, "minimum": 0, "maximum": 0.3333333333333333,
                                "description": "d of one draw p a sample: p < 2d drops the instruction, d <= p < 3d the picture"},
  "dropout_keeps_pooled": {"type": "boolean", "default": false,
                           "description": "a dropped instruction leaves its pooled text, as in diffusers' training script; else that is dropped too"},
  "guidance_scale": {"type": "number", "default": 7.5, "minimum": 0, "description": "how strongly the instruction is followed"},
  "image_guidance_scale": {"type": "number", "default": 1.5, "minimum": 0, "description": "how closely the picture is kept"}})"))
