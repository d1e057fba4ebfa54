"""What is trained, how the frozen weights are held and where, what is computed again, how many processes, which task, family, and
optimizer: every pair of choices meets in some run, and each run does what it does with all weights in place and without
recompute, bit for bit.

Broken by: two features that were each tested alone. A combination that cannot work is refused before anything is loaded.
"""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from tiny import AS_CAPTIONS, T2I, metrics, settings, sha256, t2i, triplet_data

from make_folders import make_flux, make_sd15, make_sd3, make_sdxl

MAKE = {"sd15": make_sd15, "sdxl": make_sdxl, "sd3": lambda folder: make_sd3(folder, t5={}), "flux": make_flux}
CHOICES = {
    "trained": {"lora": dict(lora__rank=2), "dora": dict(lora__rank=2, lora__use_dora="true"), "full": {}},
    "texts": {"frozen": {}, "trained": dict(optimizer__text_encoder_lr=1e-5)},
    "frozen": {"none": {}, "bfloat16": dict(model__dtype="bfloat16"), "nf4": dict(model__quantization="nf4"), "int8": dict(model__quantization="int8")},
    "swap": {"none": {}, "3": dict(train__blocks_to_swap=3)},
    "again": {"every": dict(train__gradient_checkpointing="true"), "second": dict(train__checkpoint_every_n_blocks=2)},
    "processes": {1: {}, 2: {}},
    "task": {"text": {}, "ip2p": {}},
    "family": {family: {} for family in MAKE},
    "optimizer": {"adamw": {}, "adamw8bit": dict(optimizer__name="adamw8bit"), "lion": dict(optimizer__name="lion")},
}
TRAIN = settings(data__resolution=16, data__num_workers=1, train__train_batch_size=1, train__gradient_accumulation_steps=2,
                 train__max_train_steps=2, validation__every_steps=0)


def possible(row):
    return not (row["trained"] == "full" and (row["frozen"] in ("nf4", "int8") or row["swap"] != "none"))


def pairs_of(row):
    return set(itertools.combinations(row.items(), 2))


def pairwise():
    """Rows in which every pair of choices that can meet does: of all rows always the one with the most new pairs."""
    rows = [dict(zip(CHOICES, values)) for values in itertools.product(*CHOICES.values())]
    rows = [(row, pairs_of(row)) for row in rows if possible(row)]
    missing = set().union(*(pairs for _, pairs in rows))
    chosen = []
    while missing:
        row, pairs = max(rows, key=lambda one: len(one[1] & missing))
        chosen.append(row)
        missing -= pairs
    return chosen


ROWS = pairwise()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("combinations")
    for family, make in MAKE.items():
        make(str(root / family))
    triplet_data(root / "data", count=8)
    return root


def train(place, row, name, **changes):
    out = place / name
    chosen = {}
    for choice, value in row.items():
        chosen |= CHOICES[choice][value]
    if row["texts"] == "trained":
        chosen[f"{'train' if row['trained'] == 'full' else 'lora'}__text_encoders"] = "[text_encoder]"
    command = ["run", "--task", row["task"], "--model", place / row["family"], "--data", place / "data", "--output", out,
               *TRAIN, *(AS_CAPTIONS if row["task"] == "text" else []), *settings(**(chosen | changes))]
    if row["processes"] == 1:
        t2i(*command)
    else:
        done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={row['processes']}",
                               "--no-python", T2I, *map(str, command)], capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("number", range(len(ROWS)), ids=["-".join(map(str, row.values())) for row in ROWS])
def test_combination(place, number):
    row = ROWS[number]
    out = train(place, row, f"{number}")
    losses = [m["loss"] for m in metrics(out)]
    assert len(losses) == 2 and np.isfinite(losses).all()
    kept = train(place, row, f"{number}-kept", train__gradient_checkpointing="false", train__blocks_to_swap=0)
    assert [m["loss"] for m in metrics(kept)] == losses
    assert sha256(kept / "checkpoint-2" / "state.safetensors") == sha256(out / "checkpoint-2" / "state.safetensors")
    assert all(("lr/text_encoder" in m) == (row["texts"] == "trained") for m in metrics(out))
    if row["trained"] == "full":
        assert (out / "final" / "model_index.json").exists()
        files = [folder / "text_encoder" / "model.safetensors" for folder in (out / "final", place / row["family"])]
        assert (len({sha256(file) for file in files}) == 2) == (row["texts"] == "trained")
    else:
        record = json.loads((out / "final" / "adapter.json").read_text())
        assert record["layers"] > 0 and record["use_dora"] == (row["trained"] == "dora")
        assert bool(record["full_layers"]) == (row["task"] == "ip2p")


def test_every_pair_is_met():
    met = set().union(*map(pairs_of, ROWS))
    for (a, left), (b, right) in itertools.combinations(((c, v) for c in CHOICES for v in CHOICES[c]), 2):
        if a != b and possible({"trained": "lora", "frozen": "none", "swap": "none"} | {a: left, b: right}):
            assert ((a, left), (b, right)) in met


@pytest.mark.parametrize("form", ["nf4", "int8"])
def test_packed_weights_that_are_all_trained_are_refused(tmp_path, form):
    """Before anything is loaded: there is no model here."""
    done = t2i("run", "--task", "text", "--model", tmp_path / "nowhere", "--data", tmp_path, "--output", tmp_path / "out",
               *settings(model__quantization=form), code=78)
    assert "T2I-E7150" in done.stderr
