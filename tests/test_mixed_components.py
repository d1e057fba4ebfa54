"""A model put together by configuration alone: the UNet of a Stable Diffusion 1.x folder, a VAE as SDXL's, a T5 encoder with
its tokenizer, and a linear projection where the text is not as wide as the UNet takes it. Trained, continued, saved and
opened again, against diffusers' own pipelines and torch's own steps with the same parts.

Broken by: the model's own tokenizer for another encoder, another number of tokens than the pipeline fills up to, a projection
that is random where nobody asked for it, is not trained, not saved, or begins elsewhere after an interruption.
"""

import json
import math
import shutil
import types

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers_losses import losses as losses_by_diffusers
from diffusers_losses import stream, uniform
from end_to_end import PROMPTS, TRAIN, assert_equal_pictures, by_diffusers, data_picture_and_latents, drawn, latents_of, opened, source_of
from safetensors.torch import load_file, save_file
from tiny import AS_CAPTIONS, metrics, settings, sha256, t2i
from transformers import CLIPTokenizer, T5Config, T5EncoderModel, T5ForConditionalGeneration, T5TokenizerFast

from make_folders import PUBLISHED, SPECIALS, T5, VAE, make_sd15, randomise, write_tokenizer
from make_t5 import CONFIG, write_t5
from make_t5 import SPECIALS as T5_SPECIALS

WIDTH, CONTEXT, LENGTH = 48, 32, 20  # of T5's text, of what the UNet takes, of a text in tokens
PROJECTION = ["encoder_hid_proj.bias", "encoder_hid_proj.weight"]
CONFIG_T5 = {**T5, "d_model": WIDTH, "vocab_size": 1200}


def t5_repository(folder, kind=T5EncoderModel, **config):
    """As google/t5-v1_1-xxl has it: the tokenizer's files lie beside the weights, and other things too."""
    write_t5(folder, config=CONFIG | {"model_max_length": LENGTH}, specials=T5_SPECIALS)
    torch.manual_seed(11)
    randomise(kind(T5Config(**{**CONFIG_T5, **config})), 12).save_pretrained(folder)
    (folder / "README.md").write_text("about it")
    (folder / "generation_config.json").write_text("{}")


