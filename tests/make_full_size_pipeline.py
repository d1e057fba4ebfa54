"""A whole pipeline at its published size with random weights in bfloat16, for `t2i run`: what make_full_size.py writes of the
denoiser, and the VAE and text models besides. Tokenizers and schedule are those of the small folders.

    python tests/make_full_size_pipeline.py sd15 | sdxl | sd35-large | flux-dev FOLDER      2.1, 6.9, 26 and 33 GB
"""

import json
import pathlib
import sys

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from declared import keywords
from make_folders import make_flux, make_sd15, make_sd3, make_sdxl
from make_full_size import write_shard


def parts_of(name):
    """What makes the small folder, and of each part its class and published configuration."""
    if name == "sd15":
        from test_sd15_published_shapes import TEXT, UNET, VAE

        return make_sd15, {"unet": (UNet2DConditionModel, UNET), "vae": (AutoencoderKL, VAE), "text_encoder": (CLIPTextModel, TEXT)}
    if name == "sdxl":
        from test_sdxl_published_shapes import BASE, CLIP_G, CLIP_L, VAE

        return make_sdxl, {"unet": (UNet2DConditionModel, BASE), "vae": (AutoencoderKL, VAE), "text_encoder": (CLIPTextModel, CLIP_L),
                           "text_encoder_2": (CLIPTextModelWithProjection, CLIP_G)}
    if name == "sd35-large":
        from test_sd3_published_shapes import CLIP_G, CLIP_L, LARGE, T5_XXL, VAE

        return (lambda folder: make_sd3(folder, t5={})), {
            "transformer": (SD3Transformer2DModel, LARGE), "vae": (AutoencoderKL, VAE), "text_encoder": (CLIPTextModelWithProjection, CLIP_L),
            "text_encoder_2": (CLIPTextModelWithProjection, CLIP_G), "text_encoder_3": (T5EncoderModel, T5_XXL)}
    from test_flux_published_shapes import DEV, T5_XXL, TEXT, VAE

    return make_flux, {"transformer": (FluxTransformer2DModel, DEV), "vae": (AutoencoderKL, VAE), "text_encoder": (CLIPTextModel, TEXT),
                       "text_encoder_2": (T5EncoderModel, T5_XXL)}


def shapes_of(kind, config):
    with torch.device("meta"):
        if kind is T5EncoderModel:
            network = kind(T5Config(**config))
        elif kind in (CLIPTextModel, CLIPTextModelWithProjection):
            network = kind(CLIPTextConfig(**config))
        else:
            network = kind(**keywords(config))
    return {name: tuple(p.shape) for name, p in network.state_dict().items() if name != "encoder.embed_tokens.weight" and not name.endswith("position_ids")}


def write_folder(folder, name):
    make, parts = parts_of(name)
    make(str(folder))
    for part, (kind, config) in parts.items():
        there = pathlib.Path(folder) / part
        for file in list(there.glob("*.safetensors")) + list(there.glob("*.index.json")):
            file.unlink()
        (there / "config.json").write_text(json.dumps(config))
        transformers = kind in (T5EncoderModel, CLIPTextModel, CLIPTextModelWithProjection)
        write_shard(there / ("model.safetensors" if transformers else "diffusion_pytorch_model.safetensors"), shapes_of(kind, config))


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("sd15", "sdxl", "sd35-large", "flux-dev"):
        sys.exit(__doc__)
    write_folder(sys.argv[2], sys.argv[1])
