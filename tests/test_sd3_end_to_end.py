"""Stable Diffusion 3 from folder to folder: text encoders left out, training in both tasks, pictures as the pipeline draws
them, and editing, for which diffusers has no pipeline, against its transformer and scheduler in a loop written here.

Broken by: zeros of another length for T5, source latents that are not shifted and scaled as the noisy ones, a widened
patch embedding that changes step 0, a scheduler that loses its shift.
"""

import json
import shutil

import diffusers
import numpy as np
import pytest
import torch
from diffusers_losses import normal
from end_to_end import (PROMPTS, TRAIN, as_pixels, assert_equal_pictures, by_diffusers, data_picture_and_latents,
                        drawn, latents_of, louder, opened, source_of)
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import AS_CAPTIONS, metrics, settings, t2i

from make_folders import TEXT, TEXT_2, make_sd3

@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("sd3")
    make_sd3(str(root / "model"), seed=4, t5={})
    make_sd3(str(root / "no_t5"), seed=5)
    for name in ("model", "no_t5"):
        louder(root / name, "transformer", "proj_out")
    data_picture_and_latents(root, channels=16)
    return root


def complete(folder):
    """diffusers wants to be told of what a folder leaves out."""
    index = json.loads((folder / "model_index.json").read_text())
    return opened(folder, **{name: None for name in ("text_encoder_3", "tokenizer_3") if index.get(name, [None])[0] is None})


def picture_of(place, folder, **arguments):
    return by_diffusers(complete(folder), latents_of(place), **arguments)


