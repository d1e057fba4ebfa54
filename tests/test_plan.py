"""`t2i plan` against the runs that it foretells: memory by what the kernel says of the run's process, counts by the run's own files.

Broken by: a buffer that the rehearsal does not see, a switch that is named and does not help, a picture counted as good that the run
stops at, a plan that reads the weights it only has to count.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tiny import AS_CAPTIONS, T2I, metrics, own_peak_bytes, settings, t2i, triplet_data

from make_folders import make_flux, make_sd15, make_sd3, make_sdxl

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "bench" / "step"))
from random_folder import MODELS  # noqa: E402

# Wide enough that weights and activations are more than the program; the last one as wide as in the benchmarks.
UNET = dict(block_out_channels=(128, 256), sample_size=32, norm_num_groups=32)
FAMILIES = {
    "sd15": lambda folder: make_sd15(folder, unet={**UNET, "cross_attention_dim": 32}),
    "sdxl": lambda folder: make_sdxl(folder, unet={**UNET, "attention_head_dim": (4, 8)}),
    "sd3": lambda folder: make_sd3(folder, t5={}, transformer=dict(num_layers=6, attention_head_dim=64, num_attention_heads=6, sample_size=32,
                                                                   caption_projection_dim=384, pos_embed_max_size=32)),
    "flux": lambda folder: make_flux(folder, transformer=dict(num_layers=2, num_single_layers=4, attention_head_dim=64, num_attention_heads=6,
                                                              axes_dims_rope=(16, 24, 24))),
    "flux-middle": lambda folder: make_flux(folder, transformer=MODELS["flux-middle"]["config"], t5=dict(d_model=1024),
                                            text=dict(hidden_size=512, num_attention_heads=8)),
}
COMMON = settings(data__num_workers=1, train__num_threads=2, validation__every_steps=0, train__train_batch_size=4,
                  train__gradient_accumulation_steps=1, train__max_train_steps=3, train__mixed_precision="fp32", checkpoint__every_steps=0)
STEPS = 3


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("plan")
    for family, make in FAMILIES.items():
        make(str(root / family))
    triplet_data(root / "data", count=12, side=64)
    return root


def arguments(place, model, *more, task="text", data="data", **changes):
    columns = AS_CAPTIONS if task == "text" else []
    return ["--task", task, "--model", place / model, "--data", place / data, *COMMON, *columns, *more, *settings(**changes)]


PLANNED = {}  # what a plan says depends on nothing but its arguments


def plan(place, model, *more, code=0, **changes):
    given = tuple(map(str, arguments(place, model, *more, **changes)))
    if given not in PLANNED:
        done = t2i("plan", "--json", *given, code=code)
        PLANNED[given] = json.loads(done.stdout), done.stderr
    return PLANNED[given]


def run_peak(place, model, output, *more, **changes):
    """The most that was resident of the run's process, by the kernel."""
    command = [T2I, "run", "--output", place / output, *arguments(place, model, *more, **changes)]
    return own_peak_bytes(*command)


KEPT = dict(train__gradient_checkpointing="false")
LORA = dict(lora__rank=8, lora__targets="all")
PICTURES = dict(validation__every_steps=2, validation__steps=2, validation__num_images=8, validation__prompts="[a red ball, a blue cube]")
CASES = {
    "sd15": {}, "sd15-kept": KEPT, "sd15-bfloat16": dict(train__mixed_precision="bf16", train__dtype="bfloat16", optimizer__name="adamw8bit"),
    "sd15-pictures": PICTURES | dict(train__train_batch_size=1, train__use_ema="true"),
    "sdxl": {}, "sdxl-lora": KEPT | LORA,
    "sd3": {}, "sd3-kept": KEPT,
    "flux": {}, "flux-kept": KEPT, "flux-nf4": KEPT | LORA | dict(model__quantization="nf4", train__mixed_precision="bf16"),
    "flux-middle": dict(train__train_batch_size=1),
}


# A tenth is what is asked. What the plan cannot know are scratch memory of libraries and pages that a heap keeps.
@pytest.mark.parametrize("case", CASES)
def test_memory_is_that_of_the_run_within_a_tenth(place, case):
    family = case if case in FAMILIES else case.split("-")[0]
    changes = dict(data__resolution=128, train__gradient_checkpointing="true", train__max_train_steps=2) | CASES[case]
    planned, _ = plan(place, family, **changes)
    used = run_peak(place, family, f"run-{case}", **changes)
    print(f"{case}: planned {planned['memory']['peak_bytes'] / 1e6:.0f} MB, used {used / 1e6:.0f}")
    assert planned["computed"] == [], "operations over much memory were computed"
    assert planned["memory"]["peak_bytes"] == pytest.approx(used, rel=0.1), planned["memory"]["shares"]
    shutil.rmtree(place / f"run-{case}")


