"""FLUX.1 from folder to folder: pictures equal diffusers' pipelines, training in both tasks leaves a folder that they open and
draw the same from, edits through FluxControlPipeline among them.

Broken by: a guidance that is that of training when drawing or the other way round, levels that end elsewhere, a shift of
another picture's size, source latents that are not shifted and scaled, a widened folder without out_channels.
"""

import json
import os
import shutil

import diffusers
import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from diffusers_losses import normal, uniform
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import AS_CAPTIONS, metrics, settings, t2i, triplet_data

from make_folders import make_flux

PROMPTS = ["a red ball on the table", "zwei grüne Dreiecke"]
LENGTH = 24  # of a text for T5: all 512 would make most of the time
TRAIN = settings(data__resolution=16, data__num_workers=1, train__max_train_steps=3, train__train_batch_size=2, train__gradient_accumulation_steps=1,
                 train__mixed_precision="fp32", optimizer__learning_rate=1e-3, validation__every_steps=0, plugin__t5_length=LENGTH)


def louder(folder):
    """Random weights make grey pictures: the last layers are scaled until pictures have contrast."""
    for part, layer, factor in [("transformer", "proj_out", 2.0), ("vae", "decoder.conv_out", 6.0)]:
        path = os.path.join(folder, part, "diffusion_pytorch_model.safetensors")
        weights = load_file(path)
        weights[layer + ".weight"] *= factor
        save_file(weights, path, metadata={"format": "pt"})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("flux")
    for name, options in {"dev": {}, "schnell": {"transformer": {"guidance_embeds": False}, "scheduler": {}},
                          "edit": {"transformer": {"in_channels": 128, "out_channels": 64}}}.items():
        make_flux(str(root / name), seed=len(name), **options)
        louder(root / name)
    triplet_data(root / "data", count=8)
    random = np.random.default_rng(1)
    Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((16, 16), Image.BICUBIC).save(root / "source.png")
    torch.manual_seed(7)
    save_file({"latents": torch.randn(2, 16, 8, 8)}, root / "latents.safetensors")
    return root


def drawn(place, folder, *args):
    shutil.rmtree(place / "out", ignore_errors=True)
    texts = [x for p in PROMPTS for x in ("--prompt", p)]
    t2i("generate", "--model", folder, "--output", place / "out", "--latents", place / "latents.safetensors", "--size", "16x16", "--batch", 2,
        "--steps", 6, *texts, *args)
    return np.stack([np.array(Image.open(place / "out" / f"{i:05}.png")) for i in range(len(PROMPTS))]).astype(int)


def by_diffusers(place, folder, **arguments):
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    latents = pipe._pack_latents(load_file(place / "latents.safetensors")["latents"], 2, 16, 8, 8)
    out = pipe(prompt=PROMPTS, latents=latents, output_type="np", height=16, width=16, num_inference_steps=6, **arguments).images
    assert out.std() > 0.08, "pictures without contrast would be equal whatever was drawn"
    return (out * 255).round().astype(int)


