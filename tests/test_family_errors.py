"""What a person reads when folders of the larger families do not hold what is asked of them: another family's folder, parts
that do not fit each other, an encoder that is not there, weights that were not fetched whole, texts that are longer than
an encoder takes. Whole and byte for byte, as tests/errors/family_NAME.txt has them. T2I_WRITE_EXPECTED=1 writes them anew.
"""

import json
import os
import pathlib
import shutil
import subprocess

import pytest
from make_folders import make_flux, make_sd15, make_sd3, make_sdxl
from test_run_errors import AS_CAPTIONS, COMMON, cut, edit_json
from tiny import T2I, settings, triplet_data

EXPECTED = pathlib.Path(__file__).resolve().parent / "errors"
MAKE = {"sd15": make_sd15, "sdxl": make_sdxl, "sd3": lambda folder: make_sd3(folder, t5={}), "flux": make_flux}
LONG = " ".join(["nine red balls on a table"] * 40)
CASES = {}


def case(make):
    CASES[make.__name__] = make
    return make


def without(folder, *parts):
    """As model_index.json may leave them out."""
    index = pathlib.Path(folder) / "model_index.json"
    for part in parts:
        shutil.rmtree(f"{folder}/{part}")
    index.write_text(json.dumps(json.loads(index.read_text()) | {part: [None, None] for part in parts}))


def run(family, *more, task="ip2p", output="out", **changes):
    return ["run", "--task", task, "--model", family, "--data", "data", "--output", output, *COMMON, *settings(**changes), *more]


@case
def folders_of_another_family():
    return [run(folder, "--plugin", plugin) for folder, plugin in [("sd15", "sdxl"), ("sdxl", "sd15"), ("sd3", "flux"), ("flux", "sd3"), ("sdxl", "flux")]]


@case
def widths_that_do_not_fit():
    """Each encoder's, and the autoencoder's channels; all problems of a folder at once."""
    edit_json("sdxl/text_encoder_2/config.json", hidden_size=28, projection_dim=28)
    edit_json("sd3/text_encoder_3/config.json", d_model=48)
    edit_json("sd3/text_encoder/config.json", projection_dim=28)
    edit_json("flux/text_encoder/config.json", hidden_size=48)
    edit_json("flux/text_encoder_2/config.json", d_model=48)
    return [run("sdxl"), run("sd3"), run("flux"), run("sd3", model__vae="sd15"), run("sd15", model__vae="flux")]


@case
def a_width_beside_an_encoder_that_is_left_out():
    """The zeros in its place are as wide as the pooled text leaves room for: with them the text would be cropped."""
    without("sd3", "text_encoder", "tokenizer")
    edit_json("sd3/transformer/config.json", pooled_projection_dim=70)
    return [run("sd3")]


@case
def a_t5_of_too_few_distances():
    """Buckets of eight reach to a distance of two each by itself: there would be none left to share."""
    edit_json("flux/text_encoder_2/config.json", relative_attention_max_distance=2)
    return [run("flux")]


@case
def a_resolution_below_one_place():
    edit_json("sd3/transformer/config.json", patch_size=6)
    return [run("sd3", data__resolution=8)]


@case
def pictures_over_the_most():
    """More places than the transformer has: before any weight is read."""
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    edit_json("sd3/transformer/config.json", in_channels=32)
    Image.new("RGB", (61, 40)).save("wide.png")
    Image.new("RGB", (51, 40)).save("fits.png")
    save_file({"latents": torch.zeros(1, 16, 8, 26)}, "wide.safetensors")
    for weights in pathlib.Path("sd3/transformer").glob("*.safetensors"):
        weights.write_bytes(b"")
    generate = ["generate", "--model", "sd3", "--prompt", "a ball", "--image", "wide.png", "--steps", "1", "--output", "pictures"]
    return [run("sd3", data__resolution=52), run("sd3", data__resolution=48), [*generate, "--size", "16x52"], [*generate, "--latents", "wide.safetensors"], generate,
            ["fits.png" if word == "wide.png" else word for word in generate]]


@case
def encoders_that_are_not_there():
    """Listed, and not in the folder. SD3's may be left out: then model_index.json says so."""
    for part in ("sdxl/text_encoder_2", "sd3/text_encoder", "sd3/text_encoder_3", "flux/text_encoder_2"):
        shutil.rmtree(part)
    return [run("sdxl"), run("sd3"), run("flux")]


