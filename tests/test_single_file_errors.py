"""What a person reads when a single file cannot be used or written: the messages whole and byte for byte, as
tests/errors/single_NAME.txt has them, each command with its exit code. T2I_WRITE_EXPECTED=1 writes the texts anew, to be
read before they are kept.
"""

import os
import pathlib
import shutil
import subprocess

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import T2I, settings

from make_folders import make_sd15, make_sdxl

EXPECTED = pathlib.Path(__file__).resolve().parent / "errors"
CASES = {}


def case(make):
    CASES[make.__name__] = make
    return make


def export(*more, model="sd15.safetensors", output="out", **sets):
    return ["export", "--model", model, "--output", output, *settings(**sets), *more]


def drawn(*more, model="sd15.safetensors", **sets):
    return ["generate", "--model", model, "--prompt", "x", "--output", "picture.png", *settings(**sets), *more]


def changed(change, file="sd15.safetensors"):
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


@case
def no_base():
    os.mkdir("folder")
    shutil.copy("sd15.safetensors", "folder")
    return [drawn(), export(), drawn(model="folder")]


@case
def base_is_not_there():
    return [drawn(model__base="sd16"), drawn(model__base="org/some-model"), drawn(model__base="sd15.safetensors"), drawn(model="sd14.safetensors", model__base="sd15"),
            drawn(model="sd15", model__base="sd15")]


@case
def file_of_another_family():
    return [drawn(model__base="sdxl"), drawn(model="sdxl.safetensors", model__base="sd15"), export(model="sdxl.safetensors", model__base="sd15")]


@case
def file_of_none_of_the_parts():
    save_file({"double_blocks.0.img_attn.qkv.weight": torch.ones(2), "img_in.weight": torch.ones(2)}, "other.safetensors")
    save_file({}, "empty.safetensors")
    return [drawn(model="other.safetensors", model__base="sd15"), drawn(model="empty.safetensors", model__base="sd15"),
            drawn(model="sd15", model__vae="other.safetensors"), export(model="sd15", model__text_encoder="other.safetensors")]


@case
def a_part_that_nobody_has():
    shutil.rmtree("base/text_encoder")
    shutil.copytree("sd15/text_encoder", "base/text_encoder", ignore=shutil.ignore_patterns("*.safetensors"))
    changed(lambda t: [t.pop(n) for n in list(t) if n.startswith("cond_stage_model.")])
    return [export(model__base="base"), drawn(model__base="base")]


@case
def a_folder_without_the_part():
    shutil.rmtree("sd15/vae")
    return [drawn(model="sd15", model__vae="sdxl.safetensors")]


@case
def shapes_of_another_size():
    def wider(tensors):
        tensors["model.diffusion_model.time_embed.0.bias"] = torch.zeros(5)
    changed(wider)
    return [export(model__base="base"), drawn(model__base="base")]


@case
def packed_weights():
    changed(lambda t: t.update({"model.diffusion_model.out.2.scale_weight": torch.ones(())}))
    return [drawn(model__base="base")]


@case
def a_pickle():
    os.rename("sd15.safetensors", "sd15.ckpt")
    return [drawn(model="sd15.ckpt"), drawn(model="sd15.ckpt", model__base="base"), drawn(model="sd15", model__vae="sd15.ckpt")]


@case
def cut_short():
    path = pathlib.Path("sd15.safetensors")
    path.write_bytes(path.read_bytes()[:int(0.41 * path.stat().st_size)])
    return [drawn(model__base="base"), export(model__base="base")]


@case
def output_is_there():
    pathlib.Path("there.safetensors").write_bytes(b"")
    os.mkdir("out")
    return [export(model="sd15"), export(model="sd15", output="there.safetensors"), export(model="sd15", output="out/")]


@case
def options_of_export():
    return [["export"], export("--dtype", "int4", "--format", "onnx", model="sd15"), export("--task", "text", model="sd15", output="a.safetensors"),
            export("--task", "inpaint", model="sd15"), export(model="sd15", model__quantization="none")]


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("single-errors")
    make_sd15(str(root / "sd15"), seed=1)
    make_sdxl(str(root / "sdxl"), seed=2)
    for name in ("sd15", "sdxl"):
        subprocess.run([T2I, "export", "--model", root / name, "--output", root / f"{name}.safetensors"], check=True)
    shutil.copytree(root / "sd15", root / "base", ignore=shutil.ignore_patterns("*.safetensors"))
    return root


@pytest.mark.parametrize("name", CASES)
def test_message(name, place, tmp_path, monkeypatch):
    shutil.copytree(place, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    commands = CASES[name]()
    files = {p for p in pathlib.Path(".").rglob("*")}
    text = ""
    for command in commands:
        done = subprocess.run([T2I, *command], capture_output=True, text=True, timeout=120, env={**os.environ, "HF_HUB_CACHE": "hub"})
        assert done.stdout == ""
        text += f"$ t2i {' '.join(map(str, command))}\n{done.stderr}exit {done.returncode}\n"
    assert {p for p in pathlib.Path(".").rglob("*")} == files, "what fails leaves nothing behind"
    path = EXPECTED / f"single_{name}.txt"
    if os.environ.get("T2I_WRITE_EXPECTED"):
        path.write_text(text)
    assert text == path.read_text()


def test_every_expected_text_has_its_case():
    assert {path.stem[7:] for path in EXPECTED.glob("single_*.txt")} == set(CASES)
