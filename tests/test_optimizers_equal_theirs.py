"""Given the same weights and gradients, each optimizer does what the program does that it is known from, step by step; and in
t2i's own training runs, losses are those of diffusers with that program's optimizer.

Broken by: a moment decayed before instead of after, a step counted from the other end, an option that nothing reads, an order
of operations that lets a weight move twice.
"""

import os
import sys

import bitsandbytes
import bitsandbytes.functional
import prodigyopt
import pytest
import schedulefree
import torch
import transformers.optimization
from optimizer_probe import SHAPES, ours, problem, theirs

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden"))
import make_losses  # noqa: E402
from diffusers_losses import losses as losses_by_diffusers  # noqa: E402

Adafactor = transformers.optimization.Adafactor

# Name, our options, their optimizer.
CASES = {
    "adamw": (["optimizer=adamw", "optimizer.learning_rate=1e-3"], lambda p: torch.optim.AdamW(p, lr=1e-3)),
    "adamw-options": (["optimizer.learning_rate=3e-3", "optimizer.adam_beta1=0.8", "optimizer.adam_beta2=0.95", "optimizer.adam_weight_decay=0.3",
                       "optimizer.adam_epsilon=1e-5"], lambda p: torch.optim.AdamW(p, lr=3e-3, betas=(0.8, 0.95), weight_decay=0.3, eps=1e-5)),
    "lion": (["optimizer=lion", "optimizer.learning_rate=1e-3"], lambda p: bitsandbytes.optim.Lion32bit(p, lr=1e-3)),
    "lion-options": (["optimizer=lion", "optimizer.learning_rate=3e-3", "optimizer.lion_beta1=0.7", "optimizer.lion_beta2=0.9",
                      "optimizer.lion_weight_decay=0.3"], lambda p: bitsandbytes.optim.Lion32bit(p, lr=3e-3, betas=(0.7, 0.9), weight_decay=0.3)),
    "adafactor": (["optimizer=adafactor"], lambda p: Adafactor(p)),
    "adafactor-warm": (["optimizer=adafactor", "optimizer.adafactor_warmup_init=true", "optimizer.adafactor_weight_decay=0.1"],
                       lambda p: Adafactor(p, warmup_init=True, weight_decay=0.1)),
    "adafactor-rate": (["optimizer=adafactor", "optimizer.adafactor_relative_step=false", "optimizer.learning_rate=1e-3",
                        "optimizer.adafactor_scale_parameter=false"], lambda p: Adafactor(p, lr=1e-3, relative_step=False, scale_parameter=False)),
    "adafactor-options": (["optimizer=adafactor", "optimizer.adafactor_relative_step=false", "optimizer.learning_rate=1e-2", "optimizer.adafactor_beta1=0.8",
                           "optimizer.adafactor_decay_rate=-0.5", "optimizer.adafactor_eps1=1e-5", "optimizer.adafactor_eps2=0.5",
                           "optimizer.adafactor_clip_threshold=0.3"],
                          lambda p: Adafactor(p, lr=1e-2, relative_step=False, beta1=0.8, decay_rate=-0.5, eps=(1e-5, 0.5), clip_threshold=0.3)),
    "prodigy": (["optimizer=prodigy"], lambda p: prodigyopt.Prodigy(p)),
    "prodigy-options": (["optimizer=prodigy", "optimizer.learning_rate=0.5", "optimizer.adam_beta1=0.8", "optimizer.adam_beta2=0.99", "optimizer.prodigy_beta3=0.9",
                         "optimizer.prodigy_weight_decay=0.1", "optimizer.prodigy_use_bias_correction=true", "optimizer.prodigy_safeguard_warmup=true",
                         "optimizer.prodigy_d0=1e-3", "optimizer.prodigy_d_coef=2", "optimizer.prodigy_growth_rate=1.5", "optimizer.adam_epsilon=1e-7"],
                        lambda p: prodigyopt.Prodigy(p, lr=0.5, betas=(0.8, 0.99), beta3=0.9, weight_decay=0.1, use_bias_correction=True,
                                                     safeguard_warmup=True, d0=1e-3, d_coef=2, growth_rate=1.5, eps=1e-7)),
    "prodigy-coupled": (["optimizer=prodigy", "optimizer.prodigy_weight_decay=0.1", "optimizer.prodigy_decouple=false"],
                        lambda p: prodigyopt.Prodigy(p, weight_decay=0.1, decouple=False)),
    "schedule-free": (["optimizer=adamw_schedule_free"], lambda p: schedulefree.AdamWScheduleFree(p, foreach=False)),
    "schedule-free-options": (["optimizer=adamw_schedule_free", "optimizer.learning_rate=1e-2", "optimizer.adam_beta1=0.8", "optimizer.adam_beta2=0.95",
                               "optimizer.schedule_free_weight_decay=0.1", "optimizer.schedule_free_warmup_steps=7", "optimizer.schedule_free_r=0.5",
                               "optimizer.schedule_free_weight_lr_power=1"],
                              lambda p: schedulefree.AdamWScheduleFree(p, lr=1e-2, betas=(0.8, 0.95), weight_decay=0.1, warmup_steps=7, r=0.5,
                                                                       weight_lr_power=1, foreach=False)),
}


