"""Text encoders trained in full, with a learning rate of their own, against diffusers, transformers and torch's AdamW with a group
of parameters for each part: losses, gradient norms, rates and the weights in the end; what is left behind opens there and
draws the same.

Broken by: a gradient that stops at an encoder, an empty text that is encoded without one, a layer that nobody reads and the decay
of weights shrinks, a rate that the schedule does not move, weights that are written as they were loaded.
"""

import json
import types

import pytest
import torch
from diffusers_training import denoiser_name, train
from end_to_end import assert_equal_pictures, by_diffusers, data_picture_and_latents, drawn, latents_of, louder, opened
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import AS_CAPTIONS, metrics, settings, sha256, t2i

from make_folders import make_sd3, make_sd15, make_sdxl

# An epsilon above the noise of gradients that are zero but for rounding (those of the keys' biases are), which AdamW would
# otherwise make steps of.
PLAN = types.SimpleNamespace(STEPS=6, BATCH=2, ACCUMULATE=2, SEED=42, WARMUP=2, DROPOUT=0.3, EPSILON=1e-5)
COMMON = settings(data__resolution=16, data__num_workers=1, train__num_threads=1, train__mixed_precision="fp32", train__seed=PLAN.SEED, train__max_train_steps=PLAN.STEPS,
                  train__train_batch_size=PLAN.BATCH, train__gradient_accumulation_steps=PLAN.ACCUMULATE, optimizer__lr_scheduler="cosine",
                  optimizer__lr_warmup_steps=PLAN.WARMUP, optimizer__adam_epsilon=PLAN.EPSILON, train__null_text="encoded", task__conditioning_dropout_prob=PLAN.DROPOUT,
                  train__log_every_steps=1, validation__every_steps=0, checkpoint__every_steps=0)
MAKE = {"sd15": make_sd15, "sdxl": make_sdxl, "sd3": lambda folder, **more: make_sd3(folder, t5={}, **more)}
ENCODERS = {"sd15": ["text_encoder"], "sdxl": ["text_encoder", "text_encoder_2"], "sd3": ["text_encoder", "text_encoder_2", "text_encoder_3"]}
RATES = {"text_encoder": 3e-4, "text_encoder_2": 1e-4, "text_encoder_3": 2e-3}
DENOISER = 1e-3
GUIDANCE = {"sd15": 4, "sdxl": 5, "sd3": 5}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    places = {}
    for family, make in MAKE.items():
        root = places[family] = tmp_path_factory.mktemp(family)
        make(str(root / "model"), seed=len(family))
        louder(root / "model", denoiser_name(family), "proj_out" if family == "sd3" else "conv_out")
        data_picture_and_latents(root, channels=16 if family == "sd3" else 4)
    return places


def rates_of(family, encoders):
    """As settings: one for all encoders, others beside it."""
    own = {"optimizer__text_encoder_lr": RATES["text_encoder"], "optimizer__text_encoder_2_lr": RATES["text_encoder_2"],
           "optimizer__text_encoder_3_lr": RATES["text_encoder_3"]}
    return {key: rate for key, rate in own.items() if key.removeprefix("optimizer__").removesuffix("_lr") in encoders}


def run(place, name, encoders, *more, model="model", code=0, **changes):
    sets = {"train__text_encoders": f"[{','.join(encoders)}]", "optimizer__learning_rate": DENOISER, **changes}
    done = t2i("run", "--task", "text", "--model", place / model, "--data", place / "data", "--output", place / name, *COMMON, *AS_CAPTIONS, *settings(**sets), *more, code=code)
    return done if code else place / name


def weights_of(folder, part):
    file = "model.safetensors" if part.startswith("text_encoder") else "diffusion_pytorch_model.safetensors"
    return load_file(folder / part / file)


def assert_near(got, wanted, rate, start=None):
    """A five-hundredth of what AdamW goes in these steps: rounding in sums of another order."""
    assert got.keys() == wanted.keys()
    for name, expected in wanted.items():
        if expected.is_floating_point():
            torch.testing.assert_close(got[name], expected, rtol=0, atol=2e-3 * rate * PLAN.STEPS, msg=lambda m: f"{name}: {m}")
    if start is None:
        return
    # The schedule's multipliers add up to 3: that is how far a weight goes whose gradient keeps its sign.
    way = max((got[name] - start[name]).abs().max().item() for name in got if got[name].is_floating_point())
    assert 1.5 * rate < way < 3.5 * rate


