"""The rules around the step: the moving average, how many steps an epoch makes, clipping, and float16's loss scale, read from
the checkpoints of small runs.

Broken by: an average that begins at the wrong step or forgets too slowly, epochs rounded to whole batches, a gradient that
reaches the optimizer clipped, not clipped or still multiplied by the loss scale, a step that overflowed and moved a weight.
"""

import math
import shutil

import pytest
import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from tiny import metrics, sd_folder, settings, t2i, triplet_data

ROWS = 10
# With adam_beta1 = 0 the optimizer's exp_avg is the gradient that it was last given, nothing else.
COMMON = settings(data__resolution=16, data__num_workers=1, train__num_threads=1, train__gradient_accumulation_steps=1, train__mixed_precision="fp32",
                  train__train_batch_size=4, checkpoint__every_steps=1, checkpoint__keep=99, validation__every_steps=0, optimizer__adam_beta1=0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("rules")
    sd_folder(root / "model")
    triplet_data(root / "data", count=ROWS)
    return root


def run(place, output, model="model", **changes):
    t2i("run", "--task", "ip2p", "--model", place / model, "--data", place / "data", "--output", place / output, *COMMON, *settings(**changes))
    return place / output


def saved(output, step):
    return load_file(output / f"checkpoint-{step}" / "state.safetensors")


def named(state, prefix):
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def flat(tensors):
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)]).double()


def gradient(output, step):
    return flat(named(saved(output, step), "exp_avg/"))


def at_the_start(place, model="model"):
    """What the weights are before the first step: ip2p adds four channels of zeros to the first layer."""
    weights = load_file(place / model / "unet" / "diffusion_pytorch_model.safetensors")
    weights["conv_in.weight"] = torch.cat([weights["conv_in.weight"], torch.zeros_like(weights["conv_in.weight"])], 1)
    return weights


# ---- the moving average ----


@pytest.mark.parametrize("decay", [0.3, 0.9999])
def test_the_average_is_that_of_diffusers(place, decay):
    """The decay climbs as (1 + t) / (10 + t): 0.3 is reached in the fourth step, 0.9999 never."""
    steps = 7
    output = run(place, f"average-{decay}", train__use_ema="true", train__ema_decay=decay, train__max_train_steps=steps, optimizer__learning_rate=1e-3)
    start = at_the_start(place)
    names = sorted(start)
    theirs = EMAModel([torch.nn.Parameter(start[name]) for name in names], decay=decay)
    for step in range(1, steps + 1):
        weights = named(saved(output, step), "weights/")
        assert sorted(weights) == names
        theirs.step([torch.nn.Parameter(weights[name]) for name in names])
    final = load_file(output / "final" / "unet" / "diffusion_pytorch_model.safetensors")
    assert sorted(final) == names
    for name, average in zip(names, theirs.shadow_params):
        # Two roundings a step, of values of the size of the weights: a float32 has 24 bits.
        near = 2 * steps * 2.0**-24 * float(start[name].abs().max() + 0.01)
        torch.testing.assert_close(final[name], average, rtol=0, atol=near, msg=lambda m: f"{name}: {m}")
    assert (flat(final) - flat(weights)).abs().max() > 1e-4, "the last weights would have passed for the average"


# ---- epochs ----


@pytest.mark.parametrize("epochs, batch, accumulate", [(2, 2, 1), (3, 4, 1), (1, 3, 2)])
def test_epochs_make_steps(place, epochs, batch, accumulate):
    """The rows of one pass after the other, without a gap: only the last step goes beyond the last pass."""
    output = run(place, f"epochs-{epochs}-{batch}-{accumulate}", train__num_train_epochs=epochs, train__train_batch_size=batch,
                 train__gradient_accumulation_steps=accumulate, checkpoint__every_steps=0)
    per_step = batch * accumulate
    steps = math.ceil(epochs * ROWS / per_step)
    assert [(m["step"], m["epoch"]) for m in metrics(output)] == [(step, step * per_step / ROWS) for step in range(1, steps + 1)]
    assert [p.name for p in output.glob("checkpoint-*")] == [f"checkpoint-{steps}"]


def test_steps_come_before_epochs(place):
    output = run(place, "both", train__num_train_epochs=1, train__max_train_steps=4)
    assert [m["epoch"] for m in metrics(output)] == [0.4, 0.8, 1.2, 1.6]


# ---- clipping ----


@pytest.fixture(scope="module")
def clipped(place):
    return {limit: run(place, f"clip-{limit}", train__max_grad_norm=limit, train__max_train_steps=1) for limit in (0, 0.01, 1000)}


def as_torch_clips(gradients, limit):
    parameters = {name: torch.nn.Parameter(torch.zeros_like(tensor)) for name, tensor in gradients.items()}
    for name, parameter in parameters.items():
        parameter.grad = gradients[name].clone()
    norm = torch.nn.utils.clip_grad_norm_(parameters.values(), limit)
    return norm.item(), {name: parameter.grad for name, parameter in parameters.items()}