def test_counts_are_those_of_the_run_and_of_its_files(place):
    changes = dict(data__resolution=64, train__max_train_steps="null", train__num_train_epochs=2, train__gradient_accumulation_steps=2,
                   checkpoint__every_steps=1, checkpoint__keep=2)
    planned, _ = plan(place, "sd15", **changes)
    run_peak(place, "sd15", "counts", **changes)
    out = place / "counts"
    lines = metrics(out)
    assert planned["steps"]["all"] == len(lines) == 3
    assert planned["steps"]["pictures_seen"] == 24 and planned["steps"]["per_epoch"] == 12 / 8 == STEPS / lines[-1]["epoch"]
    shares = planned["memory"]["shares"]
    assert sum(s["bytes"] for s in shares) == planned["memory"]["peak_bytes"]

    from safetensors import safe_open
    parameters = 0
    with safe_open(place / "sd15" / "unet" / "diffusion_pytorch_model.safetensors", "pt") as f:
        for name in f.keys():
            parameters += int(np.prod(f.get_slice(name).get_shape()))
    assert planned["parameters"]["all"] == planned["parameters"]["trained"] == parameters
    # Two moments of four bytes each; the parameters are rounded up to whole cache lines.
    assert planned["memory"]["optimizer_bytes"] == pytest.approx(8 * parameters, rel=0.01)
    assert planned["memory"]["gradients_bytes"] == pytest.approx(4 * parameters, rel=0.01)

    # Two are kept, and there is a third until the newest is whole.
    state = (out / "checkpoint-3" / "state.safetensors").stat().st_size
    final = sum(path.stat().st_size for path in (out / "final").rglob("*") if path.is_file())
    assert planned["disk"]["checkpoints"] == 3
    assert planned["disk"]["checkpoint_bytes"] == pytest.approx(state, rel=0.02)
    assert planned["disk"]["final_bytes"] == pytest.approx(final, rel=0.05)


def test_a_share_is_trained(place):
    planned, _ = plan(place, "sd15", data__resolution=64, train__parameters="[attention]")
    counted = planned["parameters"]
    assert 0 < counted["share"] == counted["trained"] / counted["all"] < 0.5
    assert planned["memory"]["optimizer_bytes"] == pytest.approx(8 * counted["trained"], rel=0.02)


def test_fewer_kept_blocks_take_less(place):
    def step(**changes):
        memory = plan(place, "sd3", data__resolution=128, **changes)[0]["memory"]
        return memory["step_bytes"], sum(b["again"] for b in memory["blocks"]), len(memory["blocks"])

    none, second, all_again = step(train__gradient_checkpointing="false"), step(train__checkpoint_every_n_blocks=2), step()
    assert [none[1], second[1], all_again[1]] == [0, 3, 6] and none[2] == 6
    assert none[0] > 1.2 * second[0] and second[0] > 1.1 * all_again[0]


# ---- without the weights ----


def test_the_weights_are_not_read(tmp_path, place):
    """A plan takes less memory than a tenth of what it says of weights, however large these are."""
    make_sd15(str(tmp_path / "large"), text=dict(vocab_size=300_000, hidden_size=256, intermediate_size=64, num_attention_heads=4),
              unet=dict(cross_attention_dim=256))

    def peak(model):
        used = own_peak_bytes(T2I, "plan", "--json", *arguments(place, model, data__resolution=16))
        return plan(place, model, data__resolution=16)[0], used

    planned, large = peak(tmp_path / "large")
    _, small = peak("sd15")
    text = next(p for p in planned["memory"]["parts"] if p["part"] == "text_encoder")
    assert text["bytes"] > 300e6 and large - small < 0.1 * text["bytes"]


# ---- what does not fit ----


