"""metrics.jsonl and logs/ of a real run: every field that docs/format-metrics.md names, against what it must be by other means,
and TensorBoard's own reader over the events.

Broken by: a rate logged for the step after, an epoch counted in batches, a weighted loss under raw_loss's name, a figure that
reaches one file and not the other, a watched gradient that is clipped or of other layers.
"""

import pathlib
import re
import time

import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.optimization import get_scheduler
from diffusers.training_utils import compute_snr
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import AS_CAPTIONS, T2I, metrics, own_peak, sd_folder, settings, t2i, triplet_data

ROWS, STEPS, LOG_EVERY, WARMUP, RATE = 10, 7, 3, 2, 3e-4
# With adam_beta1 = 0 the optimizer's exp_avg is the gradient of the step; without clipping, the whole gradient.
COMMON = settings(data__resolution=16, data__num_workers=1, train__num_threads=1, train__gradient_accumulation_steps=2, train__mixed_precision="fp32",
                  train__train_batch_size=2, train__log_every_steps=LOG_EVERY, train__max_grad_norm=0, checkpoint__every_steps=1, checkpoint__keep=99,
                  validation__every_steps=0, optimizer__learning_rate=RATE, optimizer__lr_warmup_steps=WARMUP, optimizer__adam_beta1=0)
PER_STEP = 4


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("logs")
    sd_folder(root / "model")
    triplet_data(root / "data", count=ROWS)
    return root


def run(place, output, *more, task="ip2p", **changes):
    changes = {"train__max_train_steps": STEPS, "optimizer__lr_scheduler": "cosine"} | changes
    columns = AS_CAPTIONS if task == "text" else []
    t2i("run", "--task", task, "--model", place / "model", "--data", place / "data", "--output", place / output, *COMMON, *columns, *more, *settings(**changes))
    return metrics(place / output)


@pytest.fixture(scope="module")
def lines(place):
    began = time.monotonic()
    seen = run(place, "whole")
    assert 0 < sum(m["step_seconds"] for m in seen) < time.monotonic() - began
    return seen


def gradients(place, output, step):
    state = load_file(place / output / f"checkpoint-{step}" / "state.safetensors")
    return {name.removeprefix("exp_avg/"): tensor for name, tensor in state.items() if name.startswith("exp_avg/")}


