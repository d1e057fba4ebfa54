"""The full-size networks of the published Stable Diffusion 3 and 3.5 folders: names and shapes of every parameter as
diffusers and transformers have them, from the configurations as published. Nothing is allocated: their side is built on
the meta device, ours only declares, through the plugin interface.
"""

import pytest
import torch
from declared import built, keywords, shapes
from diffusers import AutoencoderKL, SD3Transformer2DModel
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

# stable-diffusion-3-medium: transformer, vae, text_encoder, text_encoder_2 and text_encoder_3 config.json.
SD3 = {"_class_name": "SD3Transformer2DModel", "_diffusers_version": "0.29.0.dev0", "attention_head_dim": 64, "caption_projection_dim": 1536,
       "in_channels": 16, "joint_attention_dim": 4096, "num_attention_heads": 24, "num_layers": 24, "out_channels": 16, "patch_size": 2,
       "pooled_projection_dim": 2048, "pos_embed_max_size": 192, "sample_size": 128}
MEDIUM = {**SD3, "dual_attention_layers": list(range(13)), "pos_embed_max_size": 384, "qk_norm": "rms_norm"}  # 3.5 medium
LARGE = {**SD3, "caption_projection_dim": 2432, "dual_attention_layers": [], "num_attention_heads": 38, "num_layers": 38, "qk_norm": "rms_norm"}
VAE = {"_class_name": "AutoencoderKL", "act_fn": "silu", "block_out_channels": [128, 256, 512, 512], "down_block_types": ["DownEncoderBlock2D"] * 4,
       "force_upcast": True, "in_channels": 3, "latent_channels": 16, "latents_mean": None, "latents_std": None, "layers_per_block": 2,
       "norm_num_groups": 32, "out_channels": 3, "sample_size": 1024, "scaling_factor": 1.5305, "shift_factor": 0.0609,
       "up_block_types": ["UpDecoderBlock2D"] * 4, "use_post_quant_conv": False, "use_quant_conv": False}
CLIP_L = {"architectures": ["CLIPTextModelWithProjection"], "attention_dropout": 0.0, "bos_token_id": 0, "dropout": 0.0, "eos_token_id": 2,
          "hidden_act": "quick_gelu", "hidden_size": 768, "initializer_factor": 1.0, "initializer_range": 0.02, "intermediate_size": 3072,
          "layer_norm_eps": 1e-05, "max_position_embeddings": 77, "model_type": "clip_text_model", "num_attention_heads": 12,
          "num_hidden_layers": 12, "pad_token_id": 1, "projection_dim": 768, "torch_dtype": "float16", "transformers_version": "4.41.2",
          "vocab_size": 49408}
CLIP_G = {**CLIP_L, "hidden_act": "gelu", "hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 20, "num_hidden_layers": 32,
          "projection_dim": 1280}
T5_XXL = {"architectures": ["T5EncoderModel"], "classifier_dropout": 0.0, "d_ff": 10240, "d_kv": 64, "d_model": 4096, "decoder_start_token_id": 0,
          "dense_act_fn": "gelu_new", "dropout_rate": 0.1, "eos_token_id": 1, "feed_forward_proj": "gated-gelu", "initializer_factor": 1.0,
          "is_encoder_decoder": True, "is_gated_act": True, "layer_norm_epsilon": 1e-06, "model_type": "t5", "num_decoder_layers": 24,
          "num_heads": 64, "num_layers": 24, "output_past": True, "pad_token_id": 0, "relative_attention_max_distance": 128,
          "relative_attention_num_buckets": 32, "tie_word_embeddings": False, "torch_dtype": "float16", "transformers_version": "4.41.2",
          "use_cache": True, "vocab_size": 32128}


@pytest.mark.parametrize("transformer, million", [(SD3, 2028.3), (MEDIUM, 2243.2), (LARGE, 8056.6)], ids=["3-medium", "3.5-medium", "3.5-large"])
def test_names_and_shapes(transformer, million):
    parts = {"transformer": transformer, "vae": VAE, "text_encoder": CLIP_L, "text_encoder_2": CLIP_G, "text_encoder_3": T5_XXL}
    ours, about = built("t2i-sd3.so", parts, scheduler={"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})
    with torch.device("meta"):
        reference = SD3Transformer2DModel(**keywords(transformer))
        assert ours["transformer"] == shapes(reference)
        assert ours["vae"] == shapes(AutoencoderKL(**keywords(VAE)))
        for part, config in {"text_encoder": CLIP_L, "text_encoder_2": CLIP_G}.items():
            assert ours[part] == shapes(CLIPTextModelWithProjection(CLIPTextConfig(**config))), part
        t5 = shapes(T5EncoderModel(T5Config(**T5_XXL)))
    assert t5.pop("encoder.embed_tokens.weight", None) in (None, t5["shared.weight"])  # a second name of the same weight
    assert ours["text_encoder_3"] == t5
    assert round(sum(p.numel() for p in reference.parameters()) / 1e6, 1) == million
    assert about["resolution"] == 1024 and about["default_loss"] == "rectified_flow" and about["default_loss_options"] == {"weighting": "logit_normal"}
    assert about["parts"]["text_encoder_3"]["dtypes"] == ["float32", "bfloat16"]  # float16 overflows in its feed-forwards
    assert about["latent"] == {"channels": 16, "downscale": 8, "patch": 2, "most_places": transformer["pos_embed_max_size"]} and about["first_layer"]["channels"] == 16


def test_one_layer_off_is_seen():
    """That the comparison can fail."""
    with torch.device("meta"):
        reference = shapes(SD3Transformer2DModel(**keywords(MEDIUM)))
    ours, _ = built("t2i-sd3.so", {"transformer": {**MEDIUM, "dual_attention_layers": list(range(12))}})
    assert ours["transformer"] != reference and ours["transformer"].keys() < reference.keys()
