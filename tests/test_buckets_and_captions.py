"""data.buckets: no picture is lost, one size a batch, the same order for any number of processes. Captions: several of a
picture, prefix and suffix, tags in another order, from the cache too.

Broken by: a bucket that is too small for a batch being dropped; a batch of two sizes; size conditioning of another bucket's
size; an order that depends on the rank; a cached caption that is not the one that is drawn.
"""

import json

import numpy as np
import pytest
import torch
from cached import MAKE, TRAIN, listed
from PIL import Image
from test_two_processes_train import finish, start
from tiny import metrics, settings, sha256, t2i

SIZES = {(32, 16): 5, (16, 32): 3, (16, 16): 4, (30, 17): 1}
BUCKETS = settings(data__buckets="[auto]", data__bucket_step=8, data__resolution=32, data__random_flip="false")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("buckets")
    for family in ("sdxl", "flux"):
        MAKE[family](str(root / family))
    random = np.random.default_rng(3)
    (root / "data").mkdir()
    number = 0
    for (width, height), count in SIZES.items():
        for _ in range(count):
            Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(root / "data" / f"{number:02}.png")
            (root / "data" / f"{number:02}.txt").write_text(f"one {number}, two, three, four")
            number += 1
    return root


def run(place, output, *extra, family="sdxl"):
    return ["run", "--task", "text", "--model", place / family, "--data", place / "data", "--output", place / output, *TRAIN, *BUCKETS, *extra]