ROUNDINGS = 4e-7  # a few last bits of weights of up to a half: all that is known of one that has hardly moved


def differences(mine, reference, start):
    """The largest difference of a weight, over the way that the parameter's weights have gone, for each step."""
    def off(k, after, name):
        return ((mine[f"exact.{k}.{name}"] - after[name]).abs().max() - ROUNDINGS) / (after[name] - start[name]).abs().max()

    return [max(off(k, after, name).item() for name in start) for k, after in enumerate(reference)]


@pytest.mark.parametrize("case", CASES)
def test_each_step_is_theirs(tmp_path, case):
    keys, make = CASES[case]
    weights, grads = problem()
    mine = ours(tmp_path, weights, grads, *keys)
    reference, last, _ = theirs(make, weights, grads, after=lambda optimizer: optimizer.eval() if hasattr(optimizer, "eval") else None)
    # Sums over a parameter come in another order, which is 1e-6 of a step's size or less; steps add up.
    assert max(differences(mine, reference, weights)) < 2e-4
    if "schedule-free" not in case:  # what is drawn with and kept is what is trained
        assert all(torch.equal(mine[f"shown.{name}"], mine[f"exact.19.{name}"]) for name in weights)
    else:
        for name in weights:
            torch.testing.assert_close(mine[f"shown.{name}"], last[name], rtol=1e-4, atol=1e-5)
        assert (mine["shown.linear"] - mine["exact.19.linear"]).abs().max() > 1e-3


@pytest.mark.parametrize("case", ["adamw", "lion", "adafactor", "prodigy", "schedule-free"])
def test_the_options_matter(tmp_path, case):
    """What the tests above compare is far from what other options make."""
    weights, grads = problem()
    plain = ours(tmp_path, weights, grads, *CASES[case][0])
    other = ours(tmp_path, weights, grads, *next(CASES[name][0] for name in (f"{case}-options",)))
    for name in weights:
        assert (plain[f"exact.19.{name}"] - other[f"exact.19.{name}"]).abs().max() > 1e-4


def test_moments_in_eight_bits(tmp_path):
    """Codes and scales are bitsandbytes'. A number at the border of two codes may fall to the other side, where the last bit of a
    sum differs; its weight then is off by a step of the code, which is a hundredth of the moment."""
    weights, grads = problem()
    keys = ["optimizer=adamw8bit", "optimizer.learning_rate=1e-3", "optimizer.adam_weight_decay=0.1"]
    mine = ours(tmp_path, weights, grads, *keys)
    reference, _, state = theirs(lambda p: bitsandbytes.optim.AdamW8bit(p, lr=1e-3, weight_decay=0.1), weights, grads)
    coded = {name for name, tensor in weights.items() if tensor.numel() >= 4096}
    assert coded == {"linear", "odd", "conv", "long"}
    for name in weights:
        way = (reference[-1][name] - weights[name]).abs().max()
        off = (mine[f"exact.19.{name}"] - reference[-1][name]).abs() / way
        if name not in coded:
            assert off.max() < 2e-4 and mine[f"exp_avg/{name}"].dtype == torch.float32
            continue
        assert off.max() < 0.05 and (off > 2e-4).float().mean() < 0.01
        for ours_name, moment, scales in (("exp_avg", "state1", "absmax1"), ("exp_avg_sq", "state2", "absmax2")):
            codes = mine[f"{ours_name}_code/{name}"]
            assert codes.dtype == torch.uint8 and codes.shape == weights[name].shape
            assert (codes != state[name][moment]).float().mean() < 0.01
            assert (codes.int() - state[name][moment].int()).abs().max() <= 2
            torch.testing.assert_close(mine[f"{ours_name}_scale/{name}"], state[name][scales], rtol=0.02, atol=0)


