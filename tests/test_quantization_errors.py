"""What a person reads when packed weights are not whole, are packed otherwise, or are asked for where they make no sense: byte for
byte, as tests/errors/packed_NAME.txt has it. T2I_WRITE_EXPECTED=1 writes the texts anew, to be read before they are kept.
"""

import json
import os
import pathlib
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_run_errors import EXPECTED, here, place, run, said  # here and place: fixtures
from tiny import settings, t2i

CASES = {}
WEIGHTS = "packed/unet/diffusion_pytorch_model.safetensors"
QUERY = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"


def case(make):
    CASES[make.__name__] = make
    return make


def packed(form="nf4"):
    shutil.rmtree("packed", ignore_errors=True)
    t2i("export", "--model", "model", "--output", "packed", "--quantization", form)


def change(edit):
    tensors = load_file(WEIGHTS)
    edit(tensors)
    save_file(tensors, WEIGHTS, {"format": "pt"})


def generate(*more):
    return ["generate", "--model", "packed", "--prompt", "x", "--steps", "1", "--size", "16x16", "--output", "picture.png", *more]


def without(*endings):
    def edit(tensors):
        for name in list(tensors):
            if name.startswith(QUERY[:-6]) and name.endswith(endings):
                del tensors[name]
    return edit


@case
def scales_that_are_missing():
    """Of one weight, of all kinds, and of eight bits; told before anything is drawn, by every command that reads them."""
    packed()
    commands = [lambda: change(without(".absmax")), generate(), run(model="packed", train__parameters="['*.bias']"),
                ["export", "--model", "packed", "--output", "plain", "--quantization", "none"],
                lambda: change(without(".nested_absmax", ".quant_map", ".quant_state.bitsandbytes__nf4")), generate(),
                lambda: packed("int8"), lambda: change(without("SCB")), generate()]
    return commands


@case
def another_form():
    """fp4, blocks of another size, another table, too few bytes, a state that is no JSON."""
    state = QUERY + ".quant_state.bitsandbytes__nf4"

    def told(**changes):
        def edit(tensors):
            value = json.loads(bytes(tensors[state].numpy())) | changes
            tensors[state] = torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8)
        return edit

    def fp4(tensors):
        tensors[state.replace("nf4", "fp4")] = tensors.pop(state)

    def table(tensors):
        tensors[QUERY + ".quant_map"] *= 0.5

    def cut(tensors):
        tensors[QUERY] = tensors[QUERY][:-1].clone()

    def no_json(tensors):
        tensors[state] = torch.tensor(list(b"{"), dtype=torch.uint8)

    commands = []
    for edit in (fp4, told(blocksize=128), told(shape=[32]), told(nested_blocksize=64), table, cut, no_json):
        commands += [packed, lambda edit=edit: change(edit), generate()]
    return commands


@case
def asked_for_where_it_makes_no_sense():
    """Everything trained; another form than the folder's; a single file."""
    packed()
    return [run(model__quantization="nf4"), run(model__quantization="nf5", train__parameters="['*.bias']"),
            ["probe", "step", "--model", "model", "--inputs", "x", "--outputs", "y", "--grads", *settings(model__quantization="int8")],
            generate(*settings(model__quantization="int8")), run(model="packed", model__quantization="int8", train__parameters="['*.bias']"),
            ["export", "--model", "packed", "--output", "plain", "--quantization", "int8"],
            ["export", "--model", "packed", "--output", "file.safetensors"],
            ["export", "--model", "model", "--output", "file.safetensors", "--quantization", "nf4"]]


@pytest.mark.parametrize("name", CASES)
def test_message(name, here):
    got = said(CASES[name]())
    path = EXPECTED / f"packed_{name}.txt"
    if os.environ.get("T2I_WRITE_EXPECTED"):
        path.write_text(got)
    assert got == path.read_text()
    assert not pathlib.Path("picture.png").exists() and not pathlib.Path("plain").exists() and not pathlib.Path("file.safetensors").exists()


def test_every_expected_text_has_its_case():
    assert {path.stem[7:] for path in EXPECTED.glob("packed_*.txt")} == set(CASES)