def rates(name):
    """The learning rate of each step by diffusers."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    schedule = get_scheduler(name, optimizer, num_warmup_steps=WARMUP, num_training_steps=STEPS)
    seen = []
    for _ in range(STEPS):
        seen += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    return seen


def test_every_field_of_every_step(place, lines):
    documented = re.findall(r"^\| `(\w+)` \|", (pathlib.Path(__file__).resolve().parent.parent / "docs" / "format-metrics.md").read_text().split("##")[1], re.M)
    assert len(documented) >= 11 and all(list(m)[:11] == documented[:11] for m in lines)
    assert [m["step"] for m in lines] == list(range(1, STEPS + 1))
    assert [m["epoch"] for m in lines] == [step * PER_STEP / ROWS for step in range(1, STEPS + 1)]
    assert [m["lr"] for m in lines] == rates("cosine")
    for m in lines:
        assert m["loss"] == m["raw_loss"] > 0, "epsilon has no weights"
        assert 0 <= m["data_seconds"] <= m["step_seconds"] < 600
        assert m["images_per_second"] == pytest.approx(PER_STEP / m["step_seconds"], rel=1e-12)  # doubles
        assert m["memory_bytes"] > sum(path.stat().st_size for path in (place / "model").rglob("*.safetensors"))
        of_the_checkpoint = torch.cat([g.flatten() for g in gradients(place, "whole", m["step"]).values()]).double().norm().item()
        assert m["grad_norm"] == pytest.approx(of_the_checkpoint, rel=1e-3)  # how exact: test_training_rules.py
        assert 0 < m["memory_bytes"] <= m["peak_memory_bytes"]
    peaks = [m["peak_memory_bytes"] for m in lines]
    assert peaks == sorted(peaks), "the peak so far"


def test_the_peak_is_that_of_the_kernel_and_said_last(place, lines):
    """What the kernel told of the process when it was gone. It counts pages in batches, and the end of a run takes little more."""
    arguments = ["run", "--task", "ip2p", "--model", place / "model", "--data", place / "data", "--output", place / "peak", *COMMON,
                 *settings(train__max_train_steps=2)]
    kernels, said = own_peak(T2I, *arguments)
    told = float(re.fullmatch(r"peak memory: ([\d.]+) MB \(RSS\)", said.splitlines()[-1])[1]) * 1e6
    assert told == pytest.approx(kernels, rel=0.02)
    assert 0.9 * kernels < metrics(place / "peak")[-1]["peak_memory_bytes"] <= 1.01 * kernels


@pytest.mark.parametrize("name", ["linear", "constant_with_warmup", "constant"])
def test_the_rate_that_is_logged_is_the_one_that_was_used(place, name):
    """Equal doubles; and a weight whose first update is lr times about one sign moves by no more than lr says."""
    logged = [m["lr"] for m in run(place, name, optimizer__lr_scheduler=name, optimizer__adam_weight_decay=0)]
    assert logged == rates(name)
    weights = [load_file(place / name / f"checkpoint-{step}" / "state.safetensors")["weights/conv_in.bias"] for step in (1, 2)]
    before = load_file(place / "model" / "unet" / "diffusion_pytorch_model.safetensors")["conv_in.bias"]
    # Without momentum and decay AdamW's first update is lr * g / |g|. Weights below 1 are rounded at 2^-25, g is above 1e-5.
    moved = (weights[0] - before).abs()
    assert ((moved - logged[0]).abs() < 2.0**-24 + 1e-3 * logged[0]).all(), moved
    assert logged[0] or torch.equal(weights[0], before)
    assert not torch.equal(weights[1], weights[0])


def test_raw_loss_is_the_loss_without_its_weights(place):
    """One sample a step, so that loss / raw_loss is the weight of one timestep: min(SNR, 5) / SNR of one of the thousand."""
    one = {"train__train_batch_size": 1, "train__gradient_accumulation_steps": 1, "optimizer__learning_rate": 0}
    plain, weighted = run(place, "plain", **one), run(place, "weighted", "--loss", "min_snr", **one)
    # The same draws, and weights that rest: the unweighted losses are those of epsilon, bit for bit.
    assert [m["raw_loss"] for m in weighted] == [m["loss"] for m in plain] == [m["raw_loss"] for m in plain]
    assert len({m["loss"] for m in plain}) == STEPS
    snr = compute_snr(DDIMScheduler.from_pretrained(place / "model", subfolder="scheduler"), torch.arange(1000)).double()
    possible = snr.clamp(max=5) / snr
    drawn = [m["loss"] / m["raw_loss"] for m in weighted]
    for weight in drawn:
        # Two products in float32, and both sides' alphas are products of a thousand factors in float32.
        assert ((possible / weight - 1).abs() < 2e-5).any(), weight
    assert any(weight < 0.9 for weight in drawn), "some sample was weighted"


@pytest.fixture(scope="module")
def board(place, lines):
    accumulator = EventAccumulator(str(place / "whole" / "logs"), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {tag: accumulator.Scalars(tag) for tag in accumulator.Tags()["scalars"]}


def test_tensorboard_shows_the_logging_steps(board, lines):
    logging = [m for m in lines if m["step"] % LOG_EVERY == 0]
    tags = {"loss", "raw_loss", "lr", "grad_norm", "images_per_second", "memory_bytes", "peak_memory_bytes"}
    assert {f"train/{key}" for key in tags} <= set(board)
    for tag, events in board.items():
        assert [e.step for e in events] == [m["step"] for m in logging], tag
        for event, m in zip(events, logging):
            assert event.value == pytest.approx(m[tag.removeprefix("train/")], rel=2.0**-24), tag  # stored as float32
    assert set(board) == {f"train/{key}" for m in logging for key in m} - {f"train/{key}" for key in ("step", "epoch", "step_seconds", "data_seconds")}


def test_the_gradient_of_queries_and_keys_is_watched(place, board, lines):
    """The mean over all query and key weights' mean |gradient|, at logging steps and at the last."""
    assert [m["step"] for m in lines if "grad/attention_qk" in m] == [3, 6, 7]
    for m in lines:
        if "grad/attention_qk" in m:
            means = [g.double().abs().mean().item() for name, g in gradients(place, "whole", m["step"]).items() if name.endswith(("to_q.weight", "to_k.weight"))]
            assert len(means) == 16, "four blocks with self- and cross-attention"
            assert m["grad/attention_qk"] == pytest.approx(sum(means) / len(means), rel=1e-5)  # means of 1,000 numbers in float32
    assert [e.step for e in board["train/grad/attention_qk"]] == [3, 6]


def test_pictures_are_on_the_board_too(place):
    run(place, "pictures", task="text", train__max_train_steps=2, validation__every_steps=1, validation__prompts="[edit number 3]", validation__steps=2)
    accumulator = EventAccumulator(str(place / "pictures" / "logs"), size_guidance={"images": 0})
    accumulator.Reload()
    shown = accumulator.Images("validation/000-0")
    assert accumulator.Tags()["images"] == ["validation/000-0"] and [(e.step, e.width, e.height) for e in shown] == [(step, 16, 16) for step in (0, 1, 2)]
    for event in shown:
        written = place / "pictures" / "validation_images" / f"step-{event.step:07}" / "000-0.png"
        assert event.encoded_image_string == written.read_bytes()