@case
def tokenizers_that_are_not_there():
    for folder in ("sdxl/tokenizer_2", "sd3/tokenizer_3", "flux/tokenizer_2"):
        for file in pathlib.Path(folder).iterdir():
            file.unlink()
    return [run("sdxl"), run("sd3"), run("flux")]


def shards(folder, stem, parts=2):
    """The one file of weights as several with an index."""
    from safetensors.torch import load_file, save_file

    whole = pathlib.Path(folder) / f"{stem}.safetensors"
    state = load_file(whole)
    whole.unlink()
    names = [f"{stem}-{i + 1:05}-of-{parts:05}.safetensors" for i in range(parts)]
    where = {name: names[i % parts] for i, name in enumerate(sorted(state))}
    for shard in names:
        save_file({k: v for k, v in state.items() if where[k] == shard}, whole.parent / shard, {"format": "pt"})
    (whole.parent / f"{stem}.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}, indent=2))
    return [str(whole.parent / name) for name in names]


@case
def shards_that_are_cut():
    cut(shards("sd3/text_encoder_3", "model")[1], 0.5)
    cut(shards("flux/transformer", "diffusion_pytorch_model", 3)[2], 0.9)
    return [run("sd3"), run("flux")]


@case
def weights_that_were_not_fetched():
    pathlib.Path("flux/text_encoder_2/model.safetensors").write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 9524621288\n")
    pathlib.Path("sd3/transformer/diffusion_pytorch_model.safetensors").write_text("<!DOCTYPE html>\n<html><title>Log in</title></html>")
    pathlib.Path("sdxl/text_encoder_2/model.safetensors").write_bytes(b"")
    return [run("flux"), run("sd3"), run("sdxl")]


def caption(number, text):
    path = sorted(pathlib.Path("data").glob("*.jsonl"))[0]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[number]["instruction"] = text
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@case
def captions_over_the_limit():
    """Counted over all captions and validation prompts, and said once."""
    caption(2, LONG)
    caption(5, LONG + " and a hat")
    return [run("sd3", *AS_CAPTIONS, task="text", train__max_train_steps=1, validation__prompts=f"[a ball, {LONG}]")]


@case
def prompts_over_the_limit():
    generate = ["generate", "--size", "16x16", "--steps", "1", "--output", "pictures"]
    pathlib.Path("prompts.txt").write_text(f"a ball\n{LONG}\n{LONG} and a hat\n")
    return [[*generate, "--model", "sdxl", "--prompt", "a ball"], [*generate, "--model", "sdxl", "--prompts", "prompts.txt", "--negative", LONG],
            [*generate, "--model", "flux", "--prompt", LONG]]


@case
def latents_that_are_no_whole_places():
    import torch
    from safetensors.torch import save_file

    save_file({"latents": torch.zeros(1, 16, 8, 9)}, "odd.safetensors")
    return [["generate", "--model", "flux", "--prompt", "a ball", "--steps", "1", "--output", "pictures", "--latents", "odd.safetensors"]]


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("family-errors")
    for family, make in MAKE.items():
        make(str(root / family))
    triplet_data(root / "data", count=8)
    return root


@pytest.fixture
def here(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (*MAKE, "data"):
        shutil.copytree(place / name, name)


def said(commands):
    text = ""
    for arguments in commands:
        done = subprocess.run([T2I, *arguments], capture_output=True, text=True, timeout=120)
        mine = [part for part in arguments if part not in COMMON and part != "--set"]
        lines = [line for line in done.stderr.splitlines(keepends=True) if "step " not in line and " M parameters, " not in line and not line.startswith(("peak memory", "report: "))]
        text += f"$ t2i {' '.join(map(str, mine))}\n{''.join(lines)}exit {done.returncode}\n".replace(LONG, "LONG")
    return text


@pytest.mark.parametrize("name", CASES)
def test_message(name, here):
    got = said(CASES[name]())
    path = EXPECTED / f"family_{name}.txt"
    if os.environ.get("T2I_WRITE_EXPECTED"):
        path.write_text(got)
    assert got == path.read_text()


def test_every_expected_text_has_its_case():
    assert {path.stem[7:] for path in EXPECTED.glob("family_*.txt")} == set(CASES)
