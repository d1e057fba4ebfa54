"""What a person reads when text encoders cannot be trained as asked: byte for byte, as tests/errors/text_NAME.txt has it, before
anything is loaded. T2I_WRITE_EXPECTED=1 writes the texts anew, to be read before they are kept. What the configuration alone
tells is in tests/errors/config-14-rates.
"""

import os
import pathlib
import re

import pytest
from test_run_errors import EXPECTED, here, place, run, said  # here and place: fixtures
from tiny import t2i

CASES = {}
ENCODER = {"train__text_encoders": "[text_encoder]"}


def case(make):
    CASES[make.__name__] = make
    return make


@case
def names_that_are_none():
    return [run(train__text_encoders="[text_encoder_2, vae, text_encoder, text_encoder]"), run(train__text_encoders="true")]


@case
def packed_encoders():
    """In the folder, or asked for where nothing is left to pack."""
    t2i("export", "--model", "model", "--output", "packed", "--text-encoder-quantization", "nf4")
    return [run(model="packed", **ENCODER), run(model__text_encoder_quantization="int8", **ENCODER)]


@case
def a_frozen_denoiser_that_the_task_widens():
    return [run(optimizer__transformer_lr=0, **ENCODER), ["plan", *run(optimizer__transformer_lr=0, **ENCODER)[1:]]]


@case
def several_problems_at_once():
    return [run(optimizer__transformer_lr=0, train__text_encoders="[text_encoder, t5]", model__text_encoder_quantization="nf4")]


@pytest.mark.parametrize("name", CASES)
def test_message(name, here):
    got = said(CASES[name]())
    path = EXPECTED / f"text_{name}.txt"
    if os.environ.get("T2I_WRITE_EXPECTED"):
        path.write_text(got)
    assert got == path.read_text()
    assert not list(pathlib.Path("out").glob("final")) and not list(pathlib.Path("out").glob("checkpoint-*"))


def test_every_expected_text_has_its_case():
    assert {path.stem[5:] for path in EXPECTED.glob("text_*.txt")} == set(CASES)


def test_every_error_is_in_a_text():
    documented = set(re.findall(r"T2I-(E733\d)", (EXPECTED.parent.parent / "docs" / "ERRORS.d" / "train.md").read_text()))
    reached = set(re.findall(r"T2I-(E\d{4})", "".join(path.read_text() for path in EXPECTED.glob("text_*.txt"))))
    assert documented == {"E7330", "E7331", "E7332"} and documented <= reached