def move_tokenizer(repository, to):
    to.mkdir(parents=True)
    for name in ("spiece.model", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.move(repository / name, to / name)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("mixed")
    make_sd15(str(root / "base"), seed=1)
    t5_repository(root / "t5")
    torch.manual_seed(3)
    randomise(AutoencoderKL(**{**VAE, "block_out_channels": (8, 24), "scaling_factor": 0.13025, "force_upcast": True}), 4).save_pretrained(root / "xl" / "vae")
    for part, layer, factor in [("base/unet", "conv_out.weight", 2.0), ("xl/vae", "decoder.conv_out.weight", 6.0)]:  # pictures with contrast
        path = root / part / "diffusion_pytorch_model.safetensors"
        weights = load_file(path)
        weights[layer] *= factor
        save_file(weights, path, {"format": "pt"})
    # The same encoder with its tokenizer elsewhere.
    for name, tokenizer in [("apart/encoder", "apart/encoder/tokenizer"), ("beside/encoder", "beside/tokenizer"),
                            ("pipeline/text_encoder", "pipeline/tokenizer"), ("second/text_encoder_2", "second/tokenizer_2")]:
        shutil.copytree(root / "t5", root / name)
        move_tokenizer(root / name, root / tokenizer)
    shutil.copytree(root / "base" / "tokenizer", root / "second" / "tokenizer")  # not that of text_encoder_2
    shutil.copytree(root / "t5", root / "hub" / "models--org--t5" / "snapshots" / "0123")
    data_picture_and_latents(root, channels=4)
    return root


def mixed(place, text_encoder="t5", **more):
    return settings(model__text_encoder=place / text_encoder, model__vae=place / "xl" / "vae", plugin__project_text="true", **more)


def prompts():
    return [x for p in PROMPTS for x in ("--prompt", p)]


def probe(place, what, model, *more):
    t2i("probe", what, "--model", model, "--outputs", place / "out.safetensors", *more, env={"HF_HUB_CACHE": str(place / "hub")})
    return load_file(place / "out.safetensors")


def run(place, output, task, *more, model="base", code=0):
    columns = AS_CAPTIONS if task == "text" else []
    return t2i("run", "--plugin", "sd15", "--task", task, "--model", place / model, "--data", place / "data", "--output", place / output, *TRAIN, *columns,
               *more, code=code)


def unet_of(folder):
    return load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")


def tokens_by_transformers(folder, length=LENGTH):
    return T5TokenizerFast.from_pretrained(folder)(PROMPTS, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids


# ---- the tokenizer that goes with an encoder ----


@pytest.mark.parametrize("encoder", ["t5", "apart/encoder", "beside/encoder", "pipeline", "pipeline/text_encoder", "second/text_encoder_2", "org/t5"])
def test_an_encoder_brings_its_tokenizer(place, encoder):
    given = settings(model__text_encoder=encoder if encoder.startswith("org") else place / encoder, plugin__project_text="true")
    tokens = probe(place, "tokens", place / "base", *prompts(), *given)["tokens"]
    assert torch.equal(tokens, tokens_by_transformers(place / "t5"))
    with torch.no_grad():
        wanted = T5EncoderModel.from_pretrained(place / "t5")(tokens).last_hidden_state
    got = probe(place, "text", place / "base", *prompts(), *given)["prompt_embeds"]
    assert torch.allclose(got, wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())


def test_the_whole_of_t5_has_the_encoder_in_it(place):
    """google/t5-v1_1-* hold encoder and decoder; final/ says T5EncoderModel all the same."""
    t5_repository(place / "whole", T5ForConditionalGeneration, num_decoder_layers=1)
    assert json.loads((place / "whole" / "config.json").read_text())["architectures"] == ["T5ForConditionalGeneration"]
    done = run(place, "run-whole", "text", *mixed(place, "whole"), *settings(train__max_train_steps=1))
    assert "tensors in the weights are not part of the model and were left out: decoder." in done.stderr
    pipe = opened(place / "run-whole" / "final")
    assert type(pipe.text_encoder) is T5EncoderModel
    got = probe(place, "text", place / "run-whole" / "final", *prompts())["prompt_embeds"]
    with torch.no_grad():
        wanted = pipe.encode_prompt(PROMPTS, "cpu", 1, False)[0]
    assert torch.allclose(got, wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())


def test_another_clip_brings_its_tokenizer_too(place):
    """And is used with the model's own where it has none: that of its folder was left behind."""
    make_sd15(str(place / "other"), seed=2)
    shutil.rmtree(place / "other" / "tokenizer")
    write_tokenizer(str(place / "other" / "tokenizer"), {**PUBLISHED, "pad_token": "!"}, {**SPECIALS, "pad_token": "!"})
    shutil.copytree(place / "other" / "text_encoder", place / "lone-clip")

    def tokens(*given):
        return probe(place, "tokens", place / "base", *prompts(), *given)["tokens"]

    def by_transformers(folder):
        return CLIPTokenizer.from_pretrained(folder)(PROMPTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids

    own, other = by_transformers(place / "base" / "tokenizer"), by_transformers(place / "other" / "tokenizer")
    assert torch.equal(tokens(), own) and not torch.equal(own, other)
    for given in ("other", "other/text_encoder"):
        assert torch.equal(tokens(*settings(model__text_encoder=place / given)), other)
    assert torch.equal(tokens(*settings(model__text_encoder=place / "lone-clip")), own)


# ---- training ----


PLAN = types.SimpleNamespace(STEPS=6, BATCH=2, ACCUMULATE=2, SEED=42, LEARNING_RATE=1e-3, WARMUP=2)
AS_PLANNED = settings(train__max_train_steps=PLAN.STEPS, train__train_batch_size=PLAN.BATCH, train__gradient_accumulation_steps=PLAN.ACCUMULATE,
                      train__seed=PLAN.SEED, optimizer__learning_rate=PLAN.LEARNING_RATE, optimizer__lr_scheduler="cosine",
                      optimizer__lr_warmup_steps=PLAN.WARMUP, train__num_threads=1, task__conditioning_dropout_prob=0.15)


def first_projection(seed):
    """As core/base/philox.h and torch's Linear say: uniform in ±1/sqrt(width), the bias zero."""
    weight = uniform((seed, 0, stream("encoder_hid_proj.weight")), "init", CONTEXT * WIDTH).astype(np.float32).reshape(CONTEXT, WIDTH)
    bound = 1 / math.sqrt(WIDTH)
    return {"encoder_hid_proj.weight": torch.from_numpy(weight) * (2 * bound) - bound, "encoder_hid_proj.bias": torch.zeros(CONTEXT)}


@pytest.fixture(scope="module")
def by_hand(place):
    """The model that a mixed run begins with, put together by diffusers."""
    root = place / "by-hand"
    (root / "data").parent.mkdir()
    (root / "data").symlink_to(place / "data")
    shutil.copytree(place / "base", root / "model")
    for part in ("unet", "vae", "text_encoder", "tokenizer"):
        shutil.rmtree(root / "model" / part)
    UNet2DConditionModel.from_config(json.loads((place / "base" / "unet" / "config.json").read_text()) |
                                     {"encoder_hid_dim": WIDTH, "encoder_hid_dim_type": "text_proj"}).save_pretrained(root / "model" / "unet")
    weights = root / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    assert sorted(load_file(weights).keys() - unet_of(place / "base").keys()) == PROJECTION
    save_file({**unet_of(place / "base"), **first_projection(PLAN.SEED)}, weights, {"format": "pt"})
    shutil.copytree(place / "xl" / "vae", root / "model" / "vae")
    shutil.copytree(place / "pipeline" / "text_encoder", root / "model" / "text_encoder")
    shutil.copytree(place / "pipeline" / "tokenizer", root / "model" / "tokenizer")
    index = root / "model" / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"text_encoder": ["transformers", "T5EncoderModel"], "tokenizer": ["transformers", "T5TokenizerFast"]}))
    return root


