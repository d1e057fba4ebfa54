"""What a person reads when a run cannot begin or cannot go on: the messages of `t2i run` on a small model, whole and byte
for byte, as tests/errors/run_NAME.txt has them, each command with its exit code. What is kept is in test_run_keeps.py.
T2I_WRITE_EXPECTED=1 writes the texts anew, to be read before they are kept.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from tiny import AS_CAPTIONS, T2I, sd_folder, settings, triplet_data

EXPECTED = pathlib.Path(__file__).resolve().parent / "errors"
CASES = {}
STEPS = 4
COMMON = settings(data__resolution=16, data__num_workers=1, train__num_threads=1, train__gradient_accumulation_steps=1, train__max_train_steps=STEPS,
                  train__mixed_precision="fp32", train__train_batch_size=2, checkpoint__every_steps=1, checkpoint__keep=2, checkpoint__report="false", validation__every_steps=0)


def case(make):
    CASES[make.__name__] = make
    return make


def run(*more, task="ip2p", model="model", data="data", output="out", **changes):
    return ["run", "--task", task, "--model", model, "--data", data, "--output", output, *COMMON, *settings(**changes), *more]


def edit_json(path, **changes):
    path = pathlib.Path(path)
    value = json.loads(path.read_text())
    value.update(changes)
    path.write_text(json.dumps(value, indent=2))


UNET = "model/unet/diffusion_pytorch_model.safetensors"


def cut(path, share):
    path = pathlib.Path(path)
    path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])


def tensors(change):
    """The denoiser's weights, changed."""
    import safetensors.torch

    state = safetensors.torch.load_file(UNET)
    change(state)
    safetensors.torch.save_file(state, UNET, {"format": "pt"})


# ---- the model ----


@case
def model_is_a_pickle():
    os.rename("model", "folder")
    pathlib.Path("model.ckpt").write_bytes(b"PK\x03\x04")
    return [run(model="model.ckpt")]


@case
def weights_are_a_pickle():
    os.rename(UNET, UNET.replace(".safetensors", ".bin"))
    return [run()]


@case
def weights_are_a_pointer():
    pathlib.Path(UNET).write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 3438167540\n")
    return [run()]


@case
def weights_are_cut():
    cut(UNET, 0.41)
    return [run()]


@case
def weights_are_a_web_page():
    pathlib.Path(UNET).write_text("<!DOCTYPE html>\n<html><title>Log in</title></html>")
    return [run()]


@case
def shard_is_missing():
    import safetensors.torch

    state = safetensors.torch.load_file(UNET)
    os.remove(UNET)
    names = [f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    where = {name: names[i % 2] for i, name in enumerate(sorted(state))}
    safetensors.torch.save_file({k: v for k, v in state.items() if where[k] == names[0]}, f"model/unet/{names[0]}")
    pathlib.Path(UNET + ".index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}, indent=2))
    return [run()]


@case
def pipeline_of_another_family():
    edit_json("model/model_index.json", _class_name="StableDiffusionXLPipeline")
    return [run(), run("--plugin", "sd15")]


@case
def model_of_another_family():
    edit_json("model/model_index.json", _class_name="StableDiffusionXLPipeline")
    edit_json("model/unet/config.json", addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=64)
    return [run(), run("--plugin", "sd15")]


@case
def configuration_of_another_network():
    edit_json("model/unet/config.json", cross_attention_dim=64)
    return [run()]


@case
def weights_of_another_network():
    tensors(lambda state: [state.pop(name) for name in sorted(state)[:5]])
    return [run()]


@case
def channels_of_another_task():
    tensors(lambda state: state.update({"conv_in.weight": state["conv_in.weight"].repeat(1, 2, 1, 1)[:, :5].contiguous()}))
    edit_json("model/unet/config.json", in_channels=5)
    return [run(), run(task="text")]


@case
def prediction_type_unknown():
    edit_json("model/scheduler/scheduler_config.json", prediction_type="sample")
    return [run(), run("--loss", "min_snr")]


@case
def prediction_type_is_no_text():
    edit_json("model/scheduler/scheduler_config.json", prediction_type=None)
    return [run(), run("--plugin", "sd15")]


@case
def options_of_the_family():
    return [run("--set", "plugin.clip_skip=9"), run("--set", "plugin.clip_skipp=1"), run("--plugin", "sd15", "--set", "plugin.clip_skip=one")]


@case
def prediction_type_of_another_loss():
    edit_json("model/scheduler/scheduler_config.json", prediction_type="v_prediction")
    return [run("--loss", "epsilon"), run(output="as-the-folder-says")]


@case
def parts_are_missing():
    for part in ("vae", "text_encoder", "unet"):
        shutil.move(f"model/{part}", f"{part}-elsewhere")
    os.rename("unet-elsewhere", "model/unet")
    return [run(), run(model__vae="vae-elsewhere", model__text_encoder="model"), run(model__vae="vae-elsewhere", model__text_encoder="text_encoder-elsewhere")]


@case
def model_is_not_there():
    os.rename("model", "models")
    return [run(), run(model="data")]


@case
def tokenizer_is_missing():
    shutil.rmtree("model/tokenizer")
    return [run()]


@case
def component_unknown():
    return [run("--plugin", "sd16"), run(task="ip2pp"), run("--loss", "minsnr"), run("--set", "loss.gama=5", "--loss", "min_snr")]


@case
def settings_that_do_not_fit():
    return [run(data__resolution=17), run("--set", "train.parameters=[nothing*]"), run("--set", "validation.prompts=[x]", validation__every_steps=1),
            run("--set", "validation.prompts=[x,y,z]", "--set", "validation.images=[data/metadata.jsonl,data/1-in.png,gone.png]", validation__every_steps=3),
            run("--set", "validation.prompts=[x]", "--set", "validation.images=[gone.png]", validation__every_steps=3, validation__steps=2000)]


# ---- the data ----


def rows():
    return [json.loads(line) for line in pathlib.Path("data/metadata.jsonl").read_text().splitlines()]


def write_rows(lines):
    pathlib.Path("data/metadata.jsonl").write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))


