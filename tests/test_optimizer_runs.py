"""Training runs with each optimizer, with weights held in bfloat16, and with the update inside the backward pass: they go on
after an end as if there had been none, and keep what they say they keep.

Broken by: a number of an optimizer that a checkpoint forgets, an average that is trained instead of drawn, a draw that depends
on how often a run was started, a gradient that is updated with before it is complete.
"""

import pytest
import torch
from safetensors.torch import load_file
from tiny import AS_CAPTIONS, metrics, sd_folder, settings, sha256, t2i, triplet_data

STEPS = 6
COMMON = settings(data__resolution=16, data__num_workers=1, train__num_threads=1, train__train_batch_size=2, train__mixed_precision="fp32",
                  train__gradient_accumulation_steps=1, checkpoint__every_steps=3, validation__every_steps=0, report_to="[]")
FUSED = {"optimizer__fused_backward": "true", "train__max_grad_norm": 0}
BF16 = {"train__dtype": "bfloat16", "train__mixed_precision": "bf16"}
WAYS = {
    "adamw8bit": {"optimizer__name": "adamw8bit"},
    "adafactor": {"optimizer__name": "adafactor"},
    "adafactor-moment": {"optimizer__name": "adafactor", "optimizer__adafactor_beta1": 0.9},
    "lion": {"optimizer__name": "lion", "train__gradient_accumulation_steps": 2},
    "prodigy": {"optimizer__name": "prodigy", "optimizer__prodigy_d0": 1e-4},
    "schedule-free": {"optimizer__name": "adamw_schedule_free", "optimizer__schedule_free_warmup_steps": 4},
    "bf16-split": BF16,
    "bf16-stochastic": {**BF16, "optimizer__bf16_weights": "stochastic_rounding", "optimizer__name": "adamw8bit"},
    "bf16-schedule-free": {**BF16, "optimizer__name": "adamw_schedule_free"},
    "fused": FUSED,
    "fused-bf16": {**FUSED, **BF16, "optimizer__name": "adafactor"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("optimizers")
    sd_folder(root / "model")
    triplet_data(root / "data")
    return root


def run(place, output, *more, code=0, **changes):
    done = t2i("run", "--task", "text", "--model", place / "model", "--data", place / "data", "--output", place / output, *COMMON, *AS_CAPTIONS,
               *settings(**{"train__max_train_steps": STEPS, **changes}), *more, code=code)
    return done if code else place / output


def saved(output, step=STEPS):
    return load_file(output / f"checkpoint-{step}" / "state.safetensors")


def final(output):
    return load_file(output / "final" / "unet" / "diffusion_pytorch_model.safetensors")


def named(state, prefix):
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_in_two_parts_is_the_run_in_one(place, way):
    changes = {"train__use_ema": "true", **WAYS[way]}
    whole = run(place, f"{way}-whole", **changes)
    run(place, f"{way}-parts", **changes, train__max_train_steps=3)
    parts = run(place, f"{way}-parts", **changes)
    assert [m["loss"] for m in metrics(parts)] == [m["loss"] for m in metrics(whole)] and len(metrics(whole)) == STEPS
    for file in (f"checkpoint-{STEPS}/state.safetensors", "final/unet/diffusion_pytorch_model.safetensors"):
        assert sha256(parts / file) == sha256(whole / file)
    # Something has moved since, or equal bits would say nothing.
    half, state = saved(whole, 3), saved(whole)
    assert state.keys() == half.keys()
    still = [name for name in state if torch.equal(state[name], half[name]) and state[name].any() and state[name].numel() > 64 and not name.startswith("start/")]
    # The upper half of a split weight near 1 needs many small steps to move; the lower one moves with each.
    still = [name for name in still if name.replace("weights/", "weights_lower_half/") in still or "bf16" not in way]
    assert not still


def test_a_checkpoint_is_as_small_as_promised(place):
    """Two bytes of moments for a weight and four of itself, where AdamW has twelve; small parameters keep eight."""
    sizes = {name: (run(place, f"size-{name}", optimizer__name=name, train__max_train_steps=1) / "checkpoint-1" / "state.safetensors").stat().st_size
             for name in ("adamw", "adamw8bit")}
    weights = named(saved(place / "size-adamw8bit", 1), "weights/")
    coded = [t.numel() for t in weights.values() if t.numel() >= 4096]
    rest = sum(t.numel() for t in weights.values()) - sum(coded)
    assert sum(coded) > 10 * rest
    promised = 12 * rest + sum(6 * n + 8 * -(-n // 256) for n in coded)
    header = 200 * 5 * len(weights)
    assert promised < sizes["adamw8bit"] < promised + header
    assert sizes["adamw"] > 12 * (rest + sum(coded))


def test_schedule_free_keeps_its_average_and_draws_with_it(place):
    """final/ is x, and so are the validation pictures; training goes on from y as if nothing had been drawn."""
    free = {"optimizer__name": "adamw_schedule_free", "optimizer__learning_rate": 0.01}
    plain = run(place, "free", **free)
    x, state = final(plain), saved(plain)
    y, z = named(state, "weights/"), named(state, "z/")
    for name in y:
        torch.testing.assert_close(x[name], y[name].lerp(z[name], 1 - 1 / 0.9), rtol=1e-6, atol=1e-7)
    assert max((x[name] - y[name]).abs().max() for name in y) > 1e-3
    validation = {"validation__every_steps": 3, "validation__prompts": "[a red square]", "validation__steps": 2}
    drawn = run(place, "free-drawn", **free, **validation)
    assert sha256(drawn / f"checkpoint-{STEPS}/state.safetensors") == sha256(plain / f"checkpoint-{STEPS}/state.safetensors")
    picture = (drawn / "validation_images" / f"step-{STEPS:07}" / "000-0.png").read_bytes()
    # A run that begins with these weights and takes no step draws the same.
    t2i("run", "--task", "text", "--model", plain / "final", "--data", place / "data", "--output", place / "free-again", *COMMON, *AS_CAPTIONS,
        *settings(**{**validation, "train__max_train_steps": 1, "optimizer__learning_rate": 0}))
    again = (place / "free-again" / "validation_images" / "step-0000000" / "000-0.png").read_bytes()
    assert pixels(picture) == pixels(again)


def pixels(png):
    import io

    from PIL import Image
    return Image.open(io.BytesIO(png)).tobytes()


# ---- bfloat16 ----


def test_bfloat16_runs_come_near_float32(place):
    """bfloat16 keeps 8 bits: half a per cent, and layers add up."""
    full = run(place, "in-float32", optimizer__learning_rate=1e-3)
    split = run(place, "in-bfloat16", **BF16, optimizer__learning_rate=1e-3)
    for x, y in zip(metrics(split), metrics(full), strict=True):
        assert x["loss"] == pytest.approx(y["loss"], rel=0.02) and x["grad_norm"] == pytest.approx(y["grad_norm"], rel=0.1)
        assert x["loss"] != y["loss"]
    state = saved(split)
    weights, lower = named(state, "weights/"), named(state, "weights_lower_half/")
    assert all(t.dtype == torch.bfloat16 for t in weights.values()) and all(t.dtype == torch.int16 for t in lower.values())
    assert all(t.dtype == torch.bfloat16 for t in final(split).values())
    assert (split / f"checkpoint-{STEPS}/state.safetensors").stat().st_size == pytest.approx((full / f"checkpoint-{STEPS}/state.safetensors").stat().st_size, rel=0.05)


# ---- the update inside the backward pass ----


@pytest.mark.parametrize("name", ["adamw", "lion", "adamw8bit"])
@pytest.mark.parametrize("recompute", ["true", "false"])
def test_updates_inside_backward_are_those_after_it(place, name, recompute):
    changes = {"optimizer__name": name, "train__max_grad_norm": 0, "train__gradient_checkpointing": recompute, "train__use_ema": "true"}
    after = run(place, f"after-{name}-{recompute}", **changes)
    inside = run(place, f"inside-{name}-{recompute}", **changes, optimizer__fused_backward="true")
    assert [m["loss"] for m in metrics(inside)] == pytest.approx([m["loss"] for m in metrics(after)], rel=1e-6)
    assert [m["grad_norm"] for m in metrics(inside)] == pytest.approx([m["grad_norm"] for m in metrics(after)], rel=1e-5)
    assert [m["grad/attention_qk"] for m in metrics(inside)[-1:]] == pytest.approx([m["grad/attention_qk"] for m in metrics(after)[-1:]], rel=1e-4)
    mine, theirs, start = final(inside), final(after), load_file(place / "model" / "unet" / "diffusion_pytorch_model.safetensors")
    for key in theirs:
        way = (theirs[key] - start[key]).abs().max()
        # The last weights of a parameter are computed without vectors; where Lion's sign or a code turns, a whole step.
        off = (mine[key] - theirs[key]).abs() / way
        assert (off > 1e-3).float().mean() < 0.01, key


def test_what_fused_backward_cannot_do_is_refused(place):
    done = run(place, "refused", code=78, optimizer__fused_backward="true", train__gradient_accumulation_steps=2)
    assert "train.gradient_accumulation_steps = 2 does not go with optimizer.fused_backward" in done.stderr
    assert "train.max_grad_norm = 1 does not go with optimizer.fused_backward" in done.stderr and done.stderr.count("E7202") == 2
