#include "file_names.hpp"

namespace t2i {

FileForm& FileForm::row(const std::string& file, const std::string& parameter, const char* change) {
  Json row = {file, parameter};
  if (change) row.push_back(change);
  rows_.push_back(std::move(row));
  return *this;
}

FileForm& FileForm::joined(const std::string& file, const std::vector<std::string>& parameters) {
  rows_.push_back(Json::array({file, parameters}));
  return *this;
}

FileForm& FileForm::ignore(const std::vector<std::string>& tensors) {
  ignored_.insert(ignored_.end(), tensors.begin(), tensors.end());
  return *this;
}

namespace {

std::string at(const char* before, size_t i, const char* behind = ".") { return before + std::to_string(i) + behind; }

void unet_resnet(FileForm& f, const std::string& file, const std::string& own) {
  f.row(file + "in_layers.0.", own + "norm1.").row(file + "in_layers.2.", own + "conv1.");
  f.row(file + "emb_layers.1.", own + "time_emb_proj.");
  f.row(file + "out_layers.0.", own + "norm2.").row(file + "out_layers.3.", own + "conv2.");
  f.row(file + "skip_connection.", own + "conv_shortcut.");
}

void vae_resnet(FileForm& f, const std::string& file, const std::string& own) {
  for (const char* layer : {"norm1.", "conv1.", "norm2.", "conv2."}) f.row(file + layer, own + layer);
  f.row(file + "nin_shortcut.", own + "conv_shortcut.");
}

void vae_middle(FileForm& f, const std::string& coder) {
  const std::string file = coder + "mid.", own = coder + "mid_block.", attention = own + "attentions.0.";
  vae_resnet(f, file + "block_1.", own + "resnets.0.");
  f.row(file + "attn_1.norm.", attention + "group_norm.");
  for (const char* name : {"q", "k", "v"})
    f.row(file + "attn_1." + name + ".", attention + "to_" + name + ".", "conv1x1");
  f.row(file + "attn_1.proj_out.", attention + "to_out.0.", "conv1x1");
  vae_resnet(f, file + "block_2.", own + "resnets.1.");
  f.row(coder + "norm_out.", coder + "conv_norm_out.");
  for (const char* layer : {"conv_in.", "conv_out."}) f.row(coder + layer, coder + layer);
}

}  // namespace

Json unet_file_names(const UnetConfig& u) {
  // Levels with self-attention alone keep their queries, keys and values by heads there, and are of no published file.
  for (const std::vector<UnetLevel>* path : {&u.down, &u.up})
    for (const UnetLevel& level : *path)
      if (level.kind == UnetBlock::self_attention) return Json::array();
  if (!u.has_mid || !u.mid_attention) return Json::array();

  FileForm f({"model.diffusion_model.", ""});
  f.row("time_embed.0.", "time_embedding.linear_1.").row("time_embed.2.", "time_embedding.linear_2.");
  if (u.addition_time_width)
    f.row("label_emb.0.0.", "add_embedding.linear_1.").row("label_emb.0.2.", "add_embedding.linear_2.");
  f.row("input_blocks.0.0.", "conv_in.");

  size_t block = 1;
  for (size_t i = 0; i < u.down.size(); ++i) {
    const std::string own = at("down_blocks.", i);
    for (size_t j = 0; j < static_cast<size_t>(u.down[i].layers); ++j, ++block) {
      const std::string file = at("input_blocks.", block);
      unet_resnet(f, file + "0.", own + at("resnets.", j));
      if (u.down[i].kind == UnetBlock::cross_attention) f.row(file + "1.", own + at("attentions.", j));
    }
    if (i + 1 < u.down.size()) f.row(at("input_blocks.", block++) + "0.op.", own + "downsamplers.0.conv.");
  }
  unet_resnet(f, "middle_block.0.", "mid_block.resnets.0.");
  f.row("middle_block.1.", "mid_block.attentions.0.");
  unet_resnet(f, "middle_block.2.", "mid_block.resnets.1.");

  block = 0;
  for (size_t i = 0; i < u.up.size(); ++i) {
    const std::string own = at("up_blocks.", i);
    const bool attends = u.up[i].kind == UnetBlock::cross_attention;
    const auto layers = static_cast<size_t>(u.up[i].layers + 1);
    for (size_t j = 0; j < layers; ++j, ++block) {
      const std::string file = at("output_blocks.", block);
      unet_resnet(f, file + "0.", own + at("resnets.", j));
      if (attends) f.row(file + "1.", own + at("attentions.", j));
      if (j + 1 == layers && i + 1 < u.up.size()) f.row(file + (attends ? "2.conv." : "1.conv."), own + "upsamplers.0.conv.");
    }
  }
  f.row("out.0.", "conv_norm_out.").row("out.2.", "conv_out.");
  return Json::array({f.json()});
}

Json autoencoder_file_names(const AutoencoderConfig& c, const std::vector<std::string>& prefixes) {
  FileForm f(prefixes);
  const size_t n = c.channels.size();
  for (size_t i = 0; i < n; ++i) {
    const std::string file = at("encoder.down.", i), own = at("encoder.down_blocks.", i);
    for (size_t j = 0; j < static_cast<size_t>(c.layers); ++j) vae_resnet(f, file + at("block.", j), own + at("resnets.", j));
    if (i + 1 < n) f.row(file + "downsample.conv.", own + "downsamplers.0.conv.");
  }
  // On the way up the levels are counted from the finest there, from the coarsest here.
  for (size_t i = 0; i < n; ++i) {
    const std::string file = at("decoder.up.", n - 1 - i), own = at("decoder.up_blocks.", i);
    for (size_t j = 0; j < static_cast<size_t>(c.layers + 1); ++j) vae_resnet(f, file + at("block.", j), own + at("resnets.", j));
    if (i + 1 < n) f.row(file + "upsample.conv.", own + "upsamplers.0.conv.");
  }
  for (const char* coder : {"encoder.", "decoder."}) vae_middle(f, coder);
  for (const char* layer : {"quant_conv.", "post_quant_conv."}) f.row(layer, layer);
  f.ignore({"loss.", "model_ema."});  // what was trained beside it
  return Json::array({f.json()});
}

FileForm clip_file_form(const std::vector<std::string>& prefixes, FileProjection projection) {
  FileForm f(prefixes);
  const char* weight = "text_projection.weight";
  if (projection == FileProjection::identity) f.row(weight, weight, "identity");
  f.row("", "").row("", "text_model.");  // some programs leave the name of the wrapper out
  f.ignore({"text_model.embeddings.position_ids", "embeddings.position_ids", "logit_scale"});
  if (projection == FileProjection::none) f.ignore({weight, "text_projection"});
  return f;
}

FileForm open_clip_file_form(const ClipTextConfig& c, const std::vector<std::string>& prefixes, bool with_projection) {
  FileForm f(prefixes);
  f.row("token_embedding.weight", "text_model.embeddings.token_embedding.weight");
  f.row("positional_embedding", "text_model.embeddings.position_embedding.weight");
  for (size_t i = 0; i < static_cast<size_t>(c.layers); ++i) {
    const std::string file = at("transformer.resblocks.", i), own = at("text_model.encoder.layers.", i);
    auto three = [&](const char* kind) {
      std::vector<std::string> names;
      for (const char* which : {"q_proj.", "k_proj.", "v_proj."}) names.push_back(own + "self_attn." + which + kind);
      return names;
    };
    f.row(file + "ln_1.", own + "layer_norm1.").row(file + "ln_2.", own + "layer_norm2.");
    f.joined(file + "attn.in_proj_weight", three("weight")).joined(file + "attn.in_proj_bias", three("bias"));
    f.row(file + "attn.out_proj.", own + "self_attn.out_proj.");
    f.row(file + "mlp.c_fc.", own + "mlp.fc1.").row(file + "mlp.c_proj.", own + "mlp.fc2.");
  }
  f.row("ln_final.", "text_model.final_layer_norm.");
  if (with_projection) f.row("text_projection", "text_projection.weight", "transposed");
  else f.ignore({"text_projection"});
  return f.ignore({"logit_scale"});
}

Json t5_file_names(const std::vector<std::string>& prefixes) {
  FileForm f(prefixes);
  f.row("", "").row("encoder.embed_tokens.weight", "shared.weight", "copy");  // as the published files have it
  f.ignore({"encoder.embed_tokens.weight", "logit_scale"});
  return Json::array({f.json()});
}

}  // namespace t2i