def edited_by_diffusers(place, folder, monkeypatch):
    """The pipeline draws its source from the posterior; edits here take the mode."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    return by_diffusers(place, folder, control_image=[Image.open(place / "source.png").convert("RGB")] * 2)


def assert_equal_pictures(mine, theirs):
    # 2 of 255: float32 sums in another order move a value across a rounding border, of which guidance makes more.
    assert mine.shape == theirs.shape and np.abs(mine - theirs).max() <= 2 and (mine != theirs).mean() < 0.02


@pytest.mark.parametrize("name", ["dev", "schnell"])
def test_pictures_from_text(place, name):
    """As the pipeline without any argument: guidance 3.5 told to the model, no second prediction."""
    assert_equal_pictures(drawn(place, place / name), by_diffusers(place, place / name))


def test_true_guidance(place):
    mine = drawn(place, place / "schnell", "--guidance", 4, "--negative", "dark")
    assert_equal_pictures(mine, by_diffusers(place, place / "schnell", true_cfg_scale=4.0, negative_prompt=["dark"] * 2))


def test_edited_pictures(place, monkeypatch):
    mine = drawn(place, place / "edit", "--guidance", 1, "--image", place / "source.png")
    assert_equal_pictures(mine, edited_by_diffusers(place, place / "edit", monkeypatch))


@pytest.mark.parametrize("task", ["text", "ip2p"])
@pytest.mark.parametrize("name", ["dev", "schnell"])
def test_training_leaves_a_folder_that_draws_the_same(place, task, name, monkeypatch):
    out = place / f"run-{task}-{name}"
    columns = AS_CAPTIONS if task == "text" else []
    t2i("run", "--plugin", "flux", "--task", task, "--model", place / name, "--data", place / "data", "--output", out, *TRAIN, *columns)
    assert [m["step"] for m in metrics(out)] == [1, 2, 3] and all(np.isfinite(m["loss"]) for m in metrics(out))
    index = json.loads((out / "final" / "model_index.json").read_text())
    assert index["_class_name"] == {"text": "FluxPipeline", "ip2p": "FluxControlPipeline"}[task]
    before, after = (json.loads((f / "scheduler" / "scheduler_config.json").read_text()) for f in (place / name, out / "final"))
    assert {**before, "_diffusers_version": 0} == {**after, "_diffusers_version": 0}
    if task == "text":
        assert_equal_pictures(drawn(place, out / "final"), by_diffusers(place, out / "final"))
        return
    config = json.loads((out / "final" / "transformer" / "config.json").read_text())
    assert config["in_channels"] == 128 and config["out_channels"] == 64
    mine = drawn(place, out / "final", "--guidance", 1, "--image", place / "source.png")
    assert_equal_pictures(mine, edited_by_diffusers(place, out / "final", monkeypatch))


@pytest.mark.parametrize("told", [None, 2.5])
def test_the_loss_of_a_step_is_the_published_one(place, tmp_path, told):
    """Timesteps shifted by the picture's size (16 places here), guidance 1 unless told, target noise minus data; draws as
    documented."""
    (tmp_path / "data").mkdir()
    Image.new("RGB", (16, 16), (90, 160, 30)).save(tmp_path / "data" / "a.png")
    (tmp_path / "data" / "a.txt").write_text(PROMPTS[0])
    more = settings(plugin__training_guidance=told) if told else []
    t2i("run", "--task", "text", "--model", place / "dev", "--data", tmp_path / "data", "--output", tmp_path / "run", *TRAIN,
        *settings(train__train_batch_size=1, train__max_train_steps=1, data__random_flip="false"), *more)
    key, pipe = (42, 0, 0), diffusers.DiffusionPipeline.from_pretrained(place / "dev")
    with torch.no_grad():
        embeds, pooled, ids = pipe.encode_prompt(PROMPTS[0], device="cpu", max_sequence_length=LENGTH)
        posterior = pipe.vae.encode(torch.tensor([90.0, 160.0, 30.0]).view(1, 3, 1, 1).expand(1, 3, 16, 16) / 127.5 - 1).latent_dist
        sample = posterior.mean + posterior.std * torch.from_numpy(normal(key, "posterior", (16, 8, 8)))
        x = (sample - pipe.vae.config.shift_factor) * pipe.vae.config.scaling_factor
        sigma = 1 - torch.tensor([float(uniform(key, "timesteps")[0])])
        sigma = pipe.scheduler.time_shift(calculate_shift(16), 1.0, sigma)
        noise = torch.from_numpy(normal(key, "noise", (16, 8, 8)))[None]
        pack = lambda y: pipe._pack_latents(y, 1, 16, 8, 8)
        places = pipe._prepare_latent_image_ids(1, 4, 4, "cpu", torch.float32)
        predicted = pipe.transformer(pack((1 - sigma) * x + sigma * noise), embeds, pooled, sigma, places, ids,
                                     guidance=torch.tensor([told or 1.0])).sample
        wanted = (predicted - pack(noise - x)).square().mean().item()
    assert metrics(tmp_path / "run")[0]["loss"] == pytest.approx(wanted, rel=1e-5)
