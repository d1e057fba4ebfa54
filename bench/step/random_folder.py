"""Writes a model folder with random weights and one batch for it, both by the libraries that we are compared with:

    random_folder.py MODEL FOLDER

The folder has a denoiser and a schedule (nothing else is read in a step), inputs.safetensors and facts.json. A tensor
that starts at zero gets small random values: behind a zero no gradient would flow. Large models are made part by part in
bfloat16's values and written as such, so that making them takes no more memory than running them.
"""

import argparse
import hashlib
import json
import pathlib
import time

import torch
from diffusers import (DDPMScheduler, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel, SD3Transformer2DModel,
                       UNet2DConditionModel)
from safetensors.torch import save_file

CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
UP = "CrossAttnUpBlock2D"
# What a text-to-image pipeline of each family is made of, as far as a step needs it.
FAMILIES = {
    "StableDiffusionPipeline": ("unet", UNet2DConditionModel),
    "StableDiffusionXLPipeline": ("unet", UNet2DConditionModel),
    "StableDiffusion3Pipeline": ("transformer", SD3Transformer2DModel),
    "FluxPipeline": ("transformer", FluxTransformer2DModel),
}
SDXL = dict(down_block_types=(PLAIN, CROSS, CROSS), up_block_types=(UP, UP, "UpBlock2D"), use_linear_projection=True,
            addition_embed_type="text_time", addition_time_embed_dim=256)
# "small" is the UNet of assets/small-sd15 with four channels in; "sd15", "sdxl" and "sd35-medium" are the published
# Stable Diffusion 1.5, XL base and 3.5 medium. `trained`: the patterns of train.parameters, where not all of it fits.
MODELS = {
    "small": dict(
        family="StableDiffusionPipeline", batch=32, tokens=16, side=8,
        config=dict(sample_size=8, block_out_channels=(48, 96), layers_per_block=1, norm_num_groups=16,
                    cross_attention_dim=64, attention_head_dim=4, down_block_types=(PLAIN, CROSS),
                    up_block_types=(UP, "UpBlock2D"))),
    "middle": dict(
        family="StableDiffusionPipeline", batch=2, tokens=77, side=32,
        config=dict(sample_size=32, block_out_channels=(128, 256, 512, 512), layers_per_block=1, cross_attention_dim=768)),
    "sd15": dict(family="StableDiffusionPipeline", batch=1, tokens=77, side=64,
                 config=dict(sample_size=64, cross_attention_dim=768)),
    "sdxl-middle": dict(
        family="StableDiffusionXLPipeline", batch=2, tokens=77, side=32,
        config=dict(**SDXL, sample_size=32, block_out_channels=(128, 256, 512), layers_per_block=1,
                    transformer_layers_per_block=(1, 1, 4), attention_head_dim=(2, 4, 8), cross_attention_dim=1024,
                    projection_class_embeddings_input_dim=1536 + 512)),
    "sdxl": dict(
        family="StableDiffusionXLPipeline", batch=1, tokens=77, side=64, trained=["*.attn1.*"], large=True,
        config=dict(**SDXL, sample_size=128, block_out_channels=(320, 640, 1280), layers_per_block=2,
                    transformer_layers_per_block=(1, 2, 10), attention_head_dim=(5, 10, 20), cross_attention_dim=2048,
                    projection_class_embeddings_input_dim=2816)),
    "sd3-middle": dict(
        family="StableDiffusion3Pipeline", batch=2, tokens=154, side=32,
        config=dict(sample_size=32, num_layers=8, attention_head_dim=64, num_attention_heads=9, joint_attention_dim=1024,
                    caption_projection_dim=576, pooled_projection_dim=512, pos_embed_max_size=64, qk_norm="rms_norm",
                    dual_attention_layers=(0, 1, 2))),
    "sd35-medium": dict(
        family="StableDiffusion3Pipeline", batch=1, tokens=333, side=64, trained=["*.attn.*", "*.attn2.*"], large=True,
        config=dict(sample_size=128, num_layers=24, attention_head_dim=64, num_attention_heads=24, joint_attention_dim=4096,
                    caption_projection_dim=1536, pooled_projection_dim=2048, pos_embed_max_size=384, qk_norm="rms_norm",
                    dual_attention_layers=tuple(range(13)))),
    "flux-middle": dict(
        family="FluxPipeline", batch=2, tokens=154, side=32,
        config=dict(in_channels=64, num_layers=3, num_single_layers=6, attention_head_dim=64, num_attention_heads=8,
                    joint_attention_dim=1024, pooled_projection_dim=512, guidance_embeds=True, axes_dims_rope=(8, 28, 28))),
}


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while piece := f.read(1 << 24):
            digest.update(piece)
    return digest.hexdigest()


def random_denoiser(kind, config, seed=0):
    torch.manual_seed(seed)
    model = kind(**config)
    with torch.no_grad():
        for p in model.parameters():
            if not p.any():
                p.normal_(0, 0.02)
    return model


def batch_for(model, seed=1):
    torch.manual_seed(seed)
    n, tokens, config = model["batch"], model["tokens"], model["config"]
    width = config.get("cross_attention_dim") or config["joint_attention_dim"]
    channels = 4 if "cross_attention_dim" in config else 16
    batch = {
        "latents": torch.randn(n, channels, model["side"], model["side"]),
        "prompt_embeds": torch.randn(n, tokens, width),
        "null_prompt_embeds": torch.randn(n, tokens, width),
        "rng": torch.stack([torch.full((n,), 42), torch.zeros(n, dtype=torch.long), torch.arange(n)], 1),
    }
    if "projection_class_embeddings_input_dim" in config:
        pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
        px = 8.0 * model["side"]
        batch["time_ids"] = torch.tensor([[px, px, 0, 0, px, px]]).repeat(n, 1)
    else:
        pooled = config.get("pooled_projection_dim")
    if pooled:
        batch["pooled"], batch["null_pooled"] = torch.randn(n, pooled), torch.randn(n, pooled)
    if config.get("guidance_embeds"):
        batch["guidance"] = torch.ones(n)
    return batch


def write(name, folder):
    folder, model = pathlib.Path(folder), MODELS[name]
    part, kind = FAMILIES[model["family"]]
    if model.get("large"):
        torch.set_default_dtype(torch.bfloat16)
    denoiser = random_denoiser(kind, model["config"])
    denoiser.save_pretrained(folder / part, max_shard_size="10GB")
    torch.set_default_dtype(torch.float32)
    if part == "unet":
        scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                                  steps_offset=1)
    else:
        scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.save_pretrained(folder / "scheduler")
    parts = {part: ["diffusers", kind.__name__], "scheduler": ["diffusers", type(scheduler).__name__]}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": model["family"], **parts}, indent=2))
    batch = batch_for(model)
    save_file(batch, folder / "inputs.safetensors")
    weights = folder / part / "diffusion_pytorch_model.safetensors"
    facts = {"model": name, "parameters": sum(p.numel() for p in denoiser.parameters()), "weights_sha256": sha256(weights),
             "batch": model["batch"], "latents": f"{batch['latents'].shape[2]}x{batch['latents'].shape[3]}",
             "trained": model.get("trained", []), "made": time.strftime("%Y-%m-%d")}
    (folder / "facts.json").write_text(json.dumps(facts, indent=2))  # last: its presence says that all is there


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("folder")
    arguments = parser.parse_args()
    write(arguments.model, arguments.folder)
