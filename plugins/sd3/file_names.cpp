// The names of Stability's own code for the transformer, as its published files have them.
#include "mmdit.hpp"
#include "nn/file_names.hpp"

namespace sd3 {

t2i::Json mmdit_file_names(const MmditConfig& c) {
  t2i::FileForm f({"model.diffusion_model.", ""});
  f.row("pos_embed", "pos_embed.pos_embed").row("x_embedder.proj.", "pos_embed.proj.");
  for (const auto& [file, own] : {std::pair{"t_embedder.mlp.", "time_text_embed.timestep_embedder.linear_"},
                                  std::pair{"y_embedder.mlp.", "time_text_embed.text_embedder.linear_"}})
    f.row(std::string(file) + "0.", std::string(own) + "1.").row(std::string(file) + "2.", std::string(own) + "2.");
  f.row("context_embedder.", "context_embedder.");

  for (int64_t i = 0; i < c.layers; ++i) {
    const std::string file = "joint_blocks." + std::to_string(i) + ".", own = "transformer_blocks." + std::to_string(i) + ".";
    const std::string x = file + "x_block.", text = file + "context_block.";
    const bool last = i + 1 == c.layers;
    f.row(x + "adaLN_modulation.1.", own + "norm1.linear.");
    // The last block's text is only shifted and scaled: shift first there, scale first here.
    f.row(text + "adaLN_modulation.1.", own + "norm1_context.linear.", last ? "swapped" : nullptr);
    auto attention = [&](const std::string& block, const std::vector<std::string>& qkv, const std::string& out, const std::string& norms) {
      f.joined(block + "qkv.", qkv).row(block + "proj.", out);
      f.row(block + "ln_q.", norms + "q.").row(block + "ln_k.", norms + "k.");
    };
    attention(x + "attn.", {own + "attn.to_q.", own + "attn.to_k.", own + "attn.to_v."}, own + "attn.to_out.0.", own + "attn.norm_");
    attention(text + "attn.", {own + "attn.add_q_proj.", own + "attn.add_k_proj.", own + "attn.add_v_proj."}, own + "attn.to_add_out.",
              own + "attn.norm_added_");
    if (c.dual_layers.contains(i))
      attention(x + "attn2.", {own + "attn2.to_q.", own + "attn2.to_k.", own + "attn2.to_v."}, own + "attn2.to_out.0.", own + "attn2.norm_");
    f.row(x + "mlp.fc1.", own + "ff.net.0.proj.").row(x + "mlp.fc2.", own + "ff.net.2.");
    f.row(text + "mlp.fc1.", own + "ff_context.net.0.proj.").row(text + "mlp.fc2.", own + "ff_context.net.2.");
  }
  f.row("final_layer.adaLN_modulation.1.", "norm_out.linear.", "swapped").row("final_layer.linear.", "proj_out.");
  return t2i::Json::array({f.json()});
}

}  // namespace sd3
