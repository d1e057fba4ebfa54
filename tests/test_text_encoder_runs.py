"""Runs that train text encoders: a kill and a resume, recompute, the update inside backward and the number of processes change
nothing; each part moves at its rate, adapters too; the plan counts what the run then has.

Broken by: a buffer of an encoder that a checkpoint forgets, a block of an encoder that is computed again with other weights, a
gradient that comes twice, a rate that an optimizer does not read.
"""

import json

import pytest
import torch
from end_to_end import assert_equal_pictures, by_diffusers, data_picture_and_latents, drawn, latents_of, louder, opened
from safetensors.torch import load_file
from test_two_processes_train import clean_environment, finish, start
from tiny import AS_CAPTIONS, metrics, own_peak_bytes, settings, sha256, t2i, T2I

from make_folders import make_sd3, make_sd15

STEPS = 4
COMMON = settings(data__resolution=16, data__num_workers=1, train__num_threads=1, train__train_batch_size=2, train__gradient_accumulation_steps=2,
                  train__mixed_precision="fp32", checkpoint__every_steps=2, validation__every_steps=0, report_to="[]", task__conditioning_dropout_prob=0.3,
                  train__max_train_steps=STEPS, train__text_encoders="[text_encoder]", optimizer__learning_rate=1e-3, optimizer__text_encoder_lr=2e-4)
