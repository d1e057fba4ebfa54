"""What `t2i generate` leaves behind, and what a person reads when it cannot: each message whole, as
tests/errors/generate_NAME.txt has it. T2I_WRITE_EXPECTED=1 writes those anew.

Broken by: a file of the person's overwritten.
"""

import os
import pathlib
import subprocess

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import T2I, edit_folder, louder, sd_folder, t2i

EXPECTED = pathlib.Path(__file__).resolve().parent / "errors"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("outputs")
    sd_folder(root / "model", seed=3)
    edit_folder(root / "edit", seed=4)
    for name in ("model", "edit"):
        louder(root / name)
    return root


@pytest.fixture
def here(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.symlink(place / "model", "model")
    os.symlink(place / "edit", "edit")
    return tmp_path


# ---- what is there already ----


@pytest.mark.parametrize("name", ["model.safetensors", "notes.txt", "folder", "link", "dangling"])
@pytest.mark.parametrize("command", ["generate", "probe"])
def test_tensors_replace_no_file_of_another_kind(here, name, command):
    save_file({"weight": torch.ones(3)}, "model.safetensors", {"format": "pt"})
    pathlib.Path("notes.txt").write_text("mine")
    os.mkdir("folder")
    os.symlink("notes.txt", "link")
    os.symlink("nothing", "dangling")

    def state():
        return {path.name: (path.is_symlink(), path.read_bytes() if path.is_file() else None) for path in here.iterdir() if path.name not in ("model", "edit")}

    before = state()
    if command == "generate":
        done = t2i("generate", "--model", "model", "--prompt", "x", "--output", "out", "--steps", 1, "--save-latents", name, code=73)
    else:
        done = t2i("probe", "tokens", "--model", "model", "--prompt", "x", "--outputs", name, code=73)
    assert "[T2I-E6007]" in done.stderr and done.stdout == "" and state() == before


def test_probe_makes_the_folder_and_replaces_what_a_probe_wrote(here):
    for text in ("x", "y"):
        t2i("probe", "tokens", "--model", "model", "--prompt", text, "--outputs", "not/there/yet.safetensors")
    (tokens,) = load_file("not/there/yet.safetensors").values()
    assert list(tokens.shape) == [1, 16]


# ---- messages ----

CASES = {}


def case(make):
    CASES[make.__name__] = make
    return make


def drawing(*more, model="model", output="out"):
    return ["generate", "--model", model, "--output", output, "--steps", "1", *more]


@case
def tensors_are_in_the_way():  # E6007
    weights = "model/unet/diffusion_pytorch_model.safetensors"
    yield drawing("--prompt", "a", "--save-latents", weights)
    yield drawing("--prompt", "a", "--save-latents", "model")
    yield ["probe", "tokens", "--model", "model", "--prompt", "a", "--outputs", weights]
    yield ["probe", "tokens", "--model", "model", "--prompt", "a", "--outputs", "model/unet"]


@pytest.mark.parametrize("name", CASES)
def test_message(name, here):
    got = ""
    for command in CASES[name]():
        environment, arguments = command if isinstance(command, tuple) else ({}, command)
        done = subprocess.run([T2I, *arguments], capture_output=True, text=True, timeout=120, env={**os.environ, **environment})
        shown = " ".join(f"'{word}'" if " " in word else word for word in arguments)
        got += "$ " + "".join(f"{key}={value} " for key, value in environment.items()) + f"t2i {shown}\n{done.stdout}{done.stderr}exit {done.returncode}\n"
    path = EXPECTED / f"generate_{name}.txt"
    if os.environ.get("T2I_WRITE_EXPECTED"):
        path.write_text(got)
    assert got == path.read_text()


def test_every_expected_text_has_its_case():
    assert {path.stem.removeprefix("generate_") for path in EXPECTED.glob("generate_*.txt")} == set(CASES)