@pytest.mark.parametrize("family, null_text", [("sd15", "as_drawn"), ("sdxl", "encoded"), ("sdxl", "as_drawn"), ("sd3", "as_drawn")])
def test_steps_are_those_of_diffusers(places, family, null_text):
    """XL's pipeline takes zeros for no text, so that a dropped caption reaches its encoders only where it is to be encoded."""
    place, encoders, denoiser = places[family], ENCODERS[family], denoiser_name(family)
    rates = {denoiser: DENOISER, **{name: RATES[name] for name in encoders}}
    wanted = train(place, "model", family, PLAN, rates, zeros=(family, null_text) == ("sdxl", "as_drawn"))
    assert "" in wanted.prompts and len(set(wanted.prompts)) > 3, "some captions are dropped"
    out = run(place, f"full-{null_text}", encoders, train__null_text=null_text, **rates_of(family, encoders))
    lines = metrics(out)
    for step, m in enumerate(lines):
        # As tests/test_golden_losses.py has them, and for its reasons.
        assert m["loss"] == pytest.approx(wanted.loss[step], rel=1e-5), step + 1
        assert m["grad_norm"] == pytest.approx(wanted.grad_norm[step], rel=5e-5), step + 1
        assert m["lr"] == m[f"lr/{denoiser}"] == pytest.approx(wanted.lr[step][denoiser], rel=1e-12)
        for name in encoders:
            assert m[f"lr/{name}"] == pytest.approx(wanted.lr[step][name], rel=1e-12)
    pipe = opened(out / "final")
    start = opened(place / "model")
    for name, rate in rates.items():
        assert_near(getattr(pipe, name).state_dict(), wanted.parts[name], rate, getattr(start, name).state_dict())
    assert_equal_pictures(drawn(place, out / "final", "--guidance", GUIDANCE[family]),
                          by_diffusers(pipe, latents_of(place), guidance_scale=float(GUIDANCE[family])))
    # An encoder that had stayed as it was would have been noticed.
    pipe.text_encoder = start.text_encoder
    other = by_diffusers(pipe, latents_of(place), guidance_scale=float(GUIDANCE[family]))
    assert (other != by_diffusers(opened(out / "final"), latents_of(place), guidance_scale=float(GUIDANCE[family]))).mean() > 0.02

    logs = EventAccumulator(str(out / "logs"))
    logs.Reload()
    for name in rates:
        assert [e.value for e in logs.Scalars(f"train/lr/{name}")] == pytest.approx([m[f"lr/{name}"] for m in lines], rel=1e-6)


def test_a_layer_that_nobody_reads_stays(places):
    """Of XL's first encoder the last layer and the last norm: torch leaves a parameter without a gradient alone, its decay too."""
    start, final = (weights_of(places["sdxl"] / folder, "text_encoder") for folder in ("model", "full-encoded/final"))
    unread = [name for name in start if "layers.2." in name or "final_layer_norm" in name]
    assert len(unread) == 18
    for name in start:
        assert torch.equal(start[name], final[name]) == (name in unread), name
    state = load_file(places["sdxl"] / "full-encoded" / f"checkpoint-{PLAN.STEPS}" / "state.safetensors")
    held = {name.split("/")[1].removeprefix("text_encoder.text_model.") for name in state if name.startswith("weights/text_encoder.")}
    assert len(held) == len(start) - len(unread)