def picture(path, side=(160, 120), **how):
    import numpy as np
    from PIL import Image

    Image.fromarray(np.random.default_rng(5).integers(0, 256, (side[1], side[0], 3), dtype=np.uint8)).save(path, **how)


@case
def pictures_are_cut():
    for i in (3, 6):
        for name in ("in", "out"):
            picture(f"data/{i}-{name}.png")
    cut("data/3-in.png", 0.71)
    cut("data/6-out.png", 0.5)
    return [run(), run(data__on_error="skip")]


@case
def every_picture_is_bad():
    for i in range(8):
        pathlib.Path(f"data/{i}-in.png").write_text("<html>")
    return [run(data__on_error="skip")]


@case
def pictures_are_not_there():
    for name in ("1-in", "4-out", "5-in", "5-out"):
        os.remove(f"data/{name}.png")
    return [run(), run(data__on_error="skip"), run(output="other", data__on_error="skip", data__path="data/metadata.jsonl")]


@case
def no_picture_is_there():
    for i in range(8):
        os.remove(f"data/{i}-in.png")
    return [run(data__on_error="skip")]


@case
def names_that_lie():
    picture("data/2-in.png", (16, 16), format="JPEG", quality=90)
    pathlib.Path("data/._0-in.png").write_text("")
    return [run()]


@case
def captions_are_missing():
    os.remove("data/metadata.jsonl")
    for i in range(0, 8, 2):
        pathlib.Path(f"data/{i}-in.txt").write_text("a caption")
    as_pictures = settings(data__columns="{}")
    return [run(*as_pictures, task="text"), run(*as_pictures, task="text", data__caption_missing="filename")]


@case
def rows_are_wrong():
    lines = rows()
    write_rows([lines[0], "{'input_image': '1-in.png'}", {"filename": "2-in.png"}, {**lines[3], "input_image": "../model/model_index.json"},
                {**lines[4], "output_image": "gone.png"}, *lines[5:]])
    return [run()]


@case
def a_pair_of_unequal_sizes():
    picture("data/4-out.png", (24, 16))
    return [run(), run(data__on_mismatch="resize", output="other")]


@case
def no_data():
    os.makedirs("empty")
    return [run(data="empty"), run(data="dota")]


# ---- numbers that are none ----


def poison(row, letter="z"):
    """The caption of this row becomes one that the text encoder turns into NaN."""
    import safetensors.torch

    lines = rows()
    lines[row]["instruction"] = letter
    write_rows(lines)
    path = "model/text_encoder/model.safetensors"
    state = safetensors.torch.load_file(path)
    name = next(n for n in state if n.endswith("token_embedding.weight"))
    vocabulary = json.loads(pathlib.Path("model/tokenizer/tokenizer.json").read_text())["model"]["vocab"]
    state[name][vocabulary[letter + "</w>"]] = float("nan")
    safetensors.torch.save_file(state, path, {"format": "pt"})


@case
def loss_is_no_number():
    poison(5)
    return [run(), run(), run(output="other", train__max_nan_skips=1), run(output="third", checkpoint__every_steps=0)]


# ---- the disk ----


def last_good(name):
    there = left_behind()
    assert [n for n in there if n.startswith((".", "final"))] == [], there
    checkpoints = sorted(n for n in there if n.startswith("checkpoint-"))
    assert (checkpoints[-1] if checkpoints else None) == name, there


def disk(bytes_left, filled_by="", quota=False, folder="out"):
    """Environment of a command whose output folder has so many bytes left: see tools/full_disk.c."""
    more = {**({"T2I_DISK_FILLED_BY": filled_by} if filled_by else {}), **({"T2I_DISK_QUOTA": "1"} if quota else {})}
    return {"LD_PRELOAD": os.environ["T2I_FULL_DISK"], "T2I_DISK_FOLDER": os.path.realpath(folder), "T2I_DISK_BYTES": str(bytes_left), **more}


