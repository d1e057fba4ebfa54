"""What `t2i generate` leaves behind: numbered pictures, COCO annotations, the text in a picture, latents; and what a person
reads when it cannot: each message whole, as tests/errors/generate_NAME.txt has it. T2I_WRITE_EXPECTED=1 writes those anew.

Broken by: pictures numbered or seeded in another order, annotations that belong to other pictures, a picture that depends
on its batch, a file of the person's overwritten.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file, safe_open, save_file
from tiny import T2I, edit_folder, louder, sd_folder, t2i

EXPECTED = pathlib.Path(__file__).resolve().parent / "errors"
PROMPTS = ["a red ball", "zwei grüne Dreiecke", "一只猫"]


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


def generate(*arguments, model="model", steps=2):
    return t2i("generate", "--model", model, "--steps", steps, *arguments)


def prompts(*texts):
    return [word for text in texts for word in ("--prompt", text)]


def pixels(path):
    return np.array(Image.open(path)).astype(int)


def text_of(path):
    with Image.open(path) as image:
        return image.text["parameters"]


def seed_of(path):
    return int(re.search(r"Seed: (\d+)", text_of(path))[1])


# ---- names, seeds, batches ----


def test_count_and_seed_number_the_pictures(here):
    done = generate(*prompts(*PROMPTS[:2]), "--count", 2, "--seed", 5, "--output", "out")
    assert done.stdout == "".join(f"out/{i:05}.png\n" for i in range(4))
    names = sorted(path.name for path in pathlib.Path("out").iterdir())
    assert names == [f"{i:05}.png" for i in range(4)]
    assert [seed_of(f"out/{name}") for name in names] == [5, 6, 5, 6], "two prompts are compared on the same noise"
    assert [text_of(f"out/{name}").split("\n")[0] for name in names] == [PROMPTS[0]] * 2 + [PROMPTS[1]] * 2
    for i, (prompt, seed) in enumerate([(PROMPTS[0], 5), (PROMPTS[0], 6), (PROMPTS[1], 5), (PROMPTS[1], 6)]):
        generate("--prompt", prompt, "--seed", seed, "--output", "one.png")
        assert np.array_equal(pixels("one.png"), pixels(f"out/{i:05}.png")), "its seed and prompt are all that a picture hangs on"
    assert not np.array_equal(pixels("out/00000.png"), pixels("out/00001.png"))


@pytest.mark.parametrize("sampler", ["ddim", "euler_a"])  # the latter adds noise on the way
def test_a_picture_does_not_depend_on_its_batch(here, sampler):
    for batch in (1, 2, 5):
        generate(*prompts(PROMPTS[0]), "--count", 5, "--batch", batch, "--sampler", sampler, "--output", f"by {batch}")
    alone = np.stack([pixels(f"by 1/{i:05}.png") for i in range(5)])
    assert alone.std() > 20
    for batch in (2, 5):
        together = np.stack([pixels(f"by {batch}/{i:05}.png") for i in range(5)])
        # 1 of 255: products of another size are summed in another order, which moves a value across a rounding border
        assert np.abs(together - alone).max() <= 1 and (together != alone).mean() < 0.02


def test_a_file_of_prompts(here, place):
    for name, size in (("wide", (24, 16)), ("square", (16, 16))):
        smooth = Image.fromarray(np.random.default_rng(1).integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize(size)
        os.makedirs("list/pictures", exist_ok=True)
        smooth.save(f"list/pictures/{name}.png")
    lines = [{"prompt": PROMPTS[0], "image": "pictures/wide.png", "seed": 9}, {"prompt": PROMPTS[1], "image": "pictures/square.png", "negative": ""},
             {"prompt": PROMPTS[2], "image": "pictures/square.png"}]
    pathlib.Path("list/edits.jsonl").write_text("\n\n".join(json.dumps(line) for line in lines))
    generate("--prompts", "list/edits.jsonl", "--negative", "dark", "--seed", 3, "--count", 2, "--batch", 4, "--output", "out", model="edit")
    paths = [f"out/{i:05}.png" for i in range(6)]
    assert [seed_of(path) for path in paths] == [9, 10, 3, 4, 3, 4]
    assert [Image.open(path).size for path in paths] == [(24, 16)] * 2 + [(16, 16)] * 4, "a batch ends where another size begins"
    assert ["Negative prompt: dark" in text_of(path) for path in paths] == [True] * 2 + [False] * 2 + [True] * 2
    generate("--prompt", PROMPTS[2], "--image", "list/pictures/square.png", "--negative", "dark", "--seed", 4, "--output", "one.png", model="edit")
    assert np.abs(pixels("one.png") - pixels(paths[5])).max() <= 1


# ---- what is written with the pictures ----


def test_the_text_in_a_picture(here):
    generate("--prompt", "two\nlines, größer", "--negative", "dark: blurry", "--seed", 7, "--guidance", 6.5, "--sampler", "dpm++2m_karras",
             "--size", "24x16", "--output", "new/folder/a.png", steps=4)
    with Image.open("new/folder/a.png") as image:
        assert image.size == (24, 16) and image.mode == "RGB" and image.format == "PNG"
        assert image.text["parameters"] == ("two\nlines, größer\nNegative prompt: dark: blurry\n"
                                            "Steps: 4, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 7, Size: 24x16, Model: model")
        assert re.fullmatch(r"t2i \d+\.\d+\.\d+\S*", image.text["Software"])


def test_coco_captions(here):
    pathlib.Path("list.jsonl").write_text(json.dumps({"prompt": PROMPTS[0], "seed": 40}) + "\n" + json.dumps({"prompt": PROMPTS[1]}) + "\n" +
                                          json.dumps({"prompt": PROMPTS[2]}) + "\n")
    done = generate("--prompts", "list.jsonl", "--count", 2, "--seed", 5, "--batch", 4, "--format", "coco", "--size", "24x16", "--output", "out")
    data = json.loads(pathlib.Path("out/annotations.json").read_text(encoding="utf-8"))
    # As the captions_*.json of COCO 2014 and 2017, which pycocotools indexes: these lists, these keys.
    assert {"info", "images", "annotations", "licenses"} <= set(data) and isinstance(data["info"], dict) and data["licenses"] == []
    images = {image["id"]: image for image in data["images"]}
    assert len(images) == len(data["images"]) == 6 and len({a["id"] for a in data["annotations"]}) == 6
    assert all(isinstance(i, int) and i > 0 for i in [*images, *(a["id"] for a in data["annotations"])])
    assert sorted(a["image_id"] for a in data["annotations"]) == sorted(images), "one caption for each picture"
    assert sorted(path.name for path in pathlib.Path("out/images").iterdir()) == sorted(image["file_name"] for image in images.values())
    for annotation in data["annotations"]:
        image = images[annotation["image_id"]]
        assert image["file_name"] == f"{image['id']:012}.png", "as COCO numbers its files"
        path = pathlib.Path("out/images") / image["file_name"]
        assert Image.open(path).size == (image["width"], image["height"]) == (24, 16)
        assert text_of(path).split("\n")[0] == annotation["caption"] and seed_of(path) == image["seed"]
    assert [a["caption"] for a in data["annotations"]] == [PROMPTS[i // 2] for i in range(6)]
    # A seed of its own for each picture of the set, but where the file gives one.
    assert [images[i]["seed"] for i in range(1, 7)] == [40, 41, 7, 8, 9, 10]
    assert done.stdout == "".join(f"out/images/{i:012}.png\n" for i in range(1, 7))


def test_latents_saved_and_begun_from_again(here):
    generate("--prompt", PROMPTS[0], "--count", 3, "--seed", 5, "--batch", 2, "--save-latents", "kept/in/here.safetensors", "--output", "first")
    kept = load_file("kept/in/here.safetensors")
    assert {name: list(t.shape) for name, t in kept.items()} == {"latents": [3, 4, 8, 8], "final_latents": [3, 4, 8, 8]}
    generate("--prompt", PROMPTS[0], "--count", 3, "--seed", 77, "--batch", 2, "--latents", "kept/in/here.safetensors", "--output", "again")
    vae = AutoencoderKL.from_pretrained("model", subfolder="vae")
    with torch.no_grad():
        decoded = vae.decode(kept["final_latents"] / vae.config.scaling_factor).sample
    decoded = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round().permute(0, 2, 3, 1).numpy()
    for i in range(3):
        first = pixels(f"first/{i:05}.png")
        assert np.array_equal(first, pixels(f"again/{i:05}.png"))
        assert np.abs(first - decoded[i]).max() <= 1, "final_latents are what was decoded; 1 of 255 for rounding"
    # The noise of one picture alone draws that picture.
    save_file({"latents": kept["latents"][2:]}, "third.safetensors")
    generate("--prompt", PROMPTS[0], "--latents", "third.safetensors", "--output", "third.png")
    assert np.abs(pixels("third.png") - pixels("first/00002.png")).max() <= 1


# ---- what is there already ----


def test_what_generate_wrote_is_replaced(here):
    for seed in (1, 2):
        generate("--prompt", PROMPTS[0], "--seed", seed, "--output", "out", "--save-latents", "out/latents.safetensors", "--format", "coco")
        assert json.loads(pathlib.Path("out/annotations.json").read_text())["images"][0]["seed"] == seed
        assert seed_of("out/images/000000000001.png") == seed
    with safe_open("out/latents.safetensors", "pt") as file:
        assert file.metadata()["software"].startswith("t2i ")


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


def test_a_file_made_to_be_filled_is_filled(here):
    """As mktemp and tempfile.NamedTemporaryFile leave one: nothing is in it to be lost."""
    pathlib.Path("made.safetensors").touch()
    t2i("probe", "tokens", "--model", "model", "--prompt", "x", "--outputs", "made.safetensors")
    assert load_file("made.safetensors")


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


def picture(path, size=(16, 16)):
    Image.new("RGB", size, "red").save(path)


def latents(path, *shape, name="latents"):
    save_file({name: torch.zeros(shape)}, path)


@case
def a_picture_is_needed():  # E6006
    pathlib.Path("list.jsonl").write_text('{"prompt": "a", "image": "a.png"}\n{"prompt": "b"}\n\n{"prompt": "c"}\n')
    picture("a.png")
    yield drawing("--prompt", "a", "--prompt", "b", model="edit")
    yield drawing("--prompts", "list.jsonl", model="edit")


@case
def a_picture_is_not_read():  # E6006
    picture("a.png")
    pathlib.Path("list.jsonl").write_text('{"prompt": "a", "image": "a.png"}\n{"prompt": "b"}\n')
    yield drawing("--prompt", "a", "--image", "a.png")
    yield drawing("--prompts", "list.jsonl")


@case
def pictures_and_prompts_do_not_pair_up():  # E6006
    pathlib.Path("list.txt").write_text("a\nb\nc\n")
    yield drawing("--prompts", "list.txt", "--image", "a.png", "b.png", model="edit")


@case
def a_picture_is_in_the_way():  # E6007
    os.mkdir("out")
    picture("out/00001.png")
    picture("mine.png")
    pathlib.Path("file").write_text("mine")
    yield drawing("--prompt", "a", "--count", "3")
    yield drawing("--prompt", "a", output="mine.png")
    yield drawing("--prompt", "a", output="file")


@case
def annotations_are_in_the_way():  # E6007
    os.mkdir("out")
    pathlib.Path("out/annotations.json").write_text('{"info": {"contributor": "COCO Consortium"}, "images": [], "annotations": []}')
    yield drawing("--prompt", "a", "--format", "coco")


@case
def tensors_are_in_the_way():  # E6007
    weights = "model/unet/diffusion_pytorch_model.safetensors"
    yield drawing("--prompt", "a", "--save-latents", weights)
    yield drawing("--prompt", "a", "--save-latents", "model")
    yield ["probe", "tokens", "--model", "model", "--prompt", "a", "--outputs", weights]
    yield ["probe", "tokens", "--model", "model", "--prompt", "a", "--outputs", "model/unet"]


@case
def latents_that_do_not_fit():  # E6008
    latents("named.safetensors", 1, 4, 8, 8, name="noise")
    latents("many.safetensors", 3, 4, 8, 8)
    latents("channels.safetensors", 1, 16, 8, 8)
    latents("flat.safetensors", 4, 8, 8)
    latents("wide.safetensors", 1, 4, 8, 12)
    for name in ("named", "many", "channels", "flat"):
        yield drawing("--prompt", "a", "--latents", f"{name}.safetensors")
    yield drawing("--prompt", "a", "--latents", "wide.safetensors", "--size", "16x16")


@case
def latents_of_several_sizes():  # E6008
    picture("a.png", (16, 16))
    picture("b.png", (24, 16))
    yield drawing("--prompt", "a", "--prompt", "b", "--image", "a.png", "b.png", "--save-latents", "kept.safetensors", model="edit")


@case
def values_that_are_no_numbers():  # E6011
    shutil.copytree("model", "broken")
    weights = load_file("broken/unet/diffusion_pytorch_model.safetensors")
    weights["conv_out.bias"][0] = float("nan")
    save_file(weights, "broken/unet/diffusion_pytorch_model.safetensors", {"format": "pt"})
    yield drawing("--prompt", "a", model="broken")


@case
def several_pictures_for_one_file():  # E6012
    yield drawing("--prompt", "a", "--prompt", "b", output="out.png")


@case
def sizes_that_are_no_whole_latents():  # E6013
    picture("dot.png", (1, 9))
    yield drawing("--prompt", "a", "--size", "17x33")
    yield drawing("--prompt", "a", "--image", "dot.png", model="edit")


@case
def latents_of_several_processes():  # E6014
    yield {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}, drawing("--prompt", "a", "--save-latents", "kept.safetensors")


@case
def prompts_that_are_none():  # E6005
    pathlib.Path("list.jsonl").write_text('{"prompt": "a", "seed": -1}\n{"text": "b"}\n["c"]\n{"prompt": 4}\n{"negative": "d"}\n{"promt": "e"}\n{"prompt": "f"\n')
    pathlib.Path("empty.txt").write_text("\n\n")
    pathlib.Path("latin.txt").write_bytes("a\ncafé\n".encode("latin-1"))
    for name in ("list.jsonl", "empty.txt", "latin.txt"):
        yield drawing("--prompts", name)


@case
def samplers_of_another_kind():  # E6002
    shutil.copytree("model", "flow")
    path = pathlib.Path("flow/scheduler/scheduler_config.json")
    trained = {"_class_name": "DPMSolverMultistepScheduler", "prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 1.0}
    path.write_text(json.dumps(json.loads(path.read_text()) | trained))
    yield drawing("--prompt", "a", "--sampler", "ddim", model="flow")
    yield drawing("--prompt", "a", "--sampler", "euler", model="flow")
    yield drawing("--prompt", "a", "--sampler", "flow_euler")


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


def test_every_error_of_pictures_is_in_a_text():
    root = EXPECTED.parent.parent
    documented = set(re.findall(r"T2I-(E\d{4})", (root / "docs" / "ERRORS.d" / "generate.md").read_text()))
    texts = [path for kind in ("generate", "single") for path in EXPECTED.glob(f"{kind}_*.txt")]  # single: of `t2i export`
    reached = set(re.findall(r"T2I-(E\d{4})", "".join(path.read_text() for path in texts)))
    # E6001 is said by the command line before (E1022); E6003 and E6004 are in test_samplers_equal_diffusers.py.
    assert documented - reached == {"E6001", "E6003", "E6004"}