def test_one_step_in_eight_bits_is_theirs_bit_for_bit(tmp_path):
    """From zeros, nothing was rounded before: the same codes, and the same values behind them."""
    weights, grads = problem(seed=3, steps=1)
    mine = ours(tmp_path, weights, grads, "optimizer=adamw8bit", "optimizer.adam_beta1=0.5", "optimizer.adam_beta2=0.75")
    _, _, state = theirs(lambda p: bitsandbytes.optim.AdamW8bit(p, betas=(0.5, 0.75)), weights, grads)
    for name in ("linear", "odd", "conv", "long"):
        for ours_name, moment, scales in (("exp_avg", "state1", "absmax1"), ("exp_avg_sq", "state2", "absmax2")):
            assert torch.equal(mine[f"{ours_name}_code/{name}"], state[name][moment])
            assert torch.equal(mine[f"{ours_name}_scale/{name}"], state[name][scales])


@pytest.mark.parametrize("name", ["adamw", "adamw8bit", "adafactor", "lion", "prodigy", "adamw_schedule_free"])
def test_a_bad_step_changes_nothing(tmp_path, name):
    """A step whose gradient is no number, at first and later, leaves no trace; a gradient's divisor is divided by."""
    weights, grads = problem(steps=6)
    good = ours(tmp_path, weights, grads, f"optimizer={name}", "optimizer.adafactor_relative_step=false" if name == "adafactor" else "train.seed=42",
                "optimizer.learning_rate=0.01")
    bad = {key: torch.full(shape, float("nan")) for key, shape in SHAPES.items()}
    with_bad = [bad, *[{k: 8 * t for k, t in g.items()} for g in grads[:3]], bad, *[{k: 8 * t for k, t in g.items()} for g in grads[3:]]]
    other = ours(tmp_path, weights, with_bad, f"optimizer={name}", "optimizer.adafactor_relative_step=false" if name == "adafactor" else "train.seed=42",
                 "optimizer.learning_rate=0.01", grad_divisor=torch.tensor(8.0), found_bad=torch.tensor([1.0, 0, 0, 0, 1.0, 0, 0, 0]))
    for key in good:
        if not key.startswith("exact."):
            assert torch.equal(good[key], other[key]), key  # 8 times and divided by 8 is exact


@pytest.mark.parametrize("name", ["adamw", "adamw8bit", "adafactor", "lion", "adamw_schedule_free"])
def test_one_parameter_after_the_other_is_the_same(tmp_path, name):
    weights, grads = problem(steps=5)
    together = ours(tmp_path, weights, grads, f"optimizer={name}")
    alone = ours(tmp_path, weights, grads, f"optimizer={name}", options=["--one-by-one"])
    # Not the last bit: where a parameter ends, the last few weights are computed without vectors.
    for key, tensor in together.items():
        if tensor.dtype.is_floating_point:
            torch.testing.assert_close(alone[key], tensor, rtol=1e-5, atol=1e-7, msg=lambda m: f"{key}: {m}")


# ---- a learning rate for each part ----


PARTS = {"linear": 0.05, "conv": 3.0, "bias": 0.05}  # times the rate of the others
GROUPED = ["adamw", "lion-options", "adafactor-rate", "adafactor-options", "schedule-free-options"]


def grouped(make):
    """Their optimizer with a group of parameters for each rate, of parameters in the order of SHAPES."""
    def of(parameters):
        groups = {}
        for name, parameter in zip(SHAPES, parameters, strict=True):
            groups.setdefault(PARTS.get(name, 1.0), []).append(parameter)
        rate = make([torch.nn.Parameter(torch.zeros(1))]).defaults["lr"]
        return make([{"params": members, "lr": rate * times} for times, members in groups.items()])
    return of


def with_rates():
    return [part for name, times in PARTS.items() for part in ("--rate", f"{name}={times}")]


@pytest.mark.parametrize("case", GROUPED)
def test_each_part_has_its_rate(tmp_path, case):
    keys, make = CASES[case]
    weights, grads = problem()
    mine = ours(tmp_path, weights, grads, *keys, options=with_rates())
    reference, last, _ = theirs(grouped(make), weights, grads, after=lambda optimizer: optimizer.eval() if hasattr(optimizer, "eval") else None)
    assert max(differences(mine, reference, weights)) < 2e-4
    for name in weights:
        torch.testing.assert_close(mine[f"shown.{name}"], last[name], rtol=1e-4, atol=1e-5)
    plain = ours(tmp_path, weights, grads, *keys)
    for name, start in weights.items():
        apart = (plain[f"exact.19.{name}"] - mine[f"exact.19.{name}"]).abs().max() / (plain[f"exact.19.{name}"] - start).abs().max()
        assert (apart > 0.1) == (name in PARTS) and (apart > 1e-3) == (name in PARTS), name