@pytest.mark.parametrize("family", ["sdxl", "flux"])
def test_every_picture_is_seen(place, family):
    done = t2i(*run(place, f"seen-{family}", *settings(train__num_train_epochs=1, checkpoint__every_steps=0), family=family))
    assert "bucket 40x24: 6 samples in 3 batches\n" in done.stderr and "bucket 24x40: 3 samples in 2 batches, filled up by 1 seen again" in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("bucket ")]
    samples = [int(line.split(": ")[1].split()[0]) for line in lines]
    batches = [int(line.split(" in ")[1].split()[0]) for line in lines]
    assert sum(samples) == sum(SIZES.values()) and batches == [-(-n // 2) for n in samples]
    assert len(metrics(place / f"seen-{family}")) == sum(batches), "an epoch is all batches of all buckets"
    for line, n in zip(lines, samples, strict=True):
        assert ("filled up by 1 seen again" in line) == (n % 2 == 1)
    told = t2i("plan", *run(place, "none", family=family)[1:]).stdout
    assert all(line in told for line in lines)


def test_buckets_from_the_cache_and_over_ranks(place):
    """The bits of a run without a cache; and two ranks see the batches of one, taking turns."""
    outputs = []
    for cached in ("off", "auto"):
        t2i(*run(place, cached, *settings(data__cache=cached, data__center_crop="true", train__max_train_steps=8, checkpoint__every_steps=0)))
        outputs.append(sha256(place / cached / "checkpoint-8" / "state.safetensors"))
    assert outputs[0] == outputs[1]
    sizes = {tuple(e["about"]["size"]) for e in listed(place / "data.t2i-cache", kind="latents")}
    assert len(sizes) >= 3
    two = run(place, "two", *settings(train__max_train_steps=4, checkpoint__every_steps=0, optimizer__adam_epsilon=1e-6))
    one = run(place, "one", *settings(train__max_train_steps=4, train__gradient_accumulation_steps=2, checkpoint__every_steps=0,
                                      optimizer__adam_epsilon=1e-6))
    finish(start(2, list(map(str, two))), [0, 0])
    t2i(*one)
    # Two processes of one batch, or one of two: the mean of the same two losses, added in another order,
    # which three updates carry on; test_two_processes_train.py says how far.
    np.testing.assert_allclose([m["loss"] for m in metrics(place / "two")], [m["loss"] for m in metrics(place / "one")], rtol=1e-4)


def test_one_size_that_is_no_square(place):
    fixed = settings(data__buckets="[16x24]")
    done = t2i(*run(place, "fixed", *fixed, *settings(train__max_train_steps=2)))
    assert "bucket 16x24: 13 samples in 7 batches, filled up by 1 seen again" in done.stderr


def test_messages_of_buckets_and_captions(place):
    cases = [(settings(data__buckets="[wide]"), "'wide' is no size", "E8080", 78),
             (settings(data__buckets="[17x16]"), "17x16 is not of multiples of 2", "E8080", 78),
             (settings(data__caption_weights="{text: much}"), "'much' of text is no number of 0 or more", "E8091", 78),
             (settings(data__caption_weights="{text: 0}"), "all weights are 0", "E8091", 78)]
    for extra, what, id_, code in cases:
        done = t2i(*run(place, "none", *extra), code=code)
        assert what in done.stderr and f"[T2I-{id_}]" in done.stderr, done.stderr


@pytest.fixture(scope="module")
def several(place):
    """Rows with two captions each, but for one that has one."""
    rows = [{"file_name": f"{i:02}.png", "long": f"a long caption of {i}", "tags": f"cat {i}, red, blue, green"} for i in range(8)]
    del rows[3]["long"]
    (place / "several").mkdir()
    for row in rows:
        Image.open(place / "data" / row["file_name"]).resize((16, 16)).save(place / "several" / row["file_name"])
    (place / "several" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


CAPTIONS = settings(data__caption_weights="{long: 1, tags: 3}", data__caption_prefix="photo of ", data__caption_suffix=" !", data__shuffle_tags="true",
                    data__keep_tags=1, data__cache_shuffles=3, data__random_flip="false")


def captioned(place, output, *extra):
    return ["run", "--task", "text", "--model", place / "sdxl", "--data", place / "several", "--output", place / output, *TRAIN, *CAPTIONS, *extra]


def test_cached_captions(place, several):
    """Every entry is a caption as it is drawn; training from them is training."""
    done = t2i(*captioned(place, "captions", *settings(data__cache="auto", train__max_train_steps=8)))
    texts = {e["text"] for e in listed(place / "several.t2i-cache", kind="text")} - {""}
    for row in several:
        mine = {t for t in texts if f"cat {row['file_name'][1]}" in t}
        assert f"photo of {row['tags']} !" in mine and 2 <= len(mine) <= 3
        for text in mine:
            assert text.startswith("photo of cat ") and sorted(text[9:-2].split(", ")) == sorted(row["tags"].split(", "))
        if "long" in row:
            assert f"photo of {row['long']} !" in texts
    assert not any("e8073" in line.lower() for line in done.stderr.splitlines())


def test_a_row_without_any_caption(place, several):
    path = place / "several" / "metadata.jsonl"
    before = path.read_text()
    path.write_text(before.replace('"long": "a long caption of 5", "tags": "cat 5, red, blue, green"', '"other": "x"'))
    try:
        done = t2i(*captioned(place, "none"), code=65)
        assert "metadata.jsonl:6" in done.stderr and "[T2I-E8090]" in done.stderr, done.stderr
        t2i(*captioned(place, "empty", *settings(data__caption_missing="empty", train__max_train_steps=1)))
    finally:
        path.write_text(before)


def test_what_is_not_asked_for_changes_nothing(place, several):
    """One caption, no rules: the run is that of the task's own column."""
    base = ["run", "--task", "text", "--model", place / "sdxl", "--data", place / "several", *TRAIN, *settings(train__max_train_steps=3)]
    t2i(*base, *settings(data__columns="{text: tags}"), "--output", place / "plain")
    t2i(*base, *settings(data__caption_weights="{tags: 2}"), "--output", place / "weighted")
    assert [m["loss"] for m in metrics(place / "plain")] == [m["loss"] for m in metrics(place / "weighted")]
    assert torch.isfinite(torch.tensor([m["loss"] for m in metrics(place / "plain")])).all()
