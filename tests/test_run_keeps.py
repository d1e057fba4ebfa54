"""What is kept: whatever stops a run, the last good checkpoint is still there, and the same command goes on from it to the
bits of a run that nothing stopped. The messages are in test_run_errors.py.
"""

import ctypes
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
import torch
from test_run_errors import STEPS, cut, disk, flip, here, left_behind, place, poison, rows, run, start
from tiny import T2I, metrics, sha256


def state(folder, step):
    return sha256(pathlib.Path(folder) / f"checkpoint-{step}" / "state.safetensors")


def final(folder):
    return sha256(pathlib.Path(folder) / "final" / "unet" / "diffusion_pytorch_model.safetensors")


def losses(folder):
    return [(m["step"], m["loss"], m["grad_norm"]) for m in metrics(folder)]


def succeed(command):
    done = start(command)[1]
    assert done.returncode == 0, done.stderr
    return done


STOPPED_BY_THE_DISK = {
    "no room for a checkpoint": lambda: disk(1_000_000, "checkpoint-2"),
    "full while a checkpoint is written": lambda: disk(5_000_000, "checkpoint-2", quota=True),
    "full at its manifest": lambda: disk(9_610_000, "checkpoint-2", quota=True),
    "full at a line of metrics": lambda: disk(100, "checkpoint-3"),
    "full in final": lambda: disk(1_000_000, "checkpoint-4"),
    "a limit on files": lambda: {"ULIMIT_F": "4000"},
}


@pytest.mark.parametrize("how", STOPPED_BY_THE_DISK)
def test_a_full_disk_loses_nothing(how, here):
    """Broken by: an unfinished file taken for a whole one, a checkpoint pruned before the next one stands, the last step's
    metrics kept twice."""
    stopped = start((STOPPED_BY_THE_DISK[how](), run()))[1]
    assert stopped.returncode == 74 and ("T2I-E4101" in stopped.stderr or "T2I-E4102" in stopped.stderr), stopped.stderr
    assert not [name for name in left_behind() if name.startswith(".tmp") or name.startswith("final")]
    succeed(run())
    assert state("out", STEPS) == state(here / "four", STEPS) and final("out") == final(here / "four")
    assert losses("out") == losses(here / "four")


@pytest.mark.parametrize("damage", [
    lambda folder: flip(folder / "state.safetensors", 2_000_000), lambda folder: cut(folder / "state.safetensors", 0.9),
    lambda folder: flip(folder / "manifest.json", 50), lambda folder: cut(folder / "manifest.json", 0.5), lambda folder: (folder / "state.safetensors").unlink(),
    lambda folder: (folder / "manifest.json").write_text("")], ids=["bit of state", "state cut", "bit of manifest", "manifest cut", "state gone", "manifest empty"])
def test_a_damaged_checkpoint_is_passed_over(damage, here):
    succeed(run())
    damage(pathlib.Path("out/checkpoint-4"))
    done = succeed(run(train__max_train_steps=6))
    assert "notice: out/checkpoint-4" in done.stderr and "[T2I-E4112]" in done.stderr and "going on from step 3" in done.stderr
    assert state("out", 6) == state(here / "six", 6) and final("out") == final(here / "six") and losses("out") == losses(here / "six")