@pytest.mark.parametrize("task, loss", [("text", "epsilon"), ("ip2p", "min_snr")])
def test_losses_are_those_of_diffusers(place, by_hand, task, loss):
    run(place, f"steps-{task}", task, "--loss", loss, *mixed(place), *AS_PLANNED)
    got, wanted = metrics(place / f"steps-{task}"), losses_by_diffusers(by_hand, task, loss, PLAN)
    for key, near in (("loss", 1e-5), ("grad_norm", 5e-5)):  # as tests/test_golden_losses.py has them, and for its reasons
        for m, w in zip(got, wanted[key], strict=True):
            assert abs(m[key] - w) <= near * abs(w), f"step {m['step']}: {key} {m[key]!r}, wanted {w!r}"


@pytest.mark.parametrize("task", ["text", "ip2p"])
def test_final_is_a_pipeline_that_needs_no_option(place, task):
    done = run(place, f"run-{task}", task, *mixed(place))
    assert done.stderr.count(f"2 tensors are new beside its weights, {CONTEXT * WIDTH + CONTEXT} parameters") == 1, done.stderr
    final = place / f"run-{task}" / "final"
    index = json.loads((final / "model_index.json").read_text())
    assert index["text_encoder"] == ["transformers", "T5EncoderModel"] and index["tokenizer"] == ["transformers", "T5Tokenizer"]
    config = json.loads((final / "unet" / "config.json").read_text())
    assert (config["encoder_hid_dim"], config["encoder_hid_dim_type"], config["cross_attention_dim"]) == (WIDTH, "text_proj", CONTEXT)
    assert sorted(p.name for p in (final / "tokenizer").iterdir()) == ["special_tokens_map.json", "spiece.model", "tokenizer_config.json"]
    assert sorted(p.name for p in (final / "text_encoder").iterdir()) == ["config.json", "model.safetensors"]
    for name in ("spiece.model", "tokenizer_config.json", "special_tokens_map.json"):
        assert sha256(final / "tokenizer" / name) == sha256(place / "t5" / name)
    trained, first = unet_of(final), first_projection(42)
    assert sorted(trained.keys() - unet_of(place / "base").keys()) == PROJECTION
    for name in PROJECTION:
        assert not torch.equal(trained[name], first[name]) and (trained[name] - first[name]).abs().max() < 3.1e-3, "three steps of 1e-3"

    pipe = opened(final)
    assert type(pipe.text_encoder) is T5EncoderModel and isinstance(pipe.tokenizer, T5TokenizerFast) and pipe.tokenizer.model_max_length == LENGTH
    if task == "text":
        assert type(pipe).__name__ == "StableDiffusionPipeline"
        mine, theirs = drawn(place, final, "--guidance", 4), by_diffusers(pipe, latents_of(place), guidance_scale=4.0)
    else:
        assert type(pipe).__name__ == "StableDiffusionInstructPix2PixPipeline"
        mine = drawn(place, final, "--guidance", 4, "--image-guidance", 1.5, "--image", place / "source.png")
        theirs = by_diffusers(pipe, latents_of(place), guidance_scale=4.0, image_guidance_scale=1.5, image=[source_of(place)] * 2)
    assert_equal_pictures(mine, theirs)

    # Training goes on from it without a word of the parts, and with the option still set.
    for more in ([], settings(plugin__project_text="true")):
        done = run(place, f"again-{task}-{len(more)}", task, *more, model=final.relative_to(place))
        assert "new beside" not in done.stderr
    again = unet_of(place / f"again-{task}-0" / "final")
    assert all(not torch.equal(again[name], trained[name]) for name in PROJECTION)


