"""Without options `t2i generate` takes as many steps and as strong a guidance as the family's diffusers pipeline does.

Broken by: one family's numbers taken for another's, an option's own default in their place.
"""

import inspect
import re

import diffusers
import pytest
from PIL import Image
from tiny import t2i

from make_folders import make_flux, make_sd15, make_sd3, make_sdxl

# Folder, task -> the pipeline whose call tells what is usual.
CELLS = {("sd15", "text"): "StableDiffusionPipeline", ("sd15", "ip2p"): "StableDiffusionInstructPix2PixPipeline",
         ("sdxl", "text"): "StableDiffusionXLPipeline", ("sdxl", "ip2p"): "StableDiffusionXLInstructPix2PixPipeline",
         ("sd3", "text"): "StableDiffusion3Pipeline", ("flux", "text"): "FluxPipeline", ("flux", "ip2p"): "FluxControlPipeline"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("defaults")
    make_sd15(str(root / "sd15-text")), make_sd15(str(root / "sd15-ip2p"), unet={"in_channels": 8})
    make_sdxl(str(root / "sdxl-text")), make_sdxl(str(root / "sdxl-ip2p"), unet={"in_channels": 8})
    make_sd3(str(root / "sd3-text")), make_flux(str(root / "flux-text")), make_flux(str(root / "flux-ip2p"))
    Image.new("RGB", (16, 16), (200, 90, 40)).save(root / "source.png")
    return root


@pytest.mark.parametrize("family, task", CELLS)
def test_steps_and_guidance(place, family, task):
    usual = {name: p.default for name, p in inspect.signature(getattr(diffusers, CELLS[family, task]).__call__).parameters.items()}
    image = ["--image", place / "source.png"] if task == "ip2p" else []
    out = place / f"{family}-{task}.png"
    size = [] if task == "ip2p" else ["--size", "16x16"]
    t2i("generate", "--model", place / f"{family}-{task}", "--task", task, "--prompt", "a red ball", "--output", out, *size, *image)
    said = Image.open(out).text["parameters"]
    assert int(re.search(r"Steps: (\d+)", said)[1]) == usual["num_inference_steps"], said
    if family != "flux":  # what FLUX.1 is told of guidance is an input of its network; tests/test_flux_end_to_end.py has it
        assert float(re.search(r", CFG scale: ([0-9.]+)", said)[1]) == usual["guidance_scale"], said
    if task == "ip2p" and family != "flux":
        assert float(re.search(r"Image CFG scale: ([0-9.]+)", said)[1]) == usual["image_guidance_scale"], said