def left_behind(folder="out"):
    return sorted(path.name for path in pathlib.Path(folder).iterdir() if not path.name.endswith("-tokenizer"))


def nothing_begun():
    assert left_behind() == ["config.yaml", "run.lock"]


@case
def disk_too_small_for_the_run():
    os.makedirs("out")
    return [(disk(20_000_000), run()), nothing_begun, (disk(35_000_000), run(checkpoint__keep=1)), (disk(30_000_000), run(train__max_train_steps=6))]


@case
def disk_full_before_a_checkpoint():
    return [(disk(999_950, "checkpoint-2"), run()), lambda: last_good("checkpoint-2")]


@case
def disk_full_in_a_checkpoint():
    return [(disk(4_000_000, "checkpoint-2", quota=True), run()), lambda: last_good("checkpoint-2")]


@case
def disk_full_in_the_metrics():
    return [(disk(0, "checkpoint-2"), run()), lambda: last_good("checkpoint-2")]


@case
def disk_full_in_final():
    return [(disk(1_000_000, "checkpoint-4"), run()), lambda: last_good("checkpoint-4")]


@case
def files_limited():
    return [({"ULIMIT_F": "4000"}, run()), lambda: last_good(None)]


@case
def output_is_a_file():
    pathlib.Path("out").write_text("mine")
    return [run(), run(output="model/model_index.json/out")]


# ---- what an earlier attempt left ----


def flip(path, at):
    path = pathlib.Path(path)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


@case
def newest_checkpoint_is_damaged():
    return [run(), lambda: flip("out/checkpoint-4/state.safetensors", 1_000_000), run(train__max_train_steps=6)]


@case
def every_checkpoint_is_damaged():
    def damage():
        cut("out/checkpoint-4/state.safetensors", 0.5)
        flip("out/checkpoint-3/manifest.json", 100)
    return [run(), damage, run(train__max_train_steps=6)]


@case
def run_of_another_host():
    os.makedirs("out")
    pathlib.Path("out/run.lock").write_text(json.dumps({"pid": 7, "host": "elsewhere", "boot": "x", "started": "2026-01-01 00:00:00 UTC"}))
    return [run(), run("--steal-lock")]


@case
def checkpoint_of_another_model():
    """The folder's network was exchanged under the same name."""
    def exchange():
        import torch
        from diffusers import UNet2DConditionModel

        unet = UNet2DConditionModel.from_config(json.loads(pathlib.Path("model/unet/config.json").read_text()) | {"layers_per_block": 2})
        torch.manual_seed(0)
        unet.save_pretrained("model/unet")
    return [run(), exchange, run(train__max_train_steps=6)]


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("run-errors")
    sd_folder(root / "model")
    triplet_data(root / "data", count=8)
    library = root / "full_disk.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, pathlib.Path(__file__).parent / "tools" / "full_disk.c", "-ldl"], check=True)
    os.environ["T2I_FULL_DISK"] = str(library)
    for name, steps in (("four", 4), ("six", 6)):
        assert subprocess.run([T2I, *run(model=root / "model", data=root / "data", output=root / name, train__max_train_steps=steps)]).returncode == 0
    return root


@pytest.fixture
def here(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(place / "model", "model")
    shutil.copytree(place / "data", "data")
    return place


def start(command):
    environment, arguments = command if isinstance(command, tuple) else ({}, command)
    environment = {**os.environ, **environment}
    limit = environment.pop("ULIMIT_F", "unlimited")
    return arguments, subprocess.run(["bash", "-c", f'ulimit -f {limit}; exec "$0" "$@"', T2I, *arguments], capture_output=True, text=True, timeout=120,
                                     env=environment)


def said(commands):
    text = ""
    for command in commands:
        if callable(command):
            command()
            continue
        arguments, done = start(command)
        assert done.stdout == ""
        mine = [part for part in arguments if part not in COMMON and part != "--set"]
        text += f"$ t2i {' '.join(map(str, mine))}\n{done.stderr}exit {done.returncode}\n"
    text = re.sub(r"peak memory: .*\n", "", text)
    text = re.sub(r"\.tmp-(\d+)-[0-9a-f]{32}", r".tmp-\1-HEX", text)
    text = re.sub(r"[\d.]+ [kMGT]?B are free", "MUCH is free", text)  # of the real disk
    text = re.sub(r"(metrics.jsonl: .*?: )\d+ bytes", r"\1N bytes", text)  # a line with times in it
    text = re.sub(r"after \d+ % of the rows", "after N % of the rows", text)  # as the encoder packs
    return re.sub(r"free on \S*?([.,]?)(?=\s)", r"free on DISK\1", text)


@pytest.mark.parametrize("name", CASES)
def test_message(name, here):
    got = said(CASES[name]())
    path = EXPECTED / f"run_{name}.txt"
    if os.environ.get("T2I_WRITE_EXPECTED"):
        path.write_text(got)
    assert got == path.read_text()


def test_every_expected_text_has_its_case():
    assert {path.stem[4:] for path in EXPECTED.glob("run_*.txt")} == set(CASES)
