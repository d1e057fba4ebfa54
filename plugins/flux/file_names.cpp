// The names of Black Forest Labs' own code for the transformer, as the published files have them.
#include "nn/file_names.hpp"
#include "transformer.hpp"

namespace flux {

t2i::Json transformer_file_names(const TransformerConfig& c) {
  t2i::FileForm f({"model.diffusion_model.", ""});
  for (const auto& [file, own] : {std::pair{"time_in.", "timestep_embedder."}, std::pair{"vector_in.", "text_embedder."},
                                  std::pair{"guidance_in.", "guidance_embedder."}}) {
    const std::string to = std::string("time_text_embed.") + own;
    f.row(std::string(file) + "in_layer.", to + "linear_1.").row(std::string(file) + "out_layer.", to + "linear_2.");
  }
  f.row("img_in.", "x_embedder.").row("txt_in.", "context_embedder.");

  for (int64_t i = 0; i < c.double_layers; ++i) {
    const std::string file = "double_blocks." + std::to_string(i) + ".", own = "transformer_blocks." + std::to_string(i) + ".";
    auto stream = [&](const std::string& prefix, const std::string& norm, const std::vector<std::string>& qkv, const std::string& norms,
                      const std::string& out, const std::string& feed) {
      f.row(file + prefix + "_mod.lin.", own + norm + ".linear.");
      f.joined(file + prefix + "_attn.qkv.", {own + "attn." + qkv[0], own + "attn." + qkv[1], own + "attn." + qkv[2]});
      f.row(file + prefix + "_attn.norm.query_norm.scale", own + "attn." + norms + "q.weight");
      f.row(file + prefix + "_attn.norm.key_norm.scale", own + "attn." + norms + "k.weight");
      f.row(file + prefix + "_attn.proj.", own + "attn." + out);
      f.row(file + prefix + "_mlp.0.", own + feed + ".net.0.proj.").row(file + prefix + "_mlp.2.", own + feed + ".net.2.");
    };
    stream("img", "norm1", {"to_q.", "to_k.", "to_v."}, "norm_", "to_out.0.", "ff");
    stream("txt", "norm1_context", {"add_q_proj.", "add_k_proj.", "add_v_proj."}, "norm_added_", "to_add_out.", "ff_context");
  }
  for (int64_t i = 0; i < c.single_layers; ++i) {
    const std::string file = "single_blocks." + std::to_string(i) + ".", own = "single_transformer_blocks." + std::to_string(i) + ".";
    f.row(file + "modulation.lin.", own + "norm.linear.");
    f.joined(file + "linear1.", {own + "attn.to_q.", own + "attn.to_k.", own + "attn.to_v.", own + "proj_mlp."});
    f.row(file + "norm.query_norm.scale", own + "attn.norm_q.weight").row(file + "norm.key_norm.scale", own + "attn.norm_k.weight");
    f.row(file + "linear2.", own + "proj_out.");
  }
  // Shift first there, scale first here.
  f.row("final_layer.adaLN_modulation.1.", "norm_out.linear.", "swapped").row("final_layer.linear.", "proj_out.");
  return t2i::Json::array({f.json()});
}

}  // namespace flux