def test_an_encoder_of_the_right_width_is_not_projected(place):
    t5_repository(place / "narrow", d_model=CONTEXT)
    for project in ("true", "false"):
        done = run(place, f"narrow-{project}", "text", *settings(model__text_encoder=place / "narrow", plugin__project_text=project))
        assert "new beside" not in done.stderr
        assert unet_of(place / f"narrow-{project}" / "final").keys() == unet_of(place / "base").keys()
    assert_equal_pictures(drawn(place, place / "narrow-true" / "final", "--guidance", 4),
                          by_diffusers(opened(place / "narrow-true" / "final"), latents_of(place), guidance_scale=4.0))


@pytest.mark.parametrize("length", [None, 9, 33])
def test_the_number_of_tokens_is_the_pipelines(place, length):
    """A tokenizer that sets none, as google/t5-v1_1-xxl's: the pipeline alone would fill up without end, so final/ says what was used."""
    limitless = place / f"limitless-{length}"
    shutil.copytree(place / "t5", limitless)
    path = limitless / "tokenizer_config.json"
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "model_max_length"}))
    given = settings(plugin__t5_length=length) if length else []
    wanted = length or 77
    tokens = probe(place, "tokens", place / "base", *prompts(), *mixed(place, limitless.name), *given)["tokens"]
    assert torch.equal(tokens, tokens_by_transformers(place / "t5", wanted))
    run(place, f"length-{length}", "text", *mixed(place, limitless.name), *given, *settings(train__max_train_steps=1))
    final = place / f"length-{length}" / "final"
    pipe = opened(final)
    assert pipe.tokenizer.model_max_length == wanted
    with torch.no_grad():
        theirs = pipe.encode_prompt(PROMPTS, "cpu", 1, False)[0]
    mine = probe(place, "text", final, *prompts())["prompt_embeds"]
    assert mine.shape == (2, wanted, WIDTH) and torch.allclose(mine, theirs, rtol=0, atol=1e-5 * theirs.abs().max().item())


def test_an_interrupted_run_ends_with_the_same_bits(place):
    """With the average of the weights, which takes the new ones in."""
    more = [*mixed(place), *settings(train__use_ema="true", checkpoint__every_steps=2, train__num_threads=1)]

    def result(output):
        final = place / output / "final" / "unet" / "diffusion_pytorch_model.safetensors"
        return sha256(place / output / "checkpoint-4" / "state.safetensors"), sha256(final), [m["loss"] for m in metrics(place / output)]

    run(place, "in-one", "ip2p", *more, *settings(train__max_train_steps=4))
    run(place, "in-two", "ip2p", *more, *settings(train__max_train_steps=2))
    run(place, "in-two", "ip2p", *more, *settings(train__max_train_steps=4))
    assert result("in-one") == result("in-two")
    run(place, "other-seed", "ip2p", *more, *settings(train__max_train_steps=4, train__seed=7))
    assert result("in-one")[0] != result("other-seed")[0]


def test_the_projection_alone_can_be_trained(place):
    run(place, "alone", "text", *mixed(place), *settings(train__parameters="[encoder_hid_proj.*]"))
    before, after = unet_of(place / "base"), unet_of(place / "alone" / "final")
    assert all(torch.equal(after[name], t) for name, t in before.items())
    first = first_projection(42)
    assert all(not torch.equal(after[name], first[name]) for name in PROJECTION)


def test_a_projection_that_nobody_trained_draws_nothing(place):
    """Nor does one that train.parameters leaves out begin to train the rest around it."""
    done = t2i("generate", "--model", place / "base", "--prompt", "x", "--output", place / "never.png", *mixed(place), code=78)
    assert "[T2I-E2104]" in done.stderr and "encoder_hid_proj.weight" in done.stderr and not (place / "never.png").exists()
    done = run(place, "left-out", "text", *mixed(place), *settings(train__parameters="['*attn2*']"), code=78)
    assert "[T2I-E2104]" in done.stderr and "train.parameters" in done.stderr
    run(place, "named", "text", *mixed(place), *settings(train__parameters="['*attn2*', encoder_hid_proj.*]"))
