"""The full-size networks of the published Stable Diffusion XL folders, base and refiner: names and shapes of every
parameter as diffusers and transformers have them, from the configurations as published. Nothing is allocated: their
side is built on the meta device, ours only declares, through the plugin interface.
"""

import pytest
import torch
from declared import built, keywords, shapes
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

# stable-diffusion-xl-base-1.0: unet, vae, text_encoder and text_encoder_2 config.json.
BASE = {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.19.0.dev0", "act_fn": "silu", "addition_embed_type": "text_time",
        "addition_embed_type_num_heads": 64, "addition_time_embed_dim": 256, "attention_head_dim": [5, 10, 20],
        "block_out_channels": [320, 640, 1280], "center_input_sample": False, "class_embed_type": None, "class_embeddings_concat": False,
        "conv_in_kernel": 3, "conv_out_kernel": 3, "cross_attention_dim": 2048, "cross_attention_norm": None,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"], "downsample_padding": 1,
        "dual_cross_attention": False, "encoder_hid_dim": None, "encoder_hid_dim_type": None, "flip_sin_to_cos": True, "freq_shift": 0,
        "in_channels": 4, "layers_per_block": 2, "mid_block_only_cross_attention": None, "mid_block_scale_factor": 1,
        "mid_block_type": "UNetMidBlock2DCrossAttn", "norm_eps": 1e-05, "norm_num_groups": 32, "num_attention_heads": None,
        "num_class_embeds": None, "only_cross_attention": False, "out_channels": 4, "projection_class_embeddings_input_dim": 2816,
        "resnet_out_scale_factor": 1.0, "resnet_skip_time_act": False, "resnet_time_scale_shift": "default", "sample_size": 128,
        "time_cond_proj_dim": None, "time_embedding_act_fn": None, "time_embedding_dim": None, "time_embedding_type": "positional",
        "timestep_post_act": None, "transformer_layers_per_block": [1, 2, 10],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "upcast_attention": None, "use_linear_projection": True}
# stable-diffusion-xl-refiner-1.0, where it differs.
REFINER = {**BASE, "attention_head_dim": [6, 12, 24, 24], "block_out_channels": [384, 768, 1536, 1536], "cross_attention_dim": 1280,
           "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
           "projection_class_embeddings_input_dim": 2560, "transformer_layers_per_block": 4,
           "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"]}
VAE = {"_class_name": "AutoencoderKL", "_diffusers_version": "0.20.0.dev0", "_name_or_path": "../sdxl-vae/", "act_fn": "silu",
       "block_out_channels": [128, 256, 512, 512], "down_block_types": ["DownEncoderBlock2D"] * 4, "force_upcast": True, "in_channels": 3,
       "latent_channels": 4, "layers_per_block": 2, "norm_num_groups": 32, "out_channels": 3, "sample_size": 1024,
       "scaling_factor": 0.13025, "up_block_types": ["UpDecoderBlock2D"] * 4}
CLIP_L = {"architectures": ["CLIPTextModel"], "attention_dropout": 0.0, "bos_token_id": 0, "dropout": 0.0, "eos_token_id": 2,
          "hidden_act": "quick_gelu", "hidden_size": 768, "initializer_factor": 1.0, "initializer_range": 0.02, "intermediate_size": 3072,
          "layer_norm_eps": 1e-05, "max_position_embeddings": 77, "model_type": "clip_text_model", "num_attention_heads": 12,
          "num_hidden_layers": 12, "pad_token_id": 1, "projection_dim": 768, "torch_dtype": "float16",
          "transformers_version": "4.32.0.dev0", "vocab_size": 49408}
CLIP_G = {**CLIP_L, "architectures": ["CLIPTextModelWithProjection"], "hidden_act": "gelu", "hidden_size": 1280, "intermediate_size": 5120,
          "num_attention_heads": 20, "num_hidden_layers": 32, "projection_dim": 1280}


def published(config):
    """A text model's parameters under the names of published files, in which its transformer has a prefix that
    transformers 5 leaves out where there is no projection beside it."""
    projects = config["architectures"] == ["CLIPTextModelWithProjection"]
    names = shapes((CLIPTextModelWithProjection if projects else CLIPTextModel)(CLIPTextConfig(**config)))
    return {n if n.startswith(("text_model.", "text_projection.")) else "text_model." + n: s for n, s in names.items()}


@pytest.mark.parametrize("unet, texts, million", [
    (BASE, {"text_encoder": CLIP_L, "text_encoder_2": CLIP_G}, 2567.5),
    (REFINER, {"text_encoder_2": CLIP_G}, 2259.5),
], ids=["base", "refiner"])
def test_names_and_shapes(unet, texts, million):
    ours, about = built("t2i-sdxl.so", {"unet": unet, "vae": VAE, **texts})
    with torch.device("meta"):
        assert ours["unet"] == shapes(UNet2DConditionModel(**keywords(unet)))
        assert ours["vae"] == shapes(AutoencoderKL(**keywords(VAE)))
        for part, config in texts.items():
            assert ours[part] == published(config), part
    count = sum(torch.Size(s).numel() for s in ours["unet"].values())
    assert round(count / 1e6, 1) == million
    assert about["resolution"] == 1024 and about["token_limit"] == 77 and about["size_conditioning"]
    # In float32 whatever the training's precision, and never in float16.
    assert about["parts"]["vae"]["auto_dtype"] == "float32" and "float16" not in about["parts"]["vae"]["dtypes"]
    assert about["latent"] == {"channels": 4, "downscale": 8} and about["first_layer"]["channels"] == 4


def test_one_layer_off_is_seen():
    """That the comparison can fail."""
    with torch.device("meta"):
        reference = shapes(UNet2DConditionModel(**keywords(BASE)))
    ours, _ = built("t2i-sdxl.so", {"unet": {**BASE, "transformer_layers_per_block": [1, 2, 9]}, "text_encoder": CLIP_L, "text_encoder_2": CLIP_G})
    assert ours["unet"] != reference and ours["unet"].keys() < reference.keys()
