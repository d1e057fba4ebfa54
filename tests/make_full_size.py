"""A model's folder at its published size with random weights in bfloat16, written tensor by tensor into shards as diffusers
has them, so that making 24 GB takes a few hundred megabytes of memory:

    python tests/make_full_size.py flux-dev FOLDER        23.8 GB
    python tests/make_full_size.py sd35-large FOLDER      16.1 GB

The denoiser has its weights, of the text models and the VAE there are the configurations alone; in.safetensors is what
`t2i probe forward` reads. The configurations are those of the test_*_published_shapes.py.
"""

import json
import os
import struct
import sys

import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
from safetensors.torch import save_file

SHARD = 10 << 30  # bytes, as diffusers cuts


def model(name):
    """Pipeline, class of the denoiser, configurations of the parts with their classes, and what the denoiser is given at 1024 pixels."""
    from declared import keywords

    given = {"latents": torch.randn(1, 16, 128, 128), "timesteps": torch.tensor([417.0])}
    if name == "flux-dev":
        from test_flux_published_shapes import DEV, T5_XXL, TEXT

        parts = {"transformer": (DEV, "FluxTransformer2DModel"), "text_encoder": (TEXT, "CLIPTextModel"), "text_encoder_2": (T5_XXL, "T5EncoderModel")}
        given |= {"prompt_embeds": torch.randn(1, 512, 4096), "pooled": torch.randn(1, 768), "guidance": torch.tensor([3.5])}
        kind, config, pipeline = FluxTransformer2DModel, DEV, "FluxPipeline"
    else:
        from test_sd3_published_shapes import LARGE

        parts = {"transformer": (LARGE, "SD3Transformer2DModel")}
        given |= {"prompt_embeds": torch.randn(1, 77 + 256, 4096), "pooled": torch.randn(1, 2048)}
        kind, config, pipeline = SD3Transformer2DModel, LARGE, "StableDiffusion3Pipeline"
    with torch.device("meta"):
        network = kind(**keywords(config))
    return pipeline, {n: tuple(p.shape) for n, p in network.state_dict().items()}, parts, given


def draw(name, shape):
    """Weights such that the signal keeps its size."""
    generator = torch.Generator().manual_seed(hash_of(name))
    x = torch.empty(shape, dtype=torch.bfloat16).normal_(generator=generator)
    if name == "pos_embed.pos_embed":
        return x
    if len(shape) > 1:
        return x.mul_(torch.Size(shape[1:]).numel() ** -0.5)
    return x.mul_(0.1).add_(1.0 if name.endswith("weight") else 0.0)


def hash_of(name):
    value = 7
    for byte in name.encode():
        value = (value * 131 + byte) % (1 << 31)
    return value


def write_shard(path, shapes):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        size = 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            file.write(draw(name, shape).view(torch.uint8).numpy().data)


def write_weights(folder, shapes):
    shards, size = [{}], 0
    for name, shape in shapes.items():
        bytes_ = 2 * torch.Size(shape).numel()
        if size and size + bytes_ > SHARD:
            shards.append({})
            size = 0
        shards[-1][name] = shape
        size += bytes_
    weight_map = {}
    for i, shard in enumerate(shards):
        name = f"diffusion_pytorch_model-{i + 1:05}-of-{len(shards):05}.safetensors"
        write_shard(f"{folder}/{name}", shard)
        weight_map |= dict.fromkeys(shard, name)
    total = sum(2 * torch.Size(shape).numel() for shape in shapes.values())
    json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, open(f"{folder}/diffusion_pytorch_model.safetensors.index.json", "w"))


def write_folder(folder, name):
    torch.manual_seed(0)
    pipeline, shapes, parts, given = model(name)
    index = {"_class_name": pipeline}
    for part, (config, kind) in parts.items():
        os.makedirs(f"{folder}/{part}")
        json.dump(config, open(f"{folder}/{part}/config.json", "w"))
        index[part] = ["diffusers" if part == "transformer" else "transformers", kind]
    json.dump(index, open(f"{folder}/model_index.json", "w"))
    write_weights(f"{folder}/transformer", shapes)
    save_file(given, f"{folder}/in.safetensors")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("flux-dev", "sd35-large"):
        sys.exit(__doc__)
    write_folder(sys.argv[2], sys.argv[1])
