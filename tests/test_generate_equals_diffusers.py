"""`t2i generate` against the pipelines of diffusers on random folders: the same initial latents give the same picture,
whatever the scheduler, the guidance, the task and the batch.

Broken by: a wrong branch or sign in guidance, source latents scaled or sampled, an image brought to size in another way,
another rounding of pixels, a scheduler read with the wrong defaults.
"""
import json
import shutil

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import edit_folder, louder, sd_folder, t2i

PROMPTS = ["a red ball on the table", "zwei grüne Dreiecke"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("generate")
    sd_folder(root / "text", seed=3)
    edit_folder(root / "edit", seed=4)
    for name in ["text", "edit"]:
        louder(root / name)
    random = np.random.default_rng(1)
    for name, size in [("source.png", (16, 16)), ("odd.png", (27, 21))]:  # width, height
        smooth = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize(size, Image.BICUBIC)
        smooth.save(root / name)
    torch.manual_seed(7)
    save_file({"latents": torch.randn(2, 4, 8, 8)}, root / "latents.safetensors")
    save_file({"latents": torch.randn(2, 4, 10, 13)}, root / "odd.safetensors")
    return root


def with_scheduler(place, model, scheduler):
    """The folder with another scheduler."""
    folder = place / f"{model}-{abs(hash(scheduler.to_json_string()))}"
    if not folder.exists():
        shutil.copytree(place / model, folder)
        shutil.rmtree(folder / "scheduler")
        scheduler.save_pretrained(folder / "scheduler")
        index = json.loads((folder / "model_index.json").read_text())
        index["scheduler"] = ["diffusers", type(scheduler).__name__]
        (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def generate(folder, output, *args, latents):
    shutil.rmtree(output, ignore_errors=True)
    t2i("generate", "--model", folder, "--output", output, "--latents", latents, "--batch", 2, *args)
    return np.stack([np.array(Image.open(output / f"{i:05}.png")) for i in range(len(PROMPTS))]).astype(int)


def reference(folder, latents, **arguments):
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    out = pipe(prompt=PROMPTS, latents=load_file(latents)["latents"], output_type="np", **arguments).images
    assert out.std() > 0.08, "pictures without contrast would be equal whatever was drawn"
    return (out * 255).round().astype(int)


def assert_equal_pictures(mine, theirs):
    assert mine.shape == theirs.shape
    # 2 of 255: float32 sums in another order move a value across a rounding border, of which guidance 7.5 makes more.
    assert np.abs(mine - theirs).max() <= 2
    assert (mine != theirs).mean() < 0.02


SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
SCHEDULERS = {
    "pndm": diffusers.PNDMScheduler(skip_prk_steps=True, **SD),
    "ddim": diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False, **SD),
    "euler": diffusers.EulerDiscreteScheduler(**SD),
    "dpm": diffusers.DPMSolverMultistepScheduler(use_karras_sigmas=True, **SD),
    "ddim_trailing_v": diffusers.DDIMScheduler(clip_sample=False, timestep_spacing="trailing", prediction_type="v_prediction",
                                               rescale_betas_zero_snr=True, **SD),
    # As their classes' defaults have them: StableDiffusionPipeline then sets steps_offset to 1 and clip_sample to False
    # by itself, StableDiffusionInstructPix2PixPipeline does not.
    "bare_pndm": diffusers.PNDMScheduler(skip_prk_steps=True),
    "bare_ddim": diffusers.DDIMScheduler(),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_text(place, name):
    folder = with_scheduler(place, "text", SCHEDULERS[name])
    prompts = [x for p in PROMPTS for x in ("--prompt", p)]
    mine = generate(folder, place / "out", *prompts, "--steps", 8, "--guidance", 7.5, "--negative", "dark", latents=place / "latents.safetensors")
    theirs = reference(folder, place / "latents.safetensors", num_inference_steps=8, guidance_scale=7.5, negative_prompt=["dark"] * 2)
    assert_equal_pictures(mine, theirs)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_text_of_another_size_and_guidance(place, guidance):
    (place / "prompts.txt").write_text("\n".join(PROMPTS), encoding="utf-8")
    mine = generate(place / "text", place / "out", "--prompts", place / "prompts.txt", "--steps", 5, "--guidance", guidance,
                    "--size", "26x20", latents=place / "odd.safetensors")
    theirs = StableDiffusion_of_any_size(place / "text", place / "odd.safetensors", guidance)
    assert_equal_pictures(mine, theirs)


def StableDiffusion_of_any_size(folder, latents, guidance):
    # The pipeline wants multiples of 8 pixels, its networks do not.
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    pipe.check_inputs = lambda *a, **k: None
    out = pipe(prompt=PROMPTS, latents=load_file(latents)["latents"], num_inference_steps=5, guidance_scale=guidance, output_type="np",
               height=20, width=26).images
    return (out * 255).round().astype(int)


@pytest.mark.parametrize("name", ["pndm", "euler", "ddim_trailing_v", "bare_pndm", "bare_ddim"])
def test_edits(place, name):
    folder = with_scheduler(place, "edit", SCHEDULERS[name])
    prompts = [x for p in PROMPTS for x in ("--prompt", p)]
    mine = generate(folder, place / "out", *prompts, "--steps", 7, "--guidance", 6, "--image-guidance", 1.4, "--image", place / "source.png",
                    latents=place / "latents.safetensors")
    source = Image.open(place / "source.png")
    theirs = reference(folder, place / "latents.safetensors", num_inference_steps=7, guidance_scale=6, image_guidance_scale=1.4,
                       image=[source, source])
    assert_equal_pictures(mine, theirs)


def test_an_edit_keeps_the_pictures_own_size(place):
    """27 x 21 pixels are resized to 26 x 20, the next multiple of what one latent stands for."""
    prompts = [x for p in PROMPTS for x in ("--prompt", p)]
    mine = generate(place / "edit", place / "out", *prompts, "--steps", 4, "--image", place / "odd.png", latents=place / "odd.safetensors")
    source = Image.open(place / "odd.png")
    theirs = reference(place / "edit", place / "odd.safetensors", num_inference_steps=4, guidance_scale=7.5, image_guidance_scale=1.5,
                       image=[source, source])
    assert mine.shape == (2, 20, 26, 3)
    assert_equal_pictures(mine, theirs)


@pytest.mark.parametrize("sampler, cls, more", [
    ("ddim", diffusers.DDIMScheduler, {}), ("euler", diffusers.EulerDiscreteScheduler, {}),
    ("dpm++2m", diffusers.DPMSolverMultistepScheduler, {}),
    ("dpm++2m_karras", diffusers.DPMSolverMultistepScheduler, {"use_karras_sigmas": True})])
def test_another_sampler_than_the_folders(place, sampler, cls, more):
    folder = with_scheduler(place, "text", SCHEDULERS["pndm"])
    prompts = [x for p in PROMPTS for x in ("--prompt", p)]
    mine = generate(folder, place / "out", *prompts, "--steps", 6, "--sampler", sampler, latents=place / "latents.safetensors")
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    pipe.scheduler = cls.from_config(pipe.scheduler.config, **more)
    pipe.set_progress_bar_config(disable=True)
    out = pipe(prompt=PROMPTS, latents=load_file(place / "latents.safetensors")["latents"], num_inference_steps=6, output_type="np").images
    assert_equal_pictures(mine, (out * 255).round().astype(int))