def test_skipped_rows_are_the_rows_after_them(here):
    """Under data.on_error: skip the run is the one whose bad rows are copies of the next good ones, with any number of
    workers and over an interruption; every bad file is named once, and listed: 2 is cut, 5 is missing, 6 is empty."""
    shutil.copytree("data", "mended")
    cut("data/2-in.png", 0.5)
    pathlib.Path("data/5-in.png").unlink()
    pathlib.Path("data/6-out.png").write_bytes(b"")
    for bad in (2, 5, 6):
        for name in ("in", "out"):
            shutil.copy(f"mended/{ {2: 3, 5: 7, 6: 7}[bad]}-{name}.png", f"mended/{bad}-{name}.png")
    lines = rows()
    for bad, good in ((2, 3), (5, 7), (6, 7)):
        lines[bad]["instruction"] = lines[good]["instruction"]
    pathlib.Path("mended/metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    more = {"train__max_train_steps": 10}
    succeed(run(data="mended", output="mended-run", **more))
    for workers in (0, 3):
        done = succeed(run(output=f"skipping-{workers}", data__on_error="skip", data__num_workers=workers, **more))
        assert state(f"skipping-{workers}", 10) == state("mended-run", 10) and losses(f"skipping-{workers}") == losses("mended-run")
        skipped = [line.split(":")[1].strip() for line in done.stderr.splitlines() if line.startswith("skipped: ")]
        assert sorted(skipped) == ["data/2-in.png", "data/6-out.png"]
        told = [line for line in done.stderr.splitlines() if "left out" in line]
        assert "1 of 8 samples is left out (first: data/metadata.jsonl:6: input_image '5-in.png' is not there)" in told[0]
        assert "3 of 8 samples are left out (first: data/2-in.png: PNG ends" in told[1] and len(told) == 2
    succeed(run(output="interrupted", data__on_error="skip", train__max_train_steps=3))
    succeed(run(output="interrupted", data__on_error="skip", **more))
    assert state("interrupted", 10) == state("mended-run", 10) and losses("interrupted") == losses("mended-run")
    for output in ("skipping-0", "skipping-3", "interrupted"):
        listed = [json.loads(line) for line in pathlib.Path(output, "bad_samples.jsonl").read_text().splitlines()]
        assert [(bad["row"], bad["where"], bad["id"]) for bad in listed] == [
            (2, "data/metadata.jsonl:3", "T2I-E3001"), (5, "data/metadata.jsonl:6", "T2I-E3008"), (6, "data/metadata.jsonl:7", "T2I-E3002")]
    assert not pathlib.Path("mended-run/bad_samples.jsonl").exists()


def test_a_loss_that_is_no_number_changes_nothing(here):
    """The step is left out or the run stops before it; no NaN reaches a checkpoint; with the cause mended the run goes on
    from the last checkpoint to the bits of a run that never met it."""
    import safetensors.torch
    import torch

    encoder = pathlib.Path("model/text_encoder/model.safetensors")
    healthy = encoder.read_bytes()
    poison(5)
    done = start(run())[1]
    assert done.returncode == 70 and "[T2I-E4201]" in done.stderr and "metadata.jsonl:6" in done.stderr
    succeed(run(output="skipping", train__max_nan_skips=1))
    lines = metrics("skipping")
    assert [m["step"] for m in lines] == [1, 2, 3, 4] and [m["loss"] is None for m in lines].count(True) == 1
    for folder in ("out/checkpoint-1", "skipping/checkpoint-4"):
        tensors_in = safetensors.torch.load_file(f"{folder}/state.safetensors")
        assert tensors_in and all(torch.isfinite(t.float()).all() for t in tensors_in.values())
    encoder.write_bytes(healthy)
    succeed(run())
    succeed(run(output="never"))
    assert state("out", STEPS) == state("never", STEPS) and losses("out") == losses("never")


def test_a_loss_that_is_no_number_is_no_overflow(here):
    """With loss scaling a gradient may overflow, and the scale falls. That cures no loss that is no number itself."""
    poison(5)
    done = start(run(train__mixed_precision="fp16"))[1]
    assert done.returncode == 70 and "[T2I-E4201]" in done.stderr and "metadata.jsonl:6" in done.stderr


def test_steps_left_out_are_counted_over_the_whole_run(here):
    """train.max_nan_skips is not granted again at every start. With 4 steps an epoch the poisoned row comes once in each."""
    poison(5)
    stopped = start(run(output="whole", train__max_nan_skips=1, train__max_train_steps=8))[1]
    bad = [m["step"] for m in metrics("whole") if m["loss"] is None]
    assert stopped.returncode == 70 and len(bad) == 2 and bad[0] <= 4 < bad[1]
    succeed(run(train__max_nan_skips=1))
    again = start(run(train__max_nan_skips=1, train__max_train_steps=8))[1]
    assert again.returncode == 70 and f"step {bad[1]}: the loss" in again.stderr and "[T2I-E4201]" in again.stderr
    succeed(run(output="allowed", train__max_nan_skips=2, train__max_train_steps=8))
    for stop in (2, 5, 8):
        succeed(run(output="in-three", train__max_nan_skips=2, train__max_train_steps=stop))
    assert state("in-three", 8) == state("allowed", 8) and losses("in-three") == losses("allowed")


def xxh3(data):
    """XXH3-128 by the library itself, most significant digit first."""
    class Hash(ctypes.Structure):
        _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]

    library = ctypes.CDLL("libxxhash.so.0")
    library.XXH3_128bits.restype, library.XXH3_128bits.argtypes = Hash, [ctypes.c_char_p, ctypes.c_size_t]
    made = library.XXH3_128bits(data, len(data))
    return f"{made.high:016x}{made.low:016x}"


