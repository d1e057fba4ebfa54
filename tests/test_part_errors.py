"""What a person reads when a part of the model is given by itself and does not fit (`model.vae`, `model.text_encoder`): whole
and byte for byte, as tests/errors/part_NAME.txt has it. T2I_WRITE_EXPECTED=1 writes the texts anew, to be read before
they are kept.
"""

import json
import os
import pathlib
import shutil

import pytest
from test_run_errors import EXPECTED, edit_json, here, place, run, said  # here and place: fixtures
from tiny import settings

CASES = {}


def case(make):
    CASES[make.__name__] = make
    return make


def generate(*more):
    return ["generate", "--model", "model", "--prompt", "x", "--output", "picture.png", *more]


@case
def a_vae_from_elsewhere():
    """Not there, no VAE, of other latents: told of what was given, not of the model."""
    shutil.copytree("model/vae", "wide")
    edit_json("wide/config.json", latent_channels=16)
    pathlib.Path("vae.safetensors").write_bytes(b"")
    no_cache = {"HF_HUB_CACHE": "hub"}
    return [run(model__vae="wild"), (no_cache, run(model__vae="org/wide-vae")), run(model__vae="vae.safetensors"), run(model__vae="model/scheduler"),
            run(model__vae="model/unet"), run(model__vae="wide"), generate("--set", "model.vae=wide"), generate("--set", "model.vea=wide"),
            generate("--set", "model.dtype=float16"),
            ["probe", "encode", "--model", "model", "--inputs", "x.safetensors", "--outputs", "y.safetensors", "--set", "model.vae=wide"]]


def t5(folder, tokenizer=True, **changes):
    import torch
    from transformers import T5Config, T5EncoderModel

    from make_folders import T5, t5_tokenizer

    torch.manual_seed(0)
    T5EncoderModel(T5Config(**{**T5, **changes})).save_pretrained(folder)
    if tokenizer:
        t5_tokenizer(16).save_pretrained(folder)


@case
def a_text_encoder_from_elsewhere():
    """Of another width, without its tokenizer, of no kind that is known; a projection that is random, or not wanted."""
    t5("t5")
    t5("words/t5", tokenizer=False)
    t5("masked", use_attention_mask=True)
    shutil.copytree("model/text_encoder", "wide")
    edit_json("wide/config.json", hidden_size=64)
    shutil.copytree("t5", "bert")
    edit_json("bert/config.json", architectures=["BertModel"], model_type="bert")
    shutil.copytree("t5", "no-json")
    pathlib.Path("no-json/tokenizer_config.json").write_text("{")
    shutil.copytree("t5", "no-words")
    pathlib.Path("no-words/tokenizer.json").write_text("<html>")
    project = settings(plugin__project_text="true")
    levels = [32, 64]
    return [run(model__text_encoder="t5"), run(model__text_encoder="wide"), run(*project, model__text_encoder="words/t5"), run(*project, model__text_encoder="masked"),
            run(model__text_encoder="bert"), run(model__text_encoder="no-json"), run(*project, model__text_encoder="no-words"),
            run(*project, model__text_encoder="t5", plugin__clip_skip=1), run(*project, model__text_encoder="t5", train__parameters="['*attn2*']"),
            generate(*project, "--set", "model.text_encoder=t5"),
            lambda: edit_json("model/unet/config.json", cross_attention_dim=levels), run(*project, model__text_encoder="t5"),
            lambda: edit_json("model/unet/config.json", cross_attention_dim=32, encoder_hid_dim=48), run(*project, model__text_encoder="t5")]


@case
def a_text_encoder_of_another_family():
    """Families that take text as it comes: of the right kind and the right width, or not at all."""
    from make_folders import make_flux, make_sd3, make_sdxl

    t5("t5")
    commands = []
    for family, make in (("sdxl", make_sdxl), ("sd3", make_sd3), ("flux", make_flux)):
        make(family)
        shutil.copytree(f"{family}/text_encoder", f"{family}-wide")
        wider = {"hidden_size": 64, "projection_dim": 40} if family == "sd3" else {"hidden_size": 64}
        edit_json(f"{family}-wide/config.json", **wider)
        commands += [run(model=family, model__text_encoder=f"{family}-wide"), run(model=family, model__text_encoder="t5")]
    return commands


@pytest.mark.parametrize("name", CASES)
def test_message(name, here):
    got = said(CASES[name]())
    path = EXPECTED / f"part_{name}.txt"
    if os.environ.get("T2I_WRITE_EXPECTED"):
        path.write_text(got)
    assert got == path.read_text()


def test_every_expected_text_has_its_case():
    assert {path.stem[5:] for path in EXPECTED.glob("part_*.txt")} == set(CASES)