FUSED = {"optimizer__fused_backward": "true", "train__max_grad_norm": 0, "train__gradient_accumulation_steps": 1}
BF16 = {"train__dtype": "bfloat16", "train__mixed_precision": "bf16"}
ADAPTER = {"train__text_encoders": "[]", "lora__text_encoders": "[text_encoder]", "lora__rank": 4}
WAYS = {
    "plain": {},
    "average": {"train__use_ema": "true"},
    "alone": {"optimizer__transformer_lr": 0},
    "adamw8bit": {"optimizer__name": "adamw8bit"},
    "adafactor": {"optimizer__name": "adafactor", "optimizer__adafactor_relative_step": "false"},
    "lion": {"optimizer__name": "lion"},
    "prodigy": {"optimizer__name": "prodigy", "optimizer__learning_rate": "null", "optimizer__text_encoder_lr": "null"},
    "schedule-free": {"optimizer__name": "adamw_schedule_free"},
    "bf16": BF16,
    "fused": FUSED,
    "fused-bf16-8bit": {**FUSED, **BF16, "optimizer__name": "adamw8bit"},
    "half": {"train__mixed_precision": "fp16"},
    "part": {"train__parameters": "[attention]"},
    "adapter": ADAPTER,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoders")
    make_sd15(str(root / "model"), seed=1)
    louder(root / "model", "unet", "conv_out")
    make_sd3(str(root / "sd3"), seed=2, t5={})
    data_picture_and_latents(root, channels=4)
    return root


def arguments(place, name, *more, task="text", model="model", **changes):
    return ["run", "--task", task, "--model", place / model, "--data", place / "data", "--output", place / name, *COMMON,
            *(AS_CAPTIONS if task == "text" else []), *settings(**changes), *more]


def run(place, name, *more, code=0, env=None, **changes):
    done = t2i(*arguments(place, name, *more, **changes), code=code, env=env)
    return done if code > 0 else place / name


def saved(output, step=STEPS):
    return load_file(output / f"checkpoint-{step}" / "state.safetensors")


def result(output):
    """Everything that a run leaves: the last state, and every file of final/ but the record."""
    files = sorted(path for path in (output / "final").rglob("*.safetensors"))
    assert files
    return [sha256(output / f"checkpoint-{STEPS}" / "state.safetensors"), *map(sha256, files), *[(m["loss"], m["lr/text_encoder"]) for m in metrics(output)]]


@pytest.mark.parametrize("way", WAYS)
def test_a_run_in_two_parts_is_the_run_in_one(place, way):
    whole = run(place, f"{way}-whole", **WAYS[way])
    run(place, f"{way}-parts", **WAYS[way], train__max_train_steps=2)
    assert result(run(place, f"{way}-parts", **WAYS[way])) == result(whole)
    half, state = saved(whole, 2), saved(whole)
    texts = [name for name in state if name.startswith(("weights/text_encoder.", "exp_avg/text_encoder.", "z/text_encoder."))]
    assert texts and not all(torch.equal(half[name], state[name]) for name in texts)
    again = run(place, f"{way}-kept", **WAYS[way], train__gradient_checkpointing="false")
    assert result(again) == result(whole)


def test_t5_is_killed_and_goes_on(place):
    changes = dict(model="sd3", train__text_encoders="[text_encoder, text_encoder_3]", optimizer__text_encoder_3_lr=3e-3, train__use_ema="true")
    whole = run(place, "t5", **changes)
    run(place, "t5-killed", **changes, code=-9, env={"T2I_KILL_POINT": "step:3"})
    assert result(run(place, "t5-killed", **changes)) == result(whole)
    second = run(place, "t5-second", **changes, train__checkpoint_every_n_blocks=2)
    assert result(second) == result(whole)
    before, after = (load_file(place / folder / "text_encoder_3" / "model.safetensors") for folder in ("sd3", "t5/final"))
    assert before.keys() == after.keys() and all(not torch.equal(before[name], after[name]) for name in before)
    file = "text_encoder_2/model.safetensors"
    assert sha256(place / "sd3" / file) == sha256(whole / "final" / file)


def test_the_other_name_of_t5s_embedding(place):
    """Files may call it by one name, by the other, or have it twice: never is an old one left beside the trained."""
    import shutil

    from safetensors.torch import save_file

    changes = dict(train__text_encoders="[text_encoder_3]", optimizer__text_encoder_lr="null", train__max_train_steps=1)
    for name, keys in {"other": ["encoder.embed_tokens.weight"], "both": ["shared.weight", "encoder.embed_tokens.weight"]}.items():
        shutil.copytree(place / "sd3", place / name)
        path = place / name / "text_encoder_3" / "model.safetensors"
        tensors = load_file(path)
        embedding = [tensors.pop(key) for key in ("shared.weight", "encoder.embed_tokens.weight") if key in tensors][0]
        save_file({**tensors, **{key: embedding.clone() for key in keys}}, path, {"format": "pt"})
        out = run(place, f"run-{name}", model=name, **changes)
        trained = saved(out, 1)["weights/text_encoder_3.shared.weight"]
        assert not torch.equal(trained, embedding)
        written = load_file(out / "final" / "text_encoder_3" / "model.safetensors")
        assert [key for key in keys if key in written] == keys[:1] and torch.equal(written[keys[0]], trained)
        assert torch.equal(opened(out / "final").text_encoder_3.get_input_embeddings().weight, trained)


def test_updates_inside_backward_are_those_after_it(place):
    # An epsilon above the noise of gradients that are zero but for rounding, as those of the keys' biases are.
    changes = {"train__max_grad_norm": 0, "train__gradient_accumulation_steps": 1, "optimizer__adam_epsilon": 1e-5}
    after, inside = run(place, "after", **changes), run(place, "inside", **{**changes, **FUSED})
    assert [m["loss"] for m in metrics(inside)] == pytest.approx([m["loss"] for m in metrics(after)], rel=1e-6)
    mine, theirs = saved(inside), saved(after)
    for name in theirs:
        if name.startswith("weights/"):
            # The last weights of a parameter are computed without vectors.
            assert ((mine[name] - theirs[name]).abs() > 1e-6).float().mean() < 0.01, name


def test_two_processes_train_what_one_does(place):
    small = {"optimizer__adam_epsilon": 1e-5}  # test_two_processes_train.py says why
    one = run(place, "one", **small, env=clean_environment())
    two = [str(x) for x in arguments(place, "two", **small, train__train_batch_size=1)]
    finish(start(2, two), [0, 0])
    mine, theirs = saved(place / "two"), saved(one)
    texts = [name for name in theirs if name.startswith("weights/text_encoder.")]
    assert len(texts) > 20 and mine.keys() == theirs.keys()
    for name in theirs:
        if name.startswith("weights/"):
            assert (mine[name] - theirs[name]).abs().max() < 2e-6, name
    for a, b in zip(metrics(place / "two"), metrics(one), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5) and a["lr/text_encoder"] == b["lr/text_encoder"]


# ---- rates ----


@pytest.mark.parametrize("kind", ["full", "adapter"])
def test_each_part_moves_at_its_rate(place, kind):
    """Lion moves every weight by the rate itself, whatever its gradient: one step tells."""
    changes = {**(ADAPTER if kind == "adapter" else {}), "optimizer__name": "lion", "optimizer__transformer_lr": 3e-3, "train__max_train_steps": 1,
               "optimizer__learning_rate": 7e-3, "checkpoint__every_steps": 1}
    out = run(place, f"rate-{kind}", **changes)
    (line,) = metrics(out)
    assert line["lr"] == line["lr/unet"] == 3e-3 and line["lr/text_encoder"] == 2e-4
    start = {}
    if kind == "full":
        for part, file in {"": "unet/diffusion_pytorch_model.safetensors", "text_encoder.text_model.": "text_encoder/model.safetensors"}.items():
            start |= {part + name.removeprefix("text_model."): t for name, t in load_file(place / "model" / file).items()}
    compared = {"unet": 0, "text": 0}
    for name, after in saved(out, 1).items():
        kind_of_state, _, parameter = name.partition("/")
        if kind_of_state != "weights" or ".lora_A." in parameter:  # nothing reaches A through a B of zeros
            continue
        text = parameter.startswith("text_encoder.")
        rate = 2e-4 if text else 3e-3
        way = (after - start[parameter] if kind == "full" else after).abs()
        moved = way > 0
        compared["text" if text else "unet"] += int(moved.sum())
        torch.testing.assert_close(way[moved], torch.full_like(way[moved], rate), rtol=0, atol=3e-7 if kind == "full" else 1e-9, msg=lambda m: f"{parameter}: {m}")
    assert min(compared.values()) > 1000, compared


def test_an_adapter_of_text_encoders_alone(place):
    out = run(place, "texts-alone", **ADAPTER, optimizer__transformer_lr=0, optimizer__text_encoder_lr=5e-2, lora__formats="[diffusers, kohya]")
    file = out / "final" / "pytorch_lora_weights.safetensors"
    assert {name.split(".")[0] for name in load_file(file)} == {"text_encoder"}
    mine = drawn(place, place / "model", "--guidance", 4, "--lora", file)
    assert (mine != drawn(place, place / "model", "--guidance", 4)).mean() > 0.02
    for form in ("pytorch_lora_weights.safetensors", "pytorch_lora_weights_kohya.safetensors"):
        pipe = opened(place / "model")
        pipe.load_lora_weights(str(out / "final"), weight_name=form)
        assert_equal_pictures(mine, by_diffusers(pipe, latents_of(place), guidance_scale=4.0))


def test_another_rate_is_another_run(place):
    run(place, "changed", train__max_train_steps=2)
    done = run(place, "changed", code=78, optimizer__text_encoder_lr=1e-4, optimizer__transformer_lr=2e-3)
    for key, before, now in (("text_encoder_lr", "0.0002", "0.0001"), ("transformer_lr", "null", "0.002")):
        assert f"optimizer.{key}: is {now} now and was {before}" in done.stderr and f"add --allow-change optimizer.{key}" in done.stderr
    run(place, "changed", "--allow-change", "optimizer.text_encoder_lr", optimizer__text_encoder_lr=1e-4)
    assert [m["lr/text_encoder"] for m in metrics(place / "changed")] == [2e-4, 2e-4, 1e-4, 1e-4]


# ---- the plan ----


def test_the_plan_counts_what_is_trained(tmp_path, place):
    """An encoder that is most of the model, so that what the plan leaves out would show."""
    wide = dict(hidden_size=256, intermediate_size=1024, num_hidden_layers=6, vocab_size=40000)
    make_sd15(str(tmp_path / "wide"), seed=4, text=wide, unet=dict(cross_attention_dim=256))
    command = [*COMMON, *AS_CAPTIONS, *settings(train__max_train_steps=2, checkpoint__every_steps=0), "--task", "text", "--model", tmp_path / "wide", "--data", place / "data"]
    plan = json.loads(t2i("plan", "--json", *command).stdout)
    used = own_peak_bytes(T2I, "run", "--output", tmp_path / "out", *command)
    count = {part: sum(t.numel() for t in load_file(tmp_path / "wide" / part / file).values())
             for part, file in (("unet", "diffusion_pytorch_model.safetensors"), ("text_encoder", "model.safetensors"))}
    trained = sum(count.values())
    assert plan["parameters"]["all"] == plan["parameters"]["trained"] == trained
    parts = {part["part"]: part for part in plan["memory"]["parts"]}
    assert {name: parts[name]["trained"] for name in count} == count
    assert parts["text_encoder"]["bytes"] == pytest.approx(4 * count["text_encoder"], rel=0.01)
    assert parts["unet"]["bytes"] == pytest.approx(4 * count["unet"], rel=0.01)
    assert plan["memory"]["gradients_bytes"] == pytest.approx(4 * trained, rel=0.01) and plan["memory"]["optimizer_bytes"] == pytest.approx(8 * trained, rel=0.01)
    assert plan["memory"]["peak_bytes"] == pytest.approx(used, rel=0.1), plan["memory"]["shares"]
    state = (tmp_path / "out" / "checkpoint-2" / "state.safetensors").stat().st_size
    final = sum(path.stat().st_size for path in (tmp_path / "out" / "final").rglob("*") if path.is_file())
    assert plan["disk"]["checkpoint_bytes"] == pytest.approx(state, rel=0.02) and plan["disk"]["final_bytes"] == pytest.approx(final, rel=0.05)
    least = json.loads(t2i("plan", "--json", *command, *settings(optimizer__transformer_lr=0)).stdout)
    assert least["parameters"]["trained"] == count["text_encoder"] and least["memory"]["gradients_bytes"] < plan["memory"]["gradients_bytes"]