@torch.no_grad()
def edited_by_diffusers(place, folder, guidance, image_guidance):
    """InstructPix2Pix' three predictions (Brooks et al. 2023, equation 3) with diffusers' parts."""
    pipe = complete(folder)
    embeds, negative, pooled, negative_pooled = pipe.encode_prompt(PROMPTS, PROMPTS, PROMPTS, device="cpu")
    pixels = torch.from_numpy(np.array(source_of(place))).permute(2, 0, 1)[None] / 127.5 - 1
    source = (pipe.vae.encode(pixels).latent_dist.mode() - pipe.vae.config.shift_factor) * pipe.vae.config.scaling_factor
    source = source.repeat(2, 1, 1, 1)
    x = latents_of(place)
    pipe.scheduler.set_timesteps(6)

    def predict(t, image, text, its_pooled):
        return pipe.transformer(torch.cat([x, image], 1), text, its_pooled, t.expand(2)).sample

    for t in pipe.scheduler.timesteps:
        full, image, none = (predict(t, source, embeds, pooled), predict(t, source, negative, negative_pooled),
                             predict(t, torch.zeros_like(source), negative, negative_pooled))
        x = pipe.scheduler.step(none + guidance * (full - image) + image_guidance * (image - none), t, x).prev_sample
    out = pipe.vae.decode(x / pipe.vae.config.scaling_factor + pipe.vae.config.shift_factor).sample
    return as_pixels((out / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("name", ["model", "no_t5"])
@pytest.mark.parametrize("negative", [None, "dark"])
def test_pictures_from_text(place, name, negative):
    mine = drawn(place, place / name, "--guidance", 5, *(["--negative", negative] if negative else []))
    theirs = picture_of(place, place / name, guidance_scale=5.0, negative_prompt=[negative] * 2 if negative else None)
    assert_equal_pictures(mine, theirs)


@pytest.mark.parametrize("missing", [(1,), (2,), (1, 2), (2, 3), (1, 3)])
def test_a_text_encoder_that_is_left_out_is_zeros(tmp_path, missing):
    """As wide as the one that would be there: in published folders a CLIP model's text is as wide as its pooled text."""
    wide = {"text": {"projection_dim": TEXT["hidden_size"]}, "text_2": {"projection_dim": TEXT_2["hidden_size"]},
            "transformer": {"pooled_projection_dim": TEXT["hidden_size"] + TEXT_2["hidden_size"]}}
    pipe = make_sd3(str(tmp_path / "model"), seed=6, t5={}, **wide)
    with torch.no_grad():
        wanted, _, pooled, _ = pipe.encode_prompt(PROMPTS, PROMPTS, PROMPTS, device="cpu", do_classifier_free_guidance=False)
    hidden = [pipe.text_encoder.config.hidden_size, pipe.text_encoder_2.config.hidden_size]
    width = [pipe.text_encoder.config.projection_dim, pipe.text_encoder_2.config.projection_dim]
    places = pipe.tokenizer.model_max_length
    shutil.copytree(tmp_path / "model", tmp_path / "less")
    index = json.loads((tmp_path / "less" / "model_index.json").read_text())
    for i in missing:
        part = ["text_encoder", "text_encoder_2", "text_encoder_3"][i - 1]
        for name in (part, part.replace("text_encoder", "tokenizer")):
            shutil.rmtree(tmp_path / "less" / name)
            index[name] = [None, None]
        if i == 3:
            wanted[:, places:] = 0
        else:
            first = sum(width[:i - 1])
            pooled[:, first:first + width[i - 1]] = 0
            first = sum(hidden[:i - 1])
            wanted[:, :places, first:first + hidden[i - 1]] = 0
    (tmp_path / "less" / "model_index.json").write_text(json.dumps(index))
    t2i("probe", "text", "--model", tmp_path / "less", *[x for p in PROMPTS for x in ("--prompt", p)], "--outputs", tmp_path / "text.safetensors")
    got = load_file(tmp_path / "text.safetensors")
    assert torch.allclose(got["pooled"], pooled, rtol=0, atol=1e-5) and torch.allclose(got["prompt_embeds"], wanted, rtol=0, atol=1e-4)


def test_t5_is_not_held_in_float16(place, tmp_path):
    """The last layers of T5's feed-forwards exceed float16, as here by far; transformers clamps what comes out of them there."""
    shutil.copytree(place / "model", tmp_path / "model")
    path = tmp_path / "model" / "text_encoder_3" / "model.safetensors"
    weights = load_file(path)
    for name in weights:
        if name.endswith(".wo.weight"):
            weights[name] *= 1e6
    save_file(weights, path, {"format": "pt"})
    done = t2i("probe", "text", "--model", tmp_path / "model", "--dtype", "float16", *[x for p in PROMPTS for x in ("--prompt", p)], "--outputs",
               tmp_path / "text.safetensors")
    said = "text_encoder_3 is held in float32: it is not made for float16, which --dtype asks for"
    assert f"notice: {tmp_path}/model/{said}\n" == done.stderr
    got = load_file(tmp_path / "text.safetensors")
    assert {t.dtype for t in got.values()} == {torch.float16}
    with torch.no_grad():
        wanted, _, _, _ = opened(tmp_path / "model").encode_prompt(PROMPTS, PROMPTS, PROMPTS, device="cpu", do_classifier_free_guidance=False)
    places = 77
    # One rounding of the outputs to float16.
    assert torch.allclose(got["prompt_embeds"][:, places:].float(), wanted[:, places:], rtol=1e-3, atol=1e-4)
    drawing = ["generate", "--model", tmp_path / "model", "--prompt", "x", "--size", "16x16", "--steps", 2, "--output", tmp_path / "a.png"]
    assert said in t2i(*drawing, "--dtype", "float16").stderr and said not in t2i(*drawing, "--dtype", "bfloat16").stderr


@pytest.mark.parametrize("task", ["text", "ip2p"])
@pytest.mark.parametrize("name", ["model", "no_t5"])
def test_training_leaves_a_folder_that_draws_the_same(place, task, name):
    out = place / f"run-{task}-{name}"
    columns = AS_CAPTIONS if task == "text" else []
    t2i("run", "--plugin", "sd3", "--task", task, "--model", place / name, "--data", place / "data", "--output", out, *TRAIN, *columns)
    assert [m["step"] for m in metrics(out)] == [1, 2, 3] and all(np.isfinite(m["loss"]) for m in metrics(out))
    scheduler = json.loads((out / "final" / "scheduler" / "scheduler_config.json").read_text())
    assert scheduler["_class_name"] == "FlowMatchEulerDiscreteScheduler" and scheduler["shift"] == 3.0
    if task == "text":
        assert_equal_pictures(drawn(place, out / "final", "--guidance", 3), picture_of(place, out / "final", guidance_scale=3.0))
        return
    transformer = diffusers.SD3Transformer2DModel.from_pretrained(out / "final" / "transformer")
    assert transformer.config.in_channels == 32 and transformer.config.out_channels == 16
    mine = drawn(place, out / "final", "--guidance", 3, "--image-guidance", 1.2, "--image", place / "source.png")
    assert_equal_pictures(mine, edited_by_diffusers(place, out / "final", 3.0, 1.2))


def test_a_widened_model_begins_as_the_one_it_came_from(place):
    """The columns for the source latents are zero: at step 0 a picture's source and instruction change nothing."""
    losses = {}
    for task in ("text", "ip2p"):
        out = place / f"first-{task}"
        columns = ["--set", "data.columns.image=output_image", "--set", "data.columns.text=instruction"] if task == "text" else ["--set", "task.conditioning_dropout_prob=0"]
        t2i("run", "--task", task, "--model", place / "model", "--data", place / "data", "--output", out, *TRAIN, *columns,
            *settings(train__max_train_steps=1, data__random_flip="false"))
        losses[task] = metrics(out)[0]["loss"]
    assert losses["text"] == pytest.approx(losses["ip2p"], rel=1e-6)


def test_the_loss_of_a_step_is_the_published_one(place, tmp_path):
    """Timesteps logit-normal and shifted as the scheduler's file says (Esser et al. 2024, §3.1 and equation 23), target noise
    minus data, on a picture of one colour; draws as documented."""
    (tmp_path / "data").mkdir()
    Image.new("RGB", (16, 16), (90, 160, 30)).save(tmp_path / "data" / "a.png")
    (tmp_path / "data" / "a.txt").write_text(PROMPTS[0])
    out = tmp_path / "run"
    t2i("run", "--task", "text", "--model", place / "model", "--data", tmp_path / "data", "--output", out, *TRAIN,
        *settings(train__train_batch_size=1, train__max_train_steps=1, data__random_flip="false"))
    key, pipe = (42, 0, 0), diffusers.DiffusionPipeline.from_pretrained(place / "model")
    with torch.no_grad():
        embeds, _, pooled, _ = pipe.encode_prompt(PROMPTS[0], None, None, device="cpu", do_classifier_free_guidance=False)
        pixels = torch.tensor([90.0, 160.0, 30.0]).view(1, 3, 1, 1).expand(1, 3, 16, 16) / 127.5 - 1
        posterior = pipe.vae.encode(pixels).latent_dist
        sample = posterior.mean + posterior.std * torch.from_numpy(normal(key, "posterior", (16, 8, 8)))
        x = (sample - pipe.vae.config.shift_factor) * pipe.vae.config.scaling_factor
        sigma = torch.sigmoid(torch.from_numpy(normal(key, "timesteps", ())))
        sigma = 3 * sigma / (1 + 2 * sigma)
        noise = torch.from_numpy(normal(key, "noise", (16, 8, 8)))[None]
        wanted = (pipe.transformer((1 - sigma) * x + sigma * noise, embeds, pooled, sigma.reshape(1) * 1000).sample - (noise - x)).square().mean().item()
    assert metrics(out)[0]["loss"] == pytest.approx(wanted, rel=1e-5)
