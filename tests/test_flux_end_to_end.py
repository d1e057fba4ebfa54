"""FLUX.1 from folder to folder: pictures equal diffusers' pipelines, training in both tasks leaves a folder that they open and
draw the same from, edits through FluxControlPipeline among them.

Broken by: a guidance that is that of training when drawing or the other way round, levels that end elsewhere, a shift of
another picture's size, source latents that are not shifted and scaled, a widened folder without out_channels.
"""

import json

import diffusers
import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from diffusers_losses import normal, uniform
from end_to_end import PROMPTS, TRAIN, assert_equal_pictures, by_diffusers, data_picture_and_latents, drawn, latents_of, louder, opened, source_of
from PIL import Image
from tiny import AS_CAPTIONS, metrics, settings, t2i

from make_folders import make_flux

LENGTH = 24  # of a text for T5: all 512 would make most of the time
TRAIN = [*TRAIN, *settings(plugin__t5_length=LENGTH)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("flux")
    for name, options in {"dev": {}, "schnell": {"transformer": {"guidance_embeds": False}, "scheduler": {}},
                          "edit": {"transformer": {"in_channels": 128, "out_channels": 64}}}.items():
        make_flux(str(root / name), seed=len(name), **options)
        louder(root / name, "transformer", "proj_out")
    data_picture_and_latents(root, channels=16)
    return root


def picture_of(place, folder, **arguments):
    pipe = opened(folder)
    return by_diffusers(pipe, pipe._pack_latents(latents_of(place), 2, 16, 8, 8), **arguments)


def edited_by_diffusers(place, folder, monkeypatch):
    """The pipeline draws its source from the posterior; edits here take the mode."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    return picture_of(place, folder, control_image=[source_of(place)] * 2)


@pytest.mark.parametrize("name", ["dev", "schnell"])
def test_pictures_from_text(place, name):
    """As the pipeline without any argument: guidance 3.5 told to the model, no second prediction."""
    assert_equal_pictures(drawn(place, place / name), picture_of(place, place / name))


def test_true_guidance(place):
    mine = drawn(place, place / "schnell", "--guidance", 4, "--negative", "dark")
    assert_equal_pictures(mine, picture_of(place, place / "schnell", true_cfg_scale=4.0, negative_prompt=["dark"] * 2))


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
        assert_equal_pictures(drawn(place, out / "final"), picture_of(place, out / "final"))
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
