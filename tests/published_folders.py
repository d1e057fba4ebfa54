"""The folders of published models with everything but their contents: configurations as published, tokenizers of the small
folders, and weight files whose headers name every tensor and whose bytes are a hole in the file. `t2i plan` reads no weights.

    hub = make_hub(folder)      a hub cache with them, for HF_HUB_CACHE
"""

import json
import os
import pathlib
import shutil
import struct

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel
from transformers import T5EncoderModel

from make_full_size_pipeline import parts_of, shapes_of

WEIGHTS = {"transformers": "model.safetensors", "diffusers": "diffusion_pytorch_model.safetensors"}


def write_hollow(path, shapes, dtype="F16", bytes_=2):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        size = bytes_ * torch.Size(shape).numel()
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)


def write_part(folder, kind, config):
    """A part's configuration and hollow weights, in the place of what is there."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for file in [*folder.glob("*.safetensors"), *folder.glob("*.index.json")]:
        file.unlink()
    (folder / "config.json").write_text(json.dumps(config))
    library = kind.__module__.split(".")[0]
    write_hollow(folder / WEIGHTS[library], shapes_of(kind, config))


def write_pipeline(folder, name):
    """As parts_of() knows it, or "sd35-medium"."""
    make, parts = parts_of("sd35-large" if name == "sd35-medium" else name)
    if name == "sd35-medium":
        from test_sd3_published_shapes import MEDIUM

        parts["transformer"] = (SD3Transformer2DModel, MEDIUM)
    make(str(folder))
    for part, (kind, config) in parts.items():
        write_part(pathlib.Path(folder) / part, kind, config)


def write_t5(folder, flux):
    """google/t5-v1_1-xxl's encoder with a tokenizer, which a FLUX.1 folder has, too."""
    from test_flux_published_shapes import T5_XXL

    write_part(folder, T5EncoderModel, T5_XXL)
    for file in (pathlib.Path(flux) / "tokenizer_2").iterdir():
        shutil.copy(file, folder)


def write_vae(folder):
    from test_sdxl_published_shapes import VAE

    write_part(folder, AutoencoderKL, VAE)


def make_hub(cache):
    """Everything that the presets name, as hf download leaves it."""
    cache = pathlib.Path(cache)

    def snapshot(name):
        repository = cache / ("models--" + name.replace("/", "--"))
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("0123456789abcdef")
        folder = repository / "snapshots" / "0123456789abcdef"
        folder.parent.mkdir()
        return folder

    flux = snapshot("black-forest-labs/FLUX.1-dev")
    for folder, name in [(flux, "flux-dev"), (snapshot("stable-diffusion-v1-5/stable-diffusion-v1-5"), "sd15"),
                         (snapshot("stabilityai/stable-diffusion-xl-base-1.0"), "sdxl"), (snapshot("stabilityai/stable-diffusion-3.5-medium"), "sd35-medium"),
                         (snapshot("stabilityai/stable-diffusion-3.5-large"), "sd35-large")]:
        write_pipeline(folder, name)
    write_vae(snapshot("stabilityai/sdxl-vae"))
    write_t5(snapshot("google/t5-v1_1-xxl"), flux)
    assert sum(file.stat().st_blocks * 512 for file in cache.rglob("*") if file.is_file()) < 200e6, "the weights are holes"
    return str(cache)


if __name__ == "__main__":
    import sys

    os.makedirs(sys.argv[1], exist_ok=True)
    make_hub(sys.argv[1])