def test_the_norm_is_that_of_the_whole_gradient(clipped):
    """Before clipping, and as exact as torch's over the same tensors, which is 1e-7 away from float64 here. One running sum in
    float32 is 3e-5 away with these 0.8 million numbers; with Stable Diffusion's 860 million it misses a quarter."""
    whole = named(saved(clipped[0], 1), "exp_avg/")
    norm, _ = as_torch_clips(whole, 0.01)
    assert norm == pytest.approx(flat(whole).norm().item(), rel=1e-6)
    for output in clipped.values():
        assert metrics(output)[0]["grad_norm"] == pytest.approx(norm, rel=2e-6)


def test_gradients_are_clipped_as_torch_does(clipped):
    """What the optimizer gets is what torch's clip_grad_norm_ leaves; the loss is not touched by it."""
    states = {limit: saved(output, 1) for limit, output in clipped.items()}
    losses = [metrics(output)[0]["loss"] for output in clipped.values()]
    assert losses[0] == losses[1] == losses[2]
    assert all(torch.equal(states[0][name], states[1000][name]) for name in states[0]), "below its limit a gradient is left as it is"
    norm, theirs = as_torch_clips(named(states[0], "exp_avg/"), 0.01)
    assert norm > 0.1, "the small limit clips, and by far"
    # How near the two norms are is the test above; without clipping this would be off by a factor of 200.
    torch.testing.assert_close(flat(named(states[0.01], "exp_avg/")), flat(theirs), rtol=1e-4, atol=0)
    # ... and so for the mean of squares, at the usual beta2 of 0.999; products below 1e-38 lose digits.
    torch.testing.assert_close(flat(named(states[0.01], "exp_avg_sq/")), 0.001 * flat(theirs)**2, rtol=3e-4, atol=1e-36)


# ---- float16 ----


def test_the_optimizer_sees_the_gradient_without_the_loss_scale(place):
    whole = {kind: run(place, f"whole-{kind}", train__mixed_precision=kind, train__max_grad_norm=0, train__max_train_steps=1) for kind in ("fp16", "fp32")}
    clipped = {kind: run(place, f"clipped-{kind}", train__mixed_precision=kind, train__max_grad_norm=0.5, train__max_train_steps=1) for kind in ("fp16", "fp32")}
    for pair in (whole, clipped):
        assert saved(pair["fp16"], 1)["loss_scale"] == 65536 and saved(pair["fp32"], 1)["loss_scale"] == 1
        half, full = gradient(pair["fp16"], 1), gradient(pair["fp32"], 1)
        # float16 keeps 11 bits, 0.05 %, and some twenty layers round one after another, there and back.
        assert 0 < (half - full).norm() < 1e-2 * full.norm()
        told = [metrics(pair[kind])[0]["grad_norm"] for kind in ("fp16", "fp32")]
        assert told[0] == pytest.approx(told[1], rel=1e-2)
    assert gradient(whole["fp16"], 1).norm() > 2 * gradient(clipped["fp16"], 1).norm(), "clipping had something to do"


def test_a_step_that_overflows_changes_the_scale_alone(place):
    """A last layer of ten times the weights makes gradients that, times 65536, are beyond float16's 65504 at first."""
    shutil.copytree(place / "model", place / "loud")
    weights = place / "loud" / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["conv_out.weight"] *= 10
    save_file(tensors, weights, {"format": "pt"})
    more = {"model": "loud", "train__max_train_steps": 6, "train__max_grad_norm": 0}
    output = run(place, "overflow", train__mixed_precision="fp16", train__use_ema="true", **more)
    resting = run(place, "resting", optimizer__learning_rate=0, **more)  # float32, at the weights of the start throughout

    start = at_the_start(place, "loud")
    before = {**{f"{kind}/{name}": tensor for kind in ("weights", "ema") for name, tensor in start.items()},
              **{f"{kind}/{name}": torch.zeros_like(tensor) for kind in ("exp_avg", "exp_avg_sq") for name, tensor in start.items()},
              "optimizer_step": torch.tensor(0.0), "loss_scale": torch.tensor(65536.0), "good_steps": torch.tensor(0, dtype=torch.int32)}
    kept = []
    for step, line in enumerate(metrics(output), 1):
        now = saved(output, step)
        assert now.keys() == before.keys() and line["step"] == step and math.isfinite(line["loss"])
        assert line["loss_scale"] == before["loss_scale"], "that the step was made with"
        if line["grad_norm"] is None:
            assert all(torch.equal(now[name], before[name]) for name in now if "/" in name)
            expected = (before["loss_scale"] / 2, 0, before["optimizer_step"])
        else:
            kept.append(step)
            assert not any(torch.equal(tensor, before["weights/" + name]) for name, tensor in named(now, "weights/").items())
            expected = (before["loss_scale"], before["good_steps"] + 1, before["optimizer_step"] + 1)
        assert (now["loss_scale"], now["good_steps"], now["optimizer_step"]) == expected
        before = now
    assert kept == list(range(kept[0], 7)) and kept[0] > 1, "some steps at first were left out, and then none"
    # The first update is of the gradient at the weights of the start. Rounded as above.
    half, full = gradient(output, kept[0]), gradient(resting, kept[0])
    assert (half - full).norm() < 1e-2 * full.norm()
