"""What the families' tests from folder to folder share: small folders that draw with contrast, pictures by t2i and by
diffusers from the same latents, and when two pictures are the same."""

import os
import shutil

import diffusers
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import settings, t2i, triplet_data

PROMPTS = ["a red ball on the table", "zwei grüne Dreiecke"]
TRAIN = settings(data__resolution=16, data__num_workers=1, train__max_train_steps=3, train__train_batch_size=2, train__gradient_accumulation_steps=1,
                 train__mixed_precision="fp32", optimizer__learning_rate=1e-3, validation__every_steps=0)


def louder(folder, denoiser, layer):
    """Random weights make grey pictures: the last layers are scaled until pictures have contrast."""
    for part, name, factor in [(denoiser, layer, 2.0), ("vae", "decoder.conv_out", 6.0)]:
        path = os.path.join(folder, part, "diffusion_pytorch_model.safetensors")
        weights = load_file(path)
        weights[name + ".weight"] *= factor
        save_file(weights, path, metadata={"format": "pt"})


def data_picture_and_latents(root, channels):
    triplet_data(root / "data", count=8)
    random = np.random.default_rng(1)
    Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((16, 16), Image.BICUBIC).save(root / "source.png")
    torch.manual_seed(7)
    save_file({"latents": torch.randn(2, channels, 8, 8)}, root / "latents.safetensors")


def latents_of(place):
    return load_file(place / "latents.safetensors")["latents"]


def source_of(place):
    return Image.open(place / "source.png").convert("RGB")


def drawn(place, folder, *args):
    shutil.rmtree(place / "out", ignore_errors=True)
    texts = [x for p in PROMPTS for x in ("--prompt", p)]
    t2i("generate", "--model", folder, "--output", place / "out", "--latents", place / "latents.safetensors", "--size", "16x16", "--batch", 2,
        "--steps", 6, *texts, *args)
    return np.stack([np.array(Image.open(place / "out" / f"{i:05}.png")) for i in range(len(PROMPTS))]).astype(int)


def opened(folder, **arguments):
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder, **arguments)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def by_diffusers(pipe, latents, **arguments):
    out = pipe(prompt=PROMPTS, latents=latents, output_type="np", height=16, width=16, num_inference_steps=6, **arguments).images
    return as_pixels(out)


def as_pixels(pictures):
    assert pictures.std() > 0.08, "pictures without contrast would be equal whatever was drawn"
    return (pictures * 255).round().astype(int)


def assert_equal_pictures(mine, theirs):
    # 2 of 255: float32 sums in another order move a value across a rounding border, of which guidance makes more.
    assert mine.shape == theirs.shape and np.abs(mine - theirs).max() <= 2 and (mine != theirs).mean() < 0.02
