"""Writes a model folder with random weights and one batch for it, both by the libraries that we are compared with:

    random_folder.py small|middle|sd15 FOLDER

The folder has a UNet and a schedule (nothing else is read in a step), inputs.safetensors and facts.json. A tensor that
starts at zero gets small random values: behind a zero no gradient would flow.
"""

import argparse
import hashlib
import json
import pathlib
import time

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from safetensors.torch import save_file

CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
# "small" is the UNet of assets/small-sd15 with four channels in; "sd15" is the published Stable Diffusion 1.5.
MODELS = {
    "small": dict(
        batch=32, tokens=16,
        unet=dict(sample_size=8, block_out_channels=(48, 96), layers_per_block=1, norm_num_groups=16,
                  cross_attention_dim=64, attention_head_dim=4, down_block_types=(PLAIN, CROSS),
                  up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"))),
    "middle": dict(
        batch=2, tokens=77,
        unet=dict(sample_size=32, block_out_channels=(128, 256, 512, 512), layers_per_block=1, cross_attention_dim=768)),
    "sd15": dict(batch=1, tokens=77, unet=dict(sample_size=64, cross_attention_dim=768)),
}


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while piece := f.read(1 << 24):
            digest.update(piece)
    return digest.hexdigest()


def random_unet(config, seed=0):
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(**config)
    with torch.no_grad():
        for p in unet.parameters():
            if not p.any():
                p.normal_(0, 0.02)
    return unet


def batch_for(model, seed=1):
    torch.manual_seed(seed)
    n, tokens, unet = model["batch"], model["tokens"], model["unet"]
    side, width = unet["sample_size"], unet["cross_attention_dim"]
    return {
        "latents": torch.randn(n, 4, side, side),
        "prompt_embeds": torch.randn(n, tokens, width),
        "null_prompt_embeds": torch.randn(n, tokens, width),
        "rng": torch.stack([torch.full((n,), 42), torch.zeros(n, dtype=torch.long), torch.arange(n)], 1),
    }


def write(name, folder):
    folder, model = pathlib.Path(folder), MODELS[name]
    unet = random_unet(model["unet"])
    unet.save_pretrained(folder / "unet", max_shard_size="10GB")
    DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                  steps_offset=1).save_pretrained(folder / "scheduler")
    parts = {"unet": ["diffusers", "UNet2DConditionModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline", **parts}, indent=2))
    batch = batch_for(model)
    save_file(batch, folder / "inputs.safetensors")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    facts = {"model": name, "parameters": sum(p.numel() for p in unet.parameters()), "weights_sha256": sha256(weights),
             "batch": model["batch"], "latents": f"{batch['latents'].shape[2]}x{batch['latents'].shape[3]}",
             "made": time.strftime("%Y-%m-%d")}
    (folder / "facts.json").write_text(json.dumps(facts, indent=2))  # last: its presence says that all is there


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("folder")
    arguments = parser.parse_args()
    write(arguments.model, arguments.folder)