@pytest.mark.parametrize("family", ["sd15", "sd3"])
def test_text_encoders_alone(places, family):
    """The gradient passes through a denoiser that has none, which is afterwards the same file."""
    place, denoiser = places[family], denoiser_name(family)
    encoders = [ENCODERS[family][-1]]  # of sd3 T5
    wanted = train(place, "model", family, PLAN, {encoders[0]: RATES[encoders[0]]})
    out = run(place, "alone", encoders, optimizer__transformer_lr=0, **rates_of(family, encoders))
    for step, m in enumerate(metrics(out)):
        assert m["loss"] == pytest.approx(wanted.loss[step], rel=1e-5) and m["grad_norm"] == pytest.approx(wanted.grad_norm[step], rel=5e-5)
        assert m["lr"] == m[f"lr/{encoders[0]}"] == pytest.approx(wanted.lr[step][encoders[0]], rel=1e-12) and f"lr/{denoiser}" not in m
    pipe, start = opened(out / "final"), opened(place / "model")
    assert_near(getattr(pipe, encoders[0]).state_dict(), wanted.parts[encoders[0]], RATES[encoders[0]], getattr(start, encoders[0]).state_dict())
    for part in [denoiser, "vae", *ENCODERS[family][:-1]]:
        files = [path.relative_to(place / "model") for path in (place / "model" / part).iterdir()]
        assert files and all(sha256(place / "model" / file) == sha256(out / "final" / file) for file in files), part
    state = load_file(out / f"checkpoint-{PLAN.STEPS}" / "state.safetensors")
    assert {name.split("/")[1].split(".")[0] for name in state if "/" in name} == {encoders[0]}


def test_a_packed_denoiser_that_stays(places):
    """Frozen weights may be in four bits, beside an encoder that is not."""
    place = places["sd15"]
    out = run(place, "packed", ["text_encoder"], optimizer__transformer_lr=0, model__quantization="nf4", **rates_of("sd15", ["text_encoder"]))
    losses, whole = [m["loss"] for m in metrics(out)], [m["loss"] for m in metrics(place / "alone")]
    assert losses == pytest.approx(whole, rel=0.2) and losses != whole
    file = "unet/diffusion_pytorch_model.safetensors"
    assert sha256(out / "final" / file) == sha256(place / "model" / file)


def test_the_average_is_of_all_that_is_trained(places):
    place = places["sd15"]
    rates = {"unet": DENOISER, "text_encoder": RATES["text_encoder"]}
    wanted = train(place, "model", "sd15", PLAN, rates, ema=True)
    out = run(place, "average", ["text_encoder"], train__use_ema="true", **rates_of("sd15", ["text_encoder"]))
    pipe = opened(out / "final")
    for name, rate in rates.items():
        assert_near(getattr(pipe, name).state_dict(), wanted.parts[name], rate)
    state = load_file(out / f"checkpoint-{PLAN.STEPS}" / "state.safetensors")
    name = "text_encoder.text_model.embeddings.token_embedding.weight"
    assert not torch.equal(state["ema/" + name], state["weights/" + name])


# ---- files ----


def test_names_and_types_are_the_folders_own(places):
    """Published folders have a prefix that today's do not write, and say float16: what is written opens as what it is."""
    place = places["sd15"]
    make_sd15(str(place / "published"), seed=3, names="published")
    config = place / "published" / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"torch_dtype": "float16"}))
    out = run(place, "run-published", ["text_encoder"], model="published")
    before, after = (weights_of(place / folder, "text_encoder") for folder in ("published", "run-published/final"))
    assert set(after) == {name for name in before if "position_ids" not in name} and all(name.startswith("text_model.") for name in after)
    assert json.loads((out / "final" / "text_encoder" / "config.json").read_text())["torch_dtype"] == "float32"
    encoder = opened(out / "final").text_encoder
    assert encoder.dtype == torch.float32
    for name, t in encoder.state_dict().items():
        assert torch.equal(t, after["text_model." + name.removeprefix("text_model.")]), name


def test_bfloat16_weights(places):
    """The same run in bfloat16 throughout comes near, and its encoder is written in it."""
    place = places["sd15"]
    out = run(place, "bf16", ["text_encoder"], train__dtype="bfloat16", train__mixed_precision="bf16", **rates_of("sd15", ["text_encoder"]))
    for m, full in zip(metrics(out), metrics(place / "full-as_drawn"), strict=True):
        assert m["loss"] == pytest.approx(full["loss"], rel=0.02) and m["loss"] != full["loss"]  # eight bits, layer by layer
    written = weights_of(out / "final", "text_encoder")
    assert all(t.dtype == torch.bfloat16 for t in written.values())
    state = load_file(out / f"checkpoint-{PLAN.STEPS}" / "state.safetensors")
    assert any(name.startswith("weights_lower_half/text_encoder.") for name in state)
    start = weights_of(place / "model", "text_encoder")
    moved = max((written[name].float() - start[name]).abs().max().item() for name in start)
    assert moved > RATES["text_encoder"]