def test_the_switch_that_is_named_makes_it_fit(place):
    changes = dict(data__resolution=128, train__gradient_checkpointing="false")
    whole, _ = plan(place, "sd3", **changes)
    least, _ = plan(place, "sd3", **{**changes, "train__gradient_checkpointing": "true"})
    between = (whole["memory"]["needed_bytes"] + least["memory"]["needed_bytes"]) // 2
    _, said = plan(place, "sd3", "--memory", f"{between // 1_000_000}MB", code=78, **changes)
    assert "the run needs" in said and "→ set train.gradient_checkpointing: true: it then needs" in said and "[T2I-E7250]" in said
    plan(place, "sd3", "--memory", f"{between // 1_000_000}MB", **{**changes, "train__gradient_checkpointing": "true"})


def test_a_smaller_batch_is_another_switch(place):
    whole, _ = plan(place, "sd15", data__resolution=128)
    half, _ = plan(place, "sd15", data__resolution=128, train__train_batch_size=2)
    between = (whole["memory"]["needed_bytes"] + half["memory"]["needed_bytes"]) // 2
    _, said = plan(place, "sd15", "--memory", f"{between // 1_000_000}MB", code=78, data__resolution=128)
    assert "→ set train.train_batch_size: 2 with train.gradient_accumulation_steps: 2: it then needs" in said


def test_nothing_makes_it_fit(place):
    _, said = plan(place, "sd15", "--memory", "1MB", code=78, data__resolution=64)
    assert "No single setting makes it fit" in said and "[T2I-E7250]" in said


@pytest.mark.parametrize("size", ["12", "twelve", "12XB", "GB", "1e400GB"])
def test_sizes_are_read(place, size):
    done = subprocess.run([str(T2I), "plan", "--memory", size], capture_output=True, text=True)
    assert ("is no size" in done.stderr) == (size != "12") and done.returncode == (78 if size == "12" else 64), done.stderr


# ---- data ----


def save(path, size, orientation=None, **options):
    random = np.random.default_rng(size[0])
    picture = Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    if options.pop("alpha", False):
        picture.putalpha(128)
    if orientation:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    picture.save(path, **options)


def test_pictures_are_measured_as_pil_does(tmp_path, place):
    """Sizes from the files' headers alone, upright; with 200 KB of metadata before a JPEG's frame, too."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    save(folder / "a.png", (50, 70))
    save(folder / "b.jpg", (90, 40))
    save(folder / "c.jpg", (91, 41), orientation=6)
    save(folder / "d.jpg", (64, 65), progressive=True, icc_profile=os.urandom(200_000))
    save(folder / "e.webp", (33, 77))
    save(folder / "f.webp", (34, 78), lossless=True)
    save(folder / "g.webp", (35, 79), alpha=True)
    save(folder / "h.png", (36, 80), orientation=8)
    wanted = {}
    from PIL import ImageOps
    for path in sorted(folder.iterdir()):
        upright = ImageOps.exif_transpose(Image.open(path))
        wanted[f"{upright.width}x{upright.height}"] = 1
        path.with_suffix(".txt").write_text(f"picture {path.stem}")
    done = t2i("plan", "--json", "--task", "text", "--model", place / "sd15", "--data", folder, *COMMON, *settings(data__resolution=64))
    data = json.loads(done.stdout)["data"]
    assert data["sizes"] == wanted and data["samples"] == data["pictures"] == 8 and data["left_out"] == []
    assert data["enlarged"] == sum(min(map(int, size.split("x"))) < 64 for size in wanted)


def test_what_will_be_left_out_is_what_the_run_leaves_out(place):
    folder = place / "broken"
    triplet_data(folder, count=12, side=64)
    (folder / "3-out.png").unlink()
    (folder / "5-out.png").write_text("<html>not found</html>")
    save(folder / "7-out.png", (64, 48))
    changes = dict(data__resolution=64, data__on_error="skip", train__max_train_steps=6)
    told, _ = plan(place, "sd15", task="ip2p", data="broken", **changes)
    run_peak(place, "sd15", "broken-run", task="ip2p", data="broken", **changes)
    listed = [json.loads(line) for line in (place / "broken-run" / "bad_samples.jsonl").read_text().splitlines()]
    assert [(one["where"], one["id"]) for one in told["data"]["left_out"]] == [(one["where"], one["id"]) for one in listed]
    assert len(listed) == 3


def test_the_table_is_for_people(place):
    told = t2i("plan", *arguments(place, "sd15", data__resolution=64)).stdout
    for begins in ("model", "parameters", "data", "steps", "memory", "disk"):
        assert any(line.startswith(begins + " ") for line in told.splitlines()), told
    assert "weights of unet (float32)" in told and "blocks" in told