def test_each_part_has_its_rate_in_eight_bits(tmp_path):
    weights, grads = problem()
    keys = ["optimizer=adamw8bit", "optimizer.learning_rate=1e-3", "optimizer.adam_weight_decay=0.1"]
    mine = ours(tmp_path, weights, grads, *keys, options=with_rates())
    reference, _, _ = theirs(grouped(lambda p: bitsandbytes.optim.AdamW8bit(p, lr=1e-3, weight_decay=0.1)), weights, grads)
    for name in weights:
        off = (mine[f"exact.19.{name}"] - reference[-1][name]).abs() / (reference[-1][name] - weights[name]).abs().max()
        assert off.max() < 0.05 and (off > 2e-4).float().mean() < 0.01, name


def test_each_part_has_its_rate_in_split_bfloat16(tmp_path):
    """Both halves together are the float32 weights of torch, whatever the rate of their part."""
    weights, grads = problem()
    rounded = [{name: t.bfloat16().float() for name, t in each.items()} for each in grads]
    weights = {name: t.bfloat16().float() for name, t in weights.items()}
    mine = ours(tmp_path, weights, rounded, "train.dtype=bfloat16", "train.mixed_precision=bf16", "optimizer.learning_rate=1e-3", dtype="bfloat16", options=with_rates())
    reference, _, _ = theirs(grouped(CASES["adamw"][1]), weights, rounded)
    assert max(differences(mine, reference, weights)) < 2e-4


BYTES = {"adamw": 8, "lion": 4, "prodigy": 16, "adamw_schedule_free": 8}


@pytest.mark.parametrize("name", ["adamw", "adamw8bit", "adafactor", "lion", "prodigy", "adamw_schedule_free"])
def test_the_state_is_as_small_as_promised(tmp_path, name):
    weights, grads = problem(steps=1)
    out = ours(tmp_path, weights, grads, f"optimizer={name}")
    kept = {key: tensor for key, tensor in out.items() if "/" in key}
    held = sum(tensor.nbytes for tensor in kept.values())
    assert out["bytes"] == held  # as told without making it
    count = sum(tensor.numel() for tensor in weights.values())
    if name in BYTES:
        assert held == BYTES[name] * count
    elif name == "adamw8bit":
        coded = [tensor.numel() for tensor in weights.values() if tensor.numel() >= 4096]
        assert held == 8 * (count - sum(coded)) + sum(2 * n + 8 * -(-n // 256) for n in coded)
    else:
        assert held == 4 * sum(t.numel() if t.dim() < 2 else t.numel() // t.shape[-1] + t.numel() // t.shape[-2] for t in weights.values())


# ---- in training runs ----


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curves")
    make_losses.make_inputs(folder)
    return folder


RATE = ["optimizer.learning_rate=0.001", "optimizer.lr_scheduler=cosine"]
OWN = ["optimizer.learning_rate=null", "optimizer.lr_scheduler=constant"]
# Options besides make_losses' own, their optimizer, and how far a loss may be off. Lion turns a gradient's sign into a whole
# step, so that the rounding of a gradient near zero moves a weight the other way; an eighth-bit code is a coarse thing.
CURVES = {
    "adamw8bit": (RATE, lambda p: bitsandbytes.optim.AdamW8bit(p, lr=1e-3), 1e-3),
    "lion": (RATE, lambda p: bitsandbytes.optim.Lion32bit(p, lr=1e-3), 2e-3),
    "adafactor": (OWN, lambda p: Adafactor(p), 1e-4),
    "prodigy": (["optimizer.learning_rate=1", "optimizer.lr_scheduler=cosine"], lambda p: prodigyopt.Prodigy(p, lr=1.0), 1e-4),
    "adamw_schedule_free": (OWN, lambda p: schedulefree.AdamWScheduleFree(p), 1e-4),
}


@pytest.mark.parametrize("name", CURVES)
def test_losses_are_those_of_diffusers(root, name):
    options, make, near = CURVES[name]
    more = [part for key in [f"optimizer.name={name}", *options] for part in ("--set", key)]
    trained = make_losses.run(root, "text", name, more=more)
    reference = losses_by_diffusers(root, "text", make_losses.LOSS["text"], make_losses, optimizer=make,
                                    schedule="cosine" if "optimizer.lr_scheduler=cosine" in options else "constant")
    usual = make_losses.json.loads(make_losses.RECORD.read_text())["records"][0]["text"]
    for key in ("loss", "grad_norm"):
        for step, (x, y) in enumerate(zip(trained[key], reference[key], strict=True), 1):
            assert abs(x - y) <= (near if key == "loss" else 10 * near) * abs(y), f"step {step}: {key} {x!r}, wanted {y!r}"
    if name != "adamw8bit":  # which is AdamW but for its codes, compared above
        assert max(abs(x / y - 1) for x, y in zip(trained["loss"], usual["loss"])) > 2 * near, "AdamW would have passed for it"
