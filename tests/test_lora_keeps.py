"""An adapter is trained like any weights: a kill and a resume, recompute and the number of processes' threads change no bit of it,
dropout among them; what is frozen stays as it is.

Broken by: dropout drawn from a generator that a resume begins anew, a factor that is missing in a checkpoint, a frozen weight
that the optimizer decays.
"""

import json

import pytest
import torch
from safetensors.torch import load_file
from tiny import AS_CAPTIONS, metrics, sd_folder, settings, sha256, t2i, triplet_data

COMMON = settings(data__resolution=16, data__num_workers=1, train__num_threads=1, train__max_train_steps=4, train__mixed_precision="fp32", train__train_batch_size=2,
                  train__gradient_accumulation_steps=2, validation__every_steps=0, checkpoint__every_steps=2, optimizer__learning_rate=1e-2, lora__rank=4,
                  lora__dropout=0.4, lora__targets="all")
FILE = "final/pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("keeps")
    sd_folder(root / "model")
    triplet_data(root / "data", count=12)
    return root


def run(place, name, *more, code=0, env=None, **sets):
    t2i("run", "--task", "text", "--model", place / "model", "--data", place / "data", "--output", place / name, *COMMON, *AS_CAPTIONS, *settings(**sets), *more,
        code=code, env=env)
    return place / name


def test_killed_and_gone_on(place):
    whole = run(place, "whole")
    run(place, "killed", code=-9, env={"T2I_KILL_POINT": "step:3"})
    assert not (place / "killed" / "final").exists() and (place / "killed" / "checkpoint-2").exists()
    killed = run(place, "killed")
    assert sha256(whole / FILE) == sha256(killed / FILE)
    assert sha256(whole / "checkpoint-4" / "state.safetensors") == sha256(killed / "checkpoint-4" / "state.safetensors")
    assert [m["loss"] for m in metrics(whole)] == [m["loss"] for m in metrics(killed)]


def test_recompute_changes_nothing(place):
    files = {sha256(run(place, f"recompute-{on}", train__gradient_checkpointing=on) / FILE) for on in ("true", "false")}
    assert len(files) == 1
    other = run(place, "another-dropout", lora__dropout=0.2)
    assert sha256(other / FILE) not in files, "dropout must have been on"


def test_only_the_adapter_is_trained(place):
    out = run(place, "only", train__use_ema="true")
    state = load_file(out / "checkpoint-4" / "state.safetensors")
    kinds = {name.split("/")[0] for name in state if "/" in name}
    assert kinds == {"weights", "exp_avg", "exp_avg_sq", "ema"}
    layers = {name.split("/")[1] for name in state if "/" in name}
    assert all(".lora_" in name for name in layers)
    written = load_file(out / FILE)
    scale = 16 / 4
    for name in layers:
        want = state["ema/" + name] * (scale if ".lora_B." in name else 1)
        assert torch.equal(written["unet." + name], want), name
        assert torch.any(state["weights/" + name] != 0)
    record = json.loads((out / "final" / "adapter.json").read_text())
    assert record["rank"] == 4 and record["alpha"] == 16 and record["targets"] == ["all"] and record["task"] == "text" and record["plugin"] == "sd15"
    assert record["layers"] * 2 == len(layers) and record["full_layers"] == [] and record["files"] == {"diffusers": "pytorch_lora_weights.safetensors"}
