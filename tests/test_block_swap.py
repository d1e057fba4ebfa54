"""train.blocks_to_swap: frozen matrices of some blocks wait in host memory and come one block ahead of their use. Where there
is no GPU the copies are made all the same, from one place of host memory to another, and what is trained must not tell.

Broken by: a weight used before it came or after the next one did, a graph that keeps what is overwritten, a block that runs again in
backward with another one's weights, a number of blocks that is accepted and does nothing.
"""

import json
import re

import pytest
from safetensors.torch import load_file
from tiny import AS_CAPTIONS, metrics, settings, sha256, t2i, triplet_data

from make_folders import make_flux, make_sd15, make_sd3, make_sdxl

MAKE = {"sd15": make_sd15, "sdxl": make_sdxl, "sd3": lambda folder: make_sd3(folder, t5={}), "flux": make_flux}
TRAIN = settings(data__resolution=16, data__num_workers=1, train__num_threads=1, train__train_batch_size=2, train__gradient_accumulation_steps=2,
                 train__max_train_steps=3, optimizer__learning_rate=1e-3, validation__every_steps=0, checkpoint__every_steps=0)
KINDS = {
    "lora": dict(lora__rank=2, lora__targets="all", train__mixed_precision="no"),
    "lora-bf16": dict(lora__rank=2, model__dtype="bfloat16", train__mixed_precision="bf16"),
    "dora": dict(lora__rank=2, lora__use_dora="true", lora__dropout=0.2, train__mixed_precision="no"),
    "nf4": dict(lora__rank=2, model__quantization="nf4", train__mixed_precision="bf16"),
    "int8": dict(lora__rank=2, lora__targets="all", model__quantization="int8", train__mixed_precision="no"),
    "attention": dict(train__parameters="[attention]", train__mixed_precision="no"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("swap")
    for family, make in MAKE.items():
        make(str(root / family))
    triplet_data(root / "data", count=8)
    return root


def run(place, family, name, *more, code=0, **changes):
    out = place / name
    done = t2i("run", "--task", "text", "--model", place / family, "--data", place / "data", "--output", out, *TRAIN, *AS_CAPTIONS, *more,
               *settings(**changes), code=code)
    return out, done.stderr


def bits(out, step=3):
    return [m["loss"] for m in metrics(out)], sha256(out / f"checkpoint-{step}" / "state.safetensors")


@pytest.fixture(scope="module")
def stays(place):
    """What each kind comes to with all weights in place."""
    known = {}

    def of(family, kind):
        if (family, kind) not in known:
            known[family, kind] = bits(run(place, family, f"{family}-{kind}", **KINDS[kind])[0])
        return known[family, kind]

    return of


@pytest.mark.parametrize("blocks", [2, 1000])
@pytest.mark.parametrize("kind", ["lora", "nf4"])
@pytest.mark.parametrize("family", MAKE)
def test_no_bit_tells(place, stays, family, kind, blocks):
    out, said = run(place, family, f"{family}-{kind}-{blocks}", train__blocks_to_swap=blocks, **KINDS[kind])
    assert bits(out) == stays(family, kind)
    waiting, of = map(int, re.search(r"(\d+) of (\d+) blocks \([\d.]+ \w+\) wait in host memory, [12] at a time on the device", said).groups())
    assert waiting == min(blocks, of) and of > 2
    assert said.count("wait in host memory") == 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("lora", "nf4")])
@pytest.mark.parametrize("family", ["sdxl", "flux"])
def test_nor_of_other_kinds(place, stays, family, kind):
    out, _ = run(place, family, f"{family}-{kind}-2", train__blocks_to_swap=2, **KINDS[kind])
    assert bits(out) == stays(family, kind)


@pytest.mark.parametrize("again", [dict(train__gradient_checkpointing="false"), dict(train__checkpoint_every_n_blocks=2)], ids=["kept", "second"])
@pytest.mark.parametrize("family", MAKE)
def test_backward_without_a_second_run(place, stays, family, again):
    for kind in ("lora", "nf4"):
        out, _ = run(place, family, f"{family}-{kind}-{len(again)}{list(again)[0]}", train__blocks_to_swap=3, **again, **KINDS[kind])
        assert bits(out) == stays(family, kind)


def test_pictures_are_the_same(place):
    """Drawn before the first step, where the blocks are met for the first time without gradients, and between steps."""
    pictures = settings(validation__every_steps=1, validation__prompts="[a red ball]", validation__steps=2)
    folders = [run(place, "sd15", name, *pictures, **KINDS["lora-bf16"], **more)[0]
               for name, more in (("drawn", {}), ("drawn-swapped", dict(train__blocks_to_swap=4)))]
    images = [sorted((folder / "validation_images").rglob("*.png")) for folder in folders]
    assert len(images[0]) == len(images[1]) == 4
    for one, other in zip(*images, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert bits(folders[0]) == bits(folders[1])


def test_a_run_may_go_on_with_another_number(place, stays):
    """A run that ran out of memory need not begin anew."""
    out = place / "goes-on"
    for steps, blocks in ((1, 0), (2, 2), (3, 5)):
        run(place, "sd15", "goes-on", train__blocks_to_swap=blocks, **KINDS["lora"], train__max_train_steps=steps)
    assert bits(out) == stays("sd15", "lora")


def test_final_of_a_subset_has_everything(place):
    run(place, "sd3", "subset", train__blocks_to_swap=2, **KINDS["attention"])
    run(place, "sd3", "subset-stays", **KINDS["attention"])
    files = [load_file(place / name / "final" / "transformer" / "diffusion_pytorch_model.safetensors") for name in ("subset", "subset-stays")]
    assert files[0].keys() == files[1].keys()
    for name, t in files[0].items():
        assert t.equal(files[1][name]), name


def test_on_a_gpu_the_plan_is_smaller(place):
    """As far as a rehearsal without one can tell."""
    make_flux(str(place / "deep"), transformer=dict(num_layers=1, num_single_layers=11))

    def planned(**changes):
        given = ["--task", "text", "--model", place / "deep", "--data", place / "data", *TRAIN, *AS_CAPTIONS,
                 *settings(train__device="cuda", lora__rank=2, **changes)]
        memory = json.loads(t2i("plan", "--json", "--memory", "80GB", *given).stdout)["memory"]
        return {p["part"]: p["bytes"] for p in memory["parts"]}["transformer"], memory["peak_bytes"]

    for more in ({}, dict(model__quantization="nf4")):
        (all_there, peak), (some, less), (least, least_peak) = (planned(train__blocks_to_swap=n, **more) for n in (0, 6, 1000))
        assert least < some < all_there and least_peak < less < peak


# ---- what cannot work ----


def test_trained_weights_do_not_move(place, tmp_path):
    """Before anything is loaded: there is no model here."""
    done = t2i("run", "--task", "text", "--model", tmp_path / "nowhere", "--data", tmp_path, "--output", tmp_path / "out",
               *settings(train__blocks_to_swap=2), code=78)
    assert "train.blocks_to_swap = 2 moves weights that are not trained, and every weight is trained" in done.stderr and "[T2I-E7300]" in done.stderr
    assert not (tmp_path / "out").exists()


def test_nothing_frozen_to_move(place):
    _, said = run(place, "sd15", "none", train__blocks_to_swap=2, train__parameters="['*.weight']", code=78)
    assert "no block of unet has a matrix that is not trained" in said and "[T2I-E7301]" in said
    assert not list((place / "none").glob("checkpoint-*"))
