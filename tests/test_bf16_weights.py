"""Weights held in bfloat16: split ones are float32 weights bit for bit, stochastic rounding is right on the average, and plain
rounding is what both are there to avoid.

Broken by: a half with the wrong sign, a rounding that favours one side, draws that repeat from step to step.
"""

import pytest
import torch
from optimizer_probe import ours, problem

LION = ["optimizer=lion", "optimizer.learning_rate=1e-4"]


def in_bfloat16(tensors):
    return {name: tensor.bfloat16().float() for name, tensor in tensors.items()}


@pytest.mark.parametrize("name", ["adamw", "adamw8bit", "adafactor", "lion", "prodigy", "adamw_schedule_free"])
def test_split_weights_are_those_in_float32(tmp_path, name):
    weights, grads = problem()
    weights, grads = in_bfloat16(weights), [in_bfloat16(each) for each in grads]
    full = ours(tmp_path, weights, grads, f"optimizer={name}")
    split = ours(tmp_path, weights, grads, f"optimizer={name}", "train.dtype=bfloat16", dtype="bfloat16")
    for key, tensor in full.items():
        if key.startswith(("exact.", "shown.")):
            if name == "adamw":  # which takes all weights at once in float32: vectors end elsewhere
                torch.testing.assert_close(split[key], tensor, rtol=1e-6, atol=1e-9)
            else:
                assert torch.equal(split[key], tensor), key
    for key, weight in weights.items():
        exact, held = split[f"exact.19.{key}"], split[f"held.{key}"]
        assert held.dtype == torch.bfloat16
        off = (held.float() - exact).abs()
        assert torch.equal(torch.minimum(off, (exact.bfloat16().float() - exact).abs()), off), "the nearest one"
        assert not torch.equal(exact, held.float()) and not torch.equal(exact, weight)


def small_steps(tmp_path, rounding, *keys, steps=20, start=1.0):
    """Each of 100,000 weights goes down by 1e-4 a step; next to 1 a bfloat16 has neighbours 1/256 below and 1/128 above."""
    shape = {"w": (100_000,)}
    weights = {"w": torch.full(shape["w"], start)}
    grads = [{"w": torch.ones(shape["w"])} for _ in range(steps)]
    return ours(tmp_path, weights, grads, *LION, f"optimizer.bf16_weights={rounding}", "train.dtype=bfloat16", *keys, dtype="bfloat16")


def test_plain_rounding_loses_small_steps(tmp_path):
    assert (small_steps(tmp_path, "plain")["held.w"] == 1).all()


def test_stochastic_rounding_is_right_on_the_average(tmp_path):
    held = small_steps(tmp_path, "stochastic_rounding")["held.w"].double()
    # 20 steps of 1e-4 are 0.51 of the way to the lower neighbour; the mean of 100,000 coins is known to 1 / (2 sqrt 100,000)
    # of it, and five times that is never left.
    assert held.unique().numel() > 1
    assert held.mean().item() == pytest.approx(1 - 20e-4, abs=5 * (1 / 256) * 0.5 / 100_000**0.5)
    # Upwards from a number between, by the same rule: negative weights have their sign apart.
    mirrored = small_steps(tmp_path, "stochastic_rounding", start=-1.0)["held.w"].double()
    assert mirrored.mean().item() == pytest.approx(-1 - 20e-4, abs=5 * (1 / 128) * 0.5 / 100_000**0.5)


def test_draws_are_of_the_seed_the_step_and_the_place(tmp_path):
    one, again = (small_steps(tmp_path, "stochastic_rounding", steps=3) for _ in range(2))
    other = small_steps(tmp_path, "stochastic_rounding", "train.seed=43", steps=3)
    assert torch.equal(one["held.w"], again["held.w"]) and not torch.equal(one["held.w"], other["held.w"])
    steps = [one[f"exact.{k}.w"] for k in range(3)]
    assert 0 < (steps[1] != steps[0]).sum() < 10_000 and 0 < (steps[2] != steps[1]).sum() < 10_000
    assert (steps[0][:50_000] != steps[0][50_000:]).any()
    # Cut into pieces otherwise, it is the same.
    shape = 100_000
    weights, grads = {"w": torch.ones(shape)}, [{"w": torch.ones(shape)} for _ in range(3)]
    alone = ours(tmp_path, weights, grads, *LION, "optimizer.bf16_weights=stochastic_rounding", "train.dtype=bfloat16", dtype="bfloat16", options=["--one-by-one"])
    assert torch.equal(alone["held.w"], one["held.w"])
