"""`t2i cache`: exactly what was changed is encoded again, and nothing that happens to a builder makes a wrong entry.

Broken by: keys that miss something of what an entry depends on, or have something in them that it does not; a commit whose
line is there before its data; two builders in one file; a share that no process builds.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from cached import MAKE, cache, listed, tensors, what
from PIL import Image
from safetensors.torch import load_file, save_file
from test_two_processes_train import finish, start
from tiny import T2I, metrics, settings, sha256, t2i, triplet_data

ROWS = 6
TEXTS = ROWS + 1  # "edit number 0" … "edit number 5", and the empty one


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    root = tmp_path_factory.mktemp("model")
    MAKE["sd15"](str(root / "sd15"))
    return root / "sd15"


@pytest.fixture
def place(tmp_path, model):
    shutil.copytree(model, tmp_path / "sd15")
    triplet_data(tmp_path / "data", count=ROWS)
    return tmp_path


def encoded(done):
    """How many entries a build has made, by what it says."""
    found = re.search(r"^([\d,]+) entr(?:y|ies) encoded", done.stdout, re.M)
    return int(found[1].replace(",", "")) if found else 0


def everything(place):
    return {e["key"]: {n: t.numpy().tobytes() for n, t in tensors(e).items()} for e in listed(place / "data.t2i-cache")}


def test_only_what_changed_is_built_again(place):
    first = cache(place, "build")
    assert encoded(first) == 4 * ROWS + TEXTS  # two pictures a row, each as it is and mirrored
    assert encoded(cache(place, "build")) == 0

    metadata = place / "data" / "metadata.jsonl"
    lines = [json.loads(line) for line in metadata.read_text().splitlines()]
    lines[2]["instruction"] = "make it snow"
    metadata.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = cache(place, "build")
    assert encoded(done) == 1 and "to be encoded: 1 new or changed" in done.stdout
    assert any(e["text"] == "make it snow" for e in listed(place / "data.t2i-cache", kind="text"))

    # Another picture under the same name, of the same size in bytes and with the same time: as a restored backup has it.
    path = place / "data" / "4-in.png"
    pixels = np.array(Image.open(path))
    Image.fromarray(255 - pixels).save(path, compress_level=0)
    time.sleep(2.2)  # what is younger than two seconds is never taken for known
    assert encoded(cache(place, "build")) == 2
    before = path.stat()
    Image.fromarray(255 - pixels[::-1]).save(path, compress_level=0)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    done = cache(place, "build", "--dry-run")
    assert "to be encoded: 2 of a changed picture" in done.stdout
    assert encoded(cache(place, "build")) == 2

    # Another VAE: all latents, no text. The one before is still there, and found when it comes back.
    vae = place / "sd15" / "vae" / "diffusion_pytorch_model.safetensors"
    weights, kept = load_file(vae), vae.read_bytes()
    weights["encoder.conv_in.bias"] += 0.01
    save_file(weights, vae, metadata={"format": "pt"})
    done = cache(place, "build")
    assert encoded(done) == 4 * ROWS and f"to be encoded: {4 * ROWS} by another encoder" in done.stdout
    vae.write_bytes(kept)
    assert encoded(cache(place, "build")) == 0

    # Names and order of rows, the weights' spread over files, and what is not of the encoders change nothing.
    shutil.move(place / "data" / "1-in.png", place / "data" / "renamed.png")
    lines[1]["input_image"] = "renamed.png"
    metadata.write_text("".join(json.dumps(line) + "\n" for line in reversed(lines)))
    save_file(load_file(vae), vae, metadata={"format": "pt", "written": "again"})
    assert encoded(cache(place, "build", *settings(train__seed=7, optimizer__learning_rate=1))) == 0

    # What an entry does depend on, one by one.
    latents, texts = 4 * ROWS, TEXTS
    assert encoded(cache(place, "build", *settings(data__resolution=32))) == latents
    assert encoded(cache(place, "build", *settings(model__dtype="bfloat16"))) == latents + texts
    assert encoded(cache(place, "build", *settings(plugin__clip_skip=1))) == texts


def test_rm_list_verify_and_gc(place):
    folder = place / "data.t2i-cache"
    cache(place, "build")
    everything_before = everything(place)
    shown = cache(place, "list").stdout
    assert "latents" in shown and "3-out.png" in shown and "edit number 2" in shown and "flipped" in shown and f"{TEXTS} entries by encoder" in shown
    assert cache(place, "rm", "--source", "3-*.png", "--dry-run").stdout.startswith("4 entries would be")
    cache(place, "rm", "--source", "3-*.png")
    cache(place, "rm", "--text", "edit number 2")
    assert not listed(folder, source="3-out.png") and len(listed(folder)) == 4 * ROWS + TEXTS - 5
    size = sum(p.stat().st_size for p in folder.iterdir())
    cache(place, "gc")
    assert sum(p.stat().st_size for p in folder.iterdir()) < size
    assert "0 damaged" in cache(place, "verify").stdout
    assert encoded(cache(place, "build")) == 5 and everything(place) == everything_before

    # A byte that is another one: found, named, refused by a run, taken out and made again.
    entry = listed(folder, kind="latents", source="5-in.png")[0]
    with open(entry["file"], "r+b") as data:
        data.seek(entry["offset"] + entry["bytes"] - 3)
        byte = data.read(1)
        data.seek(-1, os.SEEK_CUR)
        data.write(bytes([byte[0] ^ 4]))
    done = cache(place, "verify", code=74)
    assert "1 damaged" in done.stdout and "the latents of '5-in.png' are not what was written" in done.stderr and "[T2I-E8071]" in done.stderr
    run = ["run", *what(place), "--output", place / "run", *settings(data__cache="auto", train__max_train_steps=40)]
    assert "[T2I-E8071]" in t2i(*run, code=74).stderr
    assert "1 entry taken out" in cache(place, "verify", "--fix").stdout
    assert encoded(cache(place, "build")) == 1 and everything(place) == everything_before

    # What this configuration does not need goes, what it needs stays.
    cache(place, "build", *settings(data__resolution=32))
    t2i("cache", "gc", *what(place))
    assert everything(place) == everything_before
    cache(place, "rm", "--all")
    assert not listed(folder)


@pytest.mark.parametrize("point", ["cache-append", "cache-data-synced", "cache-line-half", "cache-index-written", "cache-committed"])
def test_a_killed_builder_goes_on(place, point):
    cache(place, "build", *settings(data__cache_dir=place / "whole"))
    whole = {e["key"]: e["hash"] for e in listed(place / "whole")}
    for _ in range(2):
        done = subprocess.run([str(T2I), "cache", "build", *map(str, what(place))], capture_output=True, env={**os.environ, "T2I_KILL_POINT": f"{point}:1"})
        assert done.returncode == -signal.SIGKILL
        cache(place, "verify")
    t2i("run", *what(place), "--output", place / "run", *settings(data__cache="auto", train__max_train_steps=1))
    assert {e["key"]: e["hash"] for e in listed(place / "data.t2i-cache")} == whole
    cache(place, "gc")
    assert {e["key"]: e["hash"] for e in listed(place / "data.t2i-cache")} == whole
    assert len(list((place / "data.t2i-cache").glob("*.data"))) == 2


def test_two_builders_at_once(place):
    command = [str(T2I), "cache", "build", *map(str, what(place))]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, out + err
    once = everything(place)
    assert len(once) == 4 * ROWS + TEXTS and "0 damaged" in cache(place, "verify").stdout
    cache(place, "gc")
    assert everything(place) == once


def test_ctrl_c_keeps_what_is_done(place):
    rows = 600
    triplet_data(place / "data", count=rows)
    command = [str(T2I), "cache", "build", *map(str, what(place))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    folder = place / "data.t2i-cache"
    for _ in range(3000):  # until something is committed
        if any(p.stat().st_size for p in folder.glob("latents-*.index")):
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    if process.returncode == 0:
        pytest.fail("it was done before it was asked to stop: more rows are needed")
    assert process.returncode == 75 and "the same command goes on from here" in err
    done = len(listed(folder))
    assert 0 < done < 4 * rows
    assert encoded(cache(place, "build")) == 4 * rows + 8 - done


def test_two_ranks_share_the_work(place):
    """Each makes its part, and both train what two ranks train without a cache."""
    command = [*what(place), *settings(train__max_train_steps=4, train__train_batch_size=1, checkpoint__every_steps=0)]
    outputs = {}
    for cached in ("off", "auto"):
        finish(start(2, list(map(str, ["run", *command, *settings(data__cache=cached), "--output", place / cached]))), [0, 0])
        outputs[cached] = sha256(place / cached / "checkpoint-4" / "state.safetensors"), [m["loss"] for m in metrics(place / cached)]
    assert outputs["off"] == outputs["auto"]
    entries = listed(place / "data.t2i-cache")
    assert len(entries) == 4 * ROWS + TEXTS
    makers = {}
    for e in entries:
        makers.setdefault(e["kind"], {}).setdefault(e["file"], []).append(e)
    assert len(makers["latents"]) == 2 and min(map(len, makers["latents"].values())) >= ROWS


def test_bad_pictures(place):
    """Named all at once under stop; left out, and the others trained as without a cache, under skip."""
    path = place / "data" / "0-in.png"
    path.write_bytes(path.read_bytes()[:200])
    processes = start(2, list(map(str, ["cache", "build", *what(place), *settings(data__cache_dir=place / "two")])))
    outputs = finish(processes, [65, 65])
    assert sum("[T2I-E3001]" in out for out in outputs) == 1 and sum("[T2I-E8074]" in out for out in outputs) == 1, outputs
    for name in ("0-in.png", "3-out.png"):
        path = place / "data" / name
        path.write_bytes(path.read_bytes()[:200])
    (place / "data" / "5-in.png").write_bytes(b"no picture")
    done = cache(place, "build", code=65)
    assert all(name in done.stderr for name in ("0-in.png", "3-out.png", "5-in.png"))
    losses = {}
    for cached in ("off", "auto", "only"):
        t2i("run", *what(place), *settings(data__on_error="skip", data__cache=cached, train__max_train_steps=6, checkpoint__every_steps=0), "--output", place / cached)
        losses[cached] = [(m["loss"], m["grad_norm"]) for m in metrics(place / cached)]
        bad = [json.loads(line)["row"] for line in (place / cached / "bad_samples.jsonl").read_text().splitlines()]
        assert set(bad) <= {0, 3, 5}
    assert losses["off"] == losses["auto"] == losses["only"]


def test_a_picture_mended_while_the_run_goes_on(place):
    """It is not in the cache, and no encoder is there: the run says so, and does not train on something else."""
    path = place / "data" / "0-in.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    cache(place, "build", *settings(data__on_error="skip"))
    command = ["run", *what(place), *settings(data__on_error="skip", data__cache="only", train__max_train_steps=100000, train__log_every_steps=1), "--output", place / "run"]
    process = subprocess.Popen([str(T2I), *map(str, command)], stderr=subprocess.PIPE, text=True)
    while " a step, " not in process.stderr.readline():
        assert process.poll() is None
    path.write_bytes(whole)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 65 and "[T2I-E8075]" in err, err


def said(done, root):
    return done.stderr.replace(str(root) + "/", "")


def test_messages(place):
    """Whole, as tests/errors/cache_messages.txt has them."""
    expected = os.path.join(os.path.dirname(__file__), "errors", "cache_messages.txt")
    (place / "letters").mkdir()
    (place / "letters" / "letter.txt").write_text("dear")
    (place / "later").mkdir()
    (place / "later" / "t2i-cache.json").write_text('{"form": 2}')
    run = ["run", *what(place), "--output", place / "run"]
    cases = [t2i(*run, *settings(data__cache="auto", data__cache_dir=place / "letters"), code=78),
             t2i("cache", "list", "--cache", place / "later", code=78),
             t2i("cache", "list", "--cache", place / "nowhere", code=66),
             t2i(*run, *settings(data__cache="only"), code=66),
             t2i(*run, *settings(data__cache="auto", lora__rank=4, lora__text_encoders="[text_encoder]"), code=78),
             t2i("cache", "rm", "--data", place / "data", code=64),
             t2i("cache", "built", code=64),
             t2i("cache", "list", code=64),
             t2i("cache", "gc", "--cache", place / "nowhere", "--fix", code=64)]
    cache(place, "build")
    Image.new("RGB", (16, 16)).save(place / "data" / "2-in.png")
    cases.append(t2i(*run, *settings(data__cache="only"), code=66))
    text = "\n".join(said(done, place) for done in cases)
    if os.environ.get("T2I_WRITE_EXPECTED"):
        open(expected, "w").write(text)
    assert text == open(expected).read()


def test_trained_text_encoders_and_cached_latents(place):
    """What is refused whole goes in part: latents from the cache, texts in every step."""
    lora = settings(lora__rank=4, lora__text_encoders="[text_encoder]", train__max_train_steps=3, checkpoint__every_steps=0)
    losses = []
    for more in (settings(data__cache="off"), settings(data__cache="auto", data__cache_kinds="[latents]")):
        output = place / f"run-{len(losses)}"
        t2i("run", *what(place), *lora, *more, "--output", output)
        losses.append([m["loss"] for m in metrics(output)])
    assert losses[0] == losses[1]
    assert {e["kind"] for e in listed(place / "data.t2i-cache")} == {"latents"}
