"""FLUX.1 dev, schnell and Canny at full size: names and shapes of every parameter as diffusers and transformers have them,
from the configurations as published. Nothing is allocated; see declared.py.
"""

import pytest
import torch
from declared import built, keywords, shapes
from diffusers import AutoencoderKL, FluxTransformer2DModel
from test_sd15_published_shapes import TEXT
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

# transformer/config.json of black-forest-labs/FLUX.1-dev; schnell's differs in guidance_embeds alone.
DEV = {"_class_name": "FluxTransformer2DModel", "_diffusers_version": "0.30.0.dev0", "_name_or_path": "../checkpoints/flux-dev/transformer",
       "attention_head_dim": 128, "guidance_embeds": True, "in_channels": 64, "joint_attention_dim": 4096, "num_attention_heads": 24,
       "num_layers": 19, "num_single_layers": 38, "patch_size": 1, "pooled_projection_dim": 768}
SCHNELL = {**DEV, "guidance_embeds": False}
CANNY = {**DEV, "axes_dims_rope": [16, 56, 56], "in_channels": 128, "out_channels": 64}
VAE = {"_class_name": "AutoencoderKL", "_diffusers_version": "0.30.0.dev0", "act_fn": "silu", "block_out_channels": [128, 256, 512, 512],
       "down_block_types": ["DownEncoderBlock2D"] * 4, "force_upcast": True, "in_channels": 3, "latent_channels": 16, "latents_mean": None,
       "latents_std": None, "layers_per_block": 2, "mid_block_add_attention": True, "norm_num_groups": 32, "out_channels": 3, "sample_size": 1024,
       "scaling_factor": 0.3611, "shift_factor": 0.1159, "up_block_types": ["UpDecoderBlock2D"] * 4, "use_post_quant_conv": False,
       "use_quant_conv": False}
T5_XXL = {"_name_or_path": "google/t5-v1_1-xxl", "architectures": ["T5EncoderModel"], "classifier_dropout": 0.0, "d_ff": 10240, "d_kv": 64,
          "d_model": 4096, "decoder_start_token_id": 0, "dense_act_fn": "gelu_new", "dropout_rate": 0.1, "eos_token_id": 1,
          "feed_forward_proj": "gated-gelu", "initializer_factor": 1.0, "is_encoder_decoder": True, "is_gated_act": True,
          "layer_norm_epsilon": 1e-06, "model_type": "t5", "num_decoder_layers": 24, "num_heads": 64, "num_layers": 24, "output_past": True,
          "pad_token_id": 0, "relative_attention_max_distance": 128, "relative_attention_num_buckets": 32, "tie_word_embeddings": False,
          "torch_dtype": "bfloat16", "transformers_version": "4.43.3", "use_cache": True, "vocab_size": 32128}


@pytest.mark.parametrize("transformer, million", [(DEV, 11901.4), (SCHNELL, 11891.2), (CANNY, 11901.6)])
def test_names_and_shapes(transformer, million):
    ours, about = built("t2i-flux.so", {"transformer": transformer, "vae": VAE, "text_encoder": TEXT, "text_encoder_2": T5_XXL}, options={})
    with torch.device("meta"):
        reference = {"transformer": FluxTransformer2DModel(**keywords(transformer)),
                     "vae": AutoencoderKL(**keywords(VAE)),
                     "text_encoder": CLIPTextModel(CLIPTextConfig(**TEXT)), "text_encoder_2": T5EncoderModel(T5Config(**T5_XXL))}
    assert ours["transformer"] == shapes(reference["transformer"])
    assert ours["vae"] == shapes(reference["vae"])
    assert ours["text_encoder"] == {"text_model." + n: s for n, s in shapes(reference["text_encoder"]).items()}
    encoder = shapes(reference["text_encoder_2"])
    encoder.pop("encoder.embed_tokens.weight", None)  # the same tensor under its second name
    assert ours["text_encoder_2"] == encoder
    assert round(sum(torch.Size(s).numel() for s in ours["transformer"].values()) / 1e6, 1) == million
    assert about["latent"] == {"channels": 16, "downscale": 8, "patch": 2} and about["resolution"] == 1024
    assert about["first_layer"]["channels"] * about["first_layer"]["per_channel"] == transformer["in_channels"]
    assert ("distilled_guidance" in about) == transformer["guidance_embeds"]
    assert about["parts"]["text_encoder_2"]["dtypes"] == ["float32", "bfloat16"]


@pytest.mark.parametrize("change, wrong", [({"num_single_layers": 37}, "fewer"), ({"num_layers": 20}, "more"), ({"pooled_projection_dim": 640}, "other")])
def test_one_number_off_is_seen(change, wrong):
    """That the comparison can fail."""
    with torch.device("meta"):
        reference = shapes(FluxTransformer2DModel(**keywords(DEV)))
    ours = built("t2i-flux.so", {"transformer": {**DEV, **change}}, options={})[0]["transformer"]
    assert ours != reference
    assert {"fewer": ours.keys() < reference.keys(), "more": ours.keys() > reference.keys(), "other": ours.keys() == reference.keys()}[wrong]