def test_a_checkpoint_without_that_count_still_opens(here):
    """As versions before it wrote them: nothing was counted there."""
    poison(5)
    succeed(run(train__max_nan_skips=1))
    manifest = pathlib.Path("out/checkpoint-4/manifest.json")
    text = manifest.read_text()
    body, seal = text.rsplit(",\n \"seal\": ", 1)
    assert seal == f'"{xxh3(body.encode())}"\n}}\n'
    assert body.count('"nan_skips": 1,') == 1
    body = body.replace('"nan_skips": 1,', "")
    manifest.write_text(f'{body},\n "seal": "{xxh3(body.encode())}"\n}}\n')
    done = succeed(run(train__max_nan_skips=1, train__max_train_steps=8))
    assert "going on from step 4" in done.stderr and "E41" not in done.stderr
    assert [m["loss"] is None for m in metrics("out")].count(True) == 2


def test_what_made_a_checkpoint_is_compared(here):
    """Going on with another torch or plugin is allowed and said: the same bits are promised only with the same."""
    succeed(run(train__max_train_steps=2))
    manifest = pathlib.Path("out/checkpoint-2/manifest.json")
    body = manifest.read_text().rsplit(",\n \"seal\": ", 1)[0]
    made_by = json.loads(body + "}")["state"]["made_by"]
    assert made_by["torch"].startswith(torch.__version__.split("+")[0]) and made_by["model"] == "t2i.model.sd15 0.1.0"
    body = body.replace(f'"torch": "{made_by["torch"]}"', '"torch": "1.13.0"')
    manifest.write_text(f'{body},\n "seal": "{xxh3(body.encode())}"\n}}\n')
    done = succeed(run())
    assert f"torch was 1.13.0 and is {made_by['torch']}. What follows may differ" in done.stderr and "model was" not in done.stderr


def contents(folder):
    return {str(path.relative_to(folder)): sha256(path) for path in pathlib.Path(folder).rglob("*") if path.is_file()}


def test_a_finished_run_started_again_leaves_final_alone(here):
    succeed(run())
    pathlib.Path("out/final/README.md").write_text("mine")
    before, inode = contents("out/final"), os.stat("out/final/unet/diffusion_pytorch_model.safetensors").st_ino
    done = succeed(run())
    assert "notice: out/final is that of step 4 already and was left as it is\n" in done.stderr
    assert contents("out/final") == before and os.stat("out/final/unet/diffusion_pytorch_model.safetensors").st_ino == inode
    assert json.loads(pathlib.Path("out/final/training.json").read_text())["step"] == 4


def test_a_longer_run_keeps_the_earlier_final(here):
    succeed(run())
    pathlib.Path("out/final/README.md").write_text("mine")
    before = contents("out/final")
    pathlib.Path("out/final-4").mkdir()  # somebody's
    done = succeed(run(train__max_train_steps=6))
    assert "notice: out/final was there already and is now out/final-4-2\n" in done.stderr
    assert contents("out/final-4-2") == before and final("out") == final(here / "six") != final(here / "four")
    assert list(pathlib.Path("out/final-4").iterdir()) == [] and "README.md" not in contents("out/final")


@pytest.mark.parametrize("found", ["a damaged one", "one that tells no step", "a file"])
def test_a_final_of_another_kind_is_moved_aside(found, here):
    path = pathlib.Path("out/final")
    succeed(run())
    if found == "a damaged one":
        (path / "vae/config.json").unlink()
    elif found == "one that tells no step":
        (path / "training.json").write_text("[4]")
    else:
        shutil.rmtree(path)
        path.write_text("mine")
    before = contents("out/final") if path.is_dir() else "mine"
    aside = pathlib.Path("out/final-4" if found == "a damaged one" else "out/final-earlier")
    assert f"notice: out/final was there already and is now {aside}\n" in succeed(run()).stderr
    assert (contents(aside) if aside.is_dir() else aside.read_text()) == before
    assert final("out") == final(here / "four") and (path / "vae/config.json").exists()


def test_an_output_that_cannot_be_made(here):
    done = start(run(output="/sys/t2i-output"))[1]
    assert done.returncode == 74
    assert re.fullmatch(r"/sys/t2i-output: .+ while making the folder\. Nothing that was there before has been changed\. "
                        r"→ give an output folder that you may write to  \[T2I-E4102\]\n", done.stderr), done.stderr


def test_memory_runs_out(here):
    """CPU memory, limited; the message says what to lower."""
    command = run(train__train_batch_size=256, data__resolution=64, train__max_train_steps=1)
    done = subprocess.run(["bash", "-c", 'ulimit -v 1500000; exec "$0" "$@"', T2I, *command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 70, done.stderr
    assert "out of memory" in done.stderr and "train.train_batch_size" in done.stderr and "[T2I-E4001]" in done.stderr
