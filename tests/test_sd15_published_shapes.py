"""The full-size networks of published folders: names and shapes of every parameter as diffusers and transformers have
them, from the configurations as published. Nothing is allocated: their side is built on the meta device, ours only
declares, through the plugin interface.
"""

import pytest
import torch
from declared import built, keywords, shapes
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

# stable-diffusion-v1-5: unet, vae and text_encoder config.json.
UNET = {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.6.0", "act_fn": "silu", "attention_head_dim": 8,
        "block_out_channels": [320, 640, 1280, 1280], "center_input_sample": False, "cross_attention_dim": 768,
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "downsample_padding": 1, "flip_sin_to_cos": True, "freq_shift": 0, "in_channels": 4, "layers_per_block": 2,
        "mid_block_scale_factor": 1, "norm_eps": 1e-05, "norm_num_groups": 32, "out_channels": 4, "sample_size": 64,
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]}
VAE = {"_class_name": "AutoencoderKL", "_diffusers_version": "0.6.0", "act_fn": "silu",
       "block_out_channels": [128, 256, 512, 512], "down_block_types": ["DownEncoderBlock2D"] * 4, "in_channels": 3,
       "latent_channels": 4, "layers_per_block": 2, "norm_num_groups": 32, "out_channels": 3, "sample_size": 512,
       "up_block_types": ["UpDecoderBlock2D"] * 4}
TEXT = {"_name_or_path": "openai/clip-vit-large-patch14", "architectures": ["CLIPTextModel"], "attention_dropout": 0.0,
        "bos_token_id": 0, "dropout": 0.0, "eos_token_id": 2, "hidden_act": "quick_gelu", "hidden_size": 768,
        "initializer_factor": 1.0, "initializer_range": 0.02, "intermediate_size": 3072, "layer_norm_eps": 1e-05,
        "max_position_embeddings": 77, "model_type": "clip_text_model", "num_attention_heads": 12,
        "num_hidden_layers": 12, "pad_token_id": 1, "projection_dim": 768, "torch_dtype": "float32",
        "transformers_version": "4.22.0.dev0", "vocab_size": 49408}
# stable-diffusion-2-1: heads by level, linear projections, a wider text encoder with GELU.
UNET2 = {**UNET, "attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024, "use_linear_projection": True,
         "upcast_attention": True, "sample_size": 96, "dual_cross_attention": False, "num_class_embeds": None,
         "only_cross_attention": False}
TEXT2 = {**TEXT, "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 23,
         "hidden_act": "gelu", "projection_dim": 512}


@pytest.mark.parametrize("unet, text, million", [(UNET, TEXT, 859.5), (UNET2, TEXT2, 865.9)])
def test_names_and_shapes(unet, text, million):
    ours, about = built("t2i-sd15.so", {"unet": unet, "vae": VAE, "text_encoder": text})
    with torch.device("meta"):
        reference = {"unet": UNet2DConditionModel(**keywords(unet)),
                     "vae": AutoencoderKL(**keywords(VAE)),
                     "text_encoder": CLIPTextModel(CLIPTextConfig(**text))}
    assert ours["unet"] == shapes(reference["unet"])
    assert ours["vae"] == shapes(reference["vae"])
    # transformers 5 leaves the prefix out, published files have it.
    assert ours["text_encoder"] == {"text_model." + n: s for n, s in shapes(reference["text_encoder"]).items()}
    count = sum(torch.Size(s).numel() for s in ours["unet"].values())
    assert round(count / 1e6, 1) == million
    assert about["resolution"] == unet["sample_size"] * 8 and about["token_limit"] == 77
    assert about["latent"] == {"channels": 4, "downscale": 8} and about["first_layer"]["channels"] == 4
    assert about["default_loss"] == "epsilon"
