"""Four families, two tasks: each of the eight cells trains, resumes bit for bit, generates, and leaves a folder that
diffusers opens.

Broken by: a family that one task does not fit, something of a family's step that is not drawn from seed, step and sample,
a final/ whose parts or class diffusers does not take.
"""

import json

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from tiny import AS_CAPTIONS, metrics, settings, sha256, t2i, triplet_data

from make_folders import make_flux, make_sd15, make_sd3, make_sdxl

MAKE = {"sd15": make_sd15, "sdxl": make_sdxl, "sd3": lambda folder: make_sd3(folder, t5={}), "flux": make_flux}
# What final/ says it is. Where diffusers has no pipeline for a task, its transformer is what opens.
PIPELINE = {("sd15", "text"): "StableDiffusionPipeline", ("sd15", "ip2p"): "StableDiffusionInstructPix2PixPipeline",
            ("sdxl", "text"): "StableDiffusionXLPipeline", ("sdxl", "ip2p"): "StableDiffusionXLInstructPix2PixPipeline",
            ("sd3", "text"): "StableDiffusion3Pipeline", ("sd3", "ip2p"): "StableDiffusion3Pipeline",
            ("flux", "text"): "FluxPipeline", ("flux", "ip2p"): "FluxControlPipeline"}
TRAIN = settings(data__resolution=16, data__num_workers=1, train__train_batch_size=2, train__gradient_accumulation_steps=1,
                 train__mixed_precision="fp32", train__use_ema="true", optimizer__learning_rate=1e-3, validation__every_steps=0,
                 checkpoint__every_steps=2)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("cells")
    for family, make in MAKE.items():
        make(str(root / family))
    triplet_data(root / "data", count=8)
    Image.new("RGB", (16, 16), (200, 90, 40)).save(root / "source.png")
    return root


@pytest.mark.parametrize("task", ["text", "ip2p"])
@pytest.mark.parametrize("family", MAKE)
def test_cell(place, family, task):
    def run(name, steps):
        out = place / f"{family}-{task}-{name}"
        t2i("run", "--plugin", family, "--task", task, "--model", place / family, "--data", place / "data", "--output", out,
            *TRAIN, *settings(train__max_train_steps=steps), *(AS_CAPTIONS if task == "text" else []))
        return out

    # Trains and resumes: stopped after two steps and gone on, the bits of the run that went through.
    whole = run("whole", 4)
    run("stopped", 2)
    stopped = run("stopped", 4)
    assert [m["step"] for m in metrics(stopped)] == [1, 2, 3, 4] and all(np.isfinite(m["loss"]) for m in metrics(stopped))
    assert sha256(whole / "checkpoint-4" / "state.safetensors") == sha256(stopped / "checkpoint-4" / "state.safetensors")

    # Generates.
    image = ["--image", place / "source.png"] if task == "ip2p" else []
    pictures = []
    for text in ("a red ball", "ein blauer Stern"):
        t2i("generate", "--model", whole / "final", "--prompt", text, "--steps", 3, "--size", "16x16", "--output", place / "one.png", *image)
        pictures.append(np.array(Image.open(place / "one.png")))
    assert pictures[0].shape == (16, 16, 3) and (pictures[0] != pictures[1]).any()

    # diffusers opens it.
    final = whole / "final"
    expected = PIPELINE[family, task]
    assert json.loads((final / "model_index.json").read_text())["_class_name"] == expected
    pipe = diffusers.DiffusionPipeline.from_pretrained(final)
    assert type(pipe).__name__ == expected
    denoiser = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
    before = diffusers.DiffusionPipeline.from_pretrained(place / family)
    before = before.unet if hasattr(before, "unet") else before.transformer
    assert (denoiser.config.in_channels == 2 * before.config.in_channels) == (task == "ip2p")
    changed = [name for name, p in denoiser.state_dict().items() if p.shape == before.state_dict()[name].shape and not torch.equal(p, before.state_dict()[name])]
    assert len(changed) > 0.9 * len(list(denoiser.parameters()))
