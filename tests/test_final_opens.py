"""final/ is a folder that diffusers opens, with the weights that were trained."""

import json
import shutil

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import AS_CAPTIONS, louder, metrics, sd_folder, settings, t2i, triplet_data

COMMON = settings(data__resolution=16, train__num_threads=1, train__max_train_steps=3, train__mixed_precision="fp32", train__train_batch_size=2, validation__every_steps=0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("final")
    sd_folder(root / "model")
    triplet_data(root / "data", count=8)
    return root


def run(place, output, *extra):
    t2i("run", "--model", place / "model", "--data", place / "data", "--output", place / output, *COMMON, *extra)
    return place / output


def test_text(place):
    out = run(place, "text", "--task", "text", "--loss", "epsilon", *AS_CAPTIONS)
    pipe = diffusers.DiffusionPipeline.from_pretrained(out / "final")
    assert type(pipe) is diffusers.StableDiffusionPipeline
    trained = load_file(out / "checkpoint-3" / "state.safetensors")
    for name, tensor in pipe.unet.state_dict().items():
        assert torch.equal(tensor, trained["weights/" + name]), name
    before = diffusers.UNet2DConditionModel.from_pretrained(place / "model", subfolder="unet").state_dict()
    moved = sum(not torch.equal(before[name], tensor) for name, tensor in pipe.unet.state_dict().items())
    assert moved == len(before), "every parameter is trained"


def test_ip2p_and_what_the_average_is(place):
    out = run(place, "ip2p", "--task", "ip2p", "--loss", "v_prediction", *settings(train__use_ema="true"))
    pipe = diffusers.DiffusionPipeline.from_pretrained(out / "final")
    assert type(pipe) is diffusers.StableDiffusionInstructPix2PixPipeline
    assert pipe.unet.config.in_channels == 8 and pipe.scheduler.config.prediction_type == "v_prediction"
    state = load_file(out / "checkpoint-3" / "state.safetensors")
    for name, tensor in pipe.unet.state_dict().items():
        assert torch.equal(tensor, state["ema/" + name]), name
    picture = Image.fromarray(np.zeros((16, 16, 3), np.uint8))
    drawn = pipe("edit number 1", image=picture, num_inference_steps=2, output_type="np").images
    assert np.isfinite(drawn).all()


def test_a_folder_with_eight_channels_goes_on(place):
    run(place, "first", "--task", "ip2p")
    t2i("run", "--model", place / "first" / "final", "--data", place / "data", "--output", place / "second", *COMMON)
    assert diffusers.DiffusionPipeline.from_pretrained(place / "second" / "final").unet.config.in_channels == 8


@pytest.mark.parametrize("loss", ["epsilon", "v_prediction", "min_snr", "rectified_flow"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_follows_float32(place, loss, precision):
    losses = {}
    for kind in (precision, "fp32"):
        out = run(place, f"{loss}-{precision}-{kind}", "--task", "ip2p", "--loss", loss, *settings(train__mixed_precision=kind))
        losses[kind] = [m["raw_loss"] for m in metrics(out)]
    # bf16 keeps 8 bits: half a per cent of a prediction, of which the loss is a mean of squares
    assert np.allclose(losses[precision], losses["fp32"], rtol=2e-2), losses


# ---- what the base folder has may not open by itself; final/ must ----


def saved_as(place, name, **how):
    """The model with its frozen parts written by diffusers and transformers in another way."""
    folder = place / name
    shutil.copytree(place / "model", folder)
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder)
    for part in ("vae", "text_encoder"):
        for path in (folder / part).glob("*.safetensors"):
            path.unlink()
        getattr(pipe, part).half().save_pretrained(folder / part, **how)
    return folder, pipe


def train(place, model, output, *extra):
    done = t2i("run", "--model", model, "--data", place / "data", "--output", place / output, *COMMON, *AS_CAPTIONS, "--task", "text",
               *settings(train__max_train_steps=1), *extra)
    return place / output / "final", done.stderr


def assert_same_parts(final, pipe):
    opened = diffusers.DiffusionPipeline.from_pretrained(final)
    for part in ("vae", "text_encoder"):
        want = getattr(pipe, part).state_dict()
        got = getattr(opened, part).state_dict()
        assert set(got) == set(want) and all(torch.equal(got[name], want[name].to(got[name].dtype)) for name in want)


@pytest.mark.parametrize("how", ["one file", "shards"])
def test_parts_of_another_variant_get_the_plain_name(place, how):
    folder, pipe = saved_as(place, f"half {how}", variant="fp16", **({"max_shard_size": "100KB"} if how == "shards" else {}))
    names = {path.name for path in (folder / "vae").iterdir()}
    assert all("fp16" in name for name in names if "safetensors" in name) and ("shards" not in how or len(names) > 3), names
    with pytest.raises(OSError):
        diffusers.DiffusionPipeline.from_pretrained(folder)
    final, _ = train(place, folder, f"half {how} out")
    assert_same_parts(final, pipe)
    assert not list(final.rglob("*fp16*"))


def test_plain_weights_are_kept_where_a_variant_lies_beside_them(place):
    folder, _ = saved_as(place, "both", variant="fp16")
    for part in ("vae", "text_encoder"):
        for path in (place / "model" / part).glob("*.safetensors"):
            shutil.copy(path, folder / part)
    final, _ = train(place, folder, "both out")
    assert_same_parts(final, diffusers.DiffusionPipeline.from_pretrained(place / "model"))
    assert not list(final.rglob("*fp16*"))


def test_plain_shards_stay_as_they_are(place):
    folder, pipe = saved_as(place, "shards", max_shard_size="100KB")
    final, _ = train(place, folder, "shards out")
    for path in (folder / "vae").iterdir():
        assert (final / "vae" / path.name).read_bytes() == path.read_bytes()
    assert_same_parts(final, pipe)


def test_parts_that_are_listed_but_not_there(place):
    """As hf download leaves a folder when it is told to fetch what t2i reads."""
    folder = place / "unchecked"
    shutil.copytree(place / "model", folder)
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"], "requires_safety_checker": True,
              "feature_extractor": ["transformers", "CLIPImageProcessor"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    final, said = train(place, folder, "unchecked out")
    assert_same_parts(final, diffusers.DiffusionPipeline.from_pretrained(place / "model"))
    written = json.loads((final / "model_index.json").read_text())
    assert written["safety_checker"] == written["feature_extractor"] == [None, None]
    assert f"notice: {final} has no feature_extractor: the model's folder lacks it; {final} has no safety_checker: the model's folder lacks it" in said


def test_pickles_are_not_handed_on(place):
    folder = place / "pickles"
    shutil.copytree(place / "model", folder)
    for name in ("vae/diffusion_pytorch_model.bin", "text_encoder/pytorch_model.bin", "tokenizer/old.ckpt", "scheduler/x.pt"):
        (folder / name).write_bytes(b"\x80\x02}q\x00.")
    (folder / "safety_checker").mkdir()  # nothing but a pickle, as in folders of 2022
    (folder / "safety_checker" / "config.json").write_text('{"_class_name": "StableDiffusionSafetyChecker"}')
    (folder / "safety_checker" / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")
    index = json.loads((folder / "model_index.json").read_text()) | {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    final, said = train(place, folder, "pickles out")
    assert not [path for path in final.rglob("*") if path.suffix in (".bin", ".ckpt", ".pt")]
    assert f"notice: {final} has no safety_checker: its weights are a pickle" in said and not (final / "safety_checker").exists()
    assert_same_parts(final, diffusers.DiffusionPipeline.from_pretrained(place / "model"))


# ---- the same picture from it, drawn by t2i and by diffusers ----

PROMPTS = ["edit number 1", "zwei grüne Dreiecke"]


@pytest.fixture(scope="module")
def loud(place):
    sd_folder(place / "loud", seed=3)
    louder(place / "loud")
    torch.manual_seed(11)
    save_file({"latents": torch.randn(2, 4, 8, 8)}, place / "noise.safetensors")
    smooth = Image.fromarray(np.random.default_rng(1).integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((16, 16), Image.BICUBIC)
    smooth.save(place / "source.png")
    return place


def trained(place, task, loss):
    out = place / f"{task} {loss}"
    if not (out / "final").exists():
        t2i("run", "--model", place / "loud", "--data", place / "data", "--output", out, *COMMON, "--task", task, "--loss", loss,
            *(AS_CAPTIONS if task == "text" else []), *settings(optimizer__learning_rate=1e-3))
    return out / "final"


def drawn(place, final, *arguments):
    shutil.rmtree(place / "drawn", ignore_errors=True)
    prompts = [word for prompt in PROMPTS for word in ("--prompt", prompt)]
    t2i("generate", "--model", final, "--output", place / "drawn", "--latents", place / "noise.safetensors", *prompts, *arguments)
    return np.stack([np.array(Image.open(place / "drawn" / f"{i:05}.png")) for i in range(2)]).astype(int)


def assert_same_pictures(mine, theirs):
    assert theirs.std() > 0.08, "pictures without contrast would be equal whatever was drawn"
    # 2 of 255: float32 sums in another order move a value across a rounding border, of which guidance 7.5 makes more.
    assert np.abs(mine - (theirs * 255).round().astype(int)).max() <= 2


@pytest.mark.parametrize("loss", ["epsilon", "v_prediction", "min_snr", "rectified_flow"])
@pytest.mark.parametrize("task", ["text", "ip2p"])
def test_the_same_picture_as_diffusers_draws_from_it(loud, task, loss):
    final = trained(loud, task, loss)
    source = Image.open(loud / "source.png")
    mine = drawn(loud, final, "--steps", 6, "--guidance", 7.5,
                 *(["--image", loud / "source.png", "--image-guidance", 1.5] if task == "ip2p" else []))
    pipe = diffusers.DiffusionPipeline.from_pretrained(final)
    pipe.set_progress_bar_config(disable=True)
    more = {"image": [source] * 2, "image_guidance_scale": 1.5} if task == "ip2p" else {}
    theirs = pipe(prompt=PROMPTS, latents=load_file(loud / "noise.safetensors")["latents"], num_inference_steps=6, guidance_scale=7.5,
                  output_type="np", **more).images
    assert_same_pictures(mine, theirs)


@pytest.mark.parametrize("spread", ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas"])
def test_a_flow_from_a_folder_with_another_spread_of_noise_draws_the_same(loud, tmp_path, spread):
    """The folder's scheduler may spread a diffusion model's noise levels in a way of its own; a flow's are even."""
    scheduler = json.loads((loud / "loud" / "scheduler" / "scheduler_config.json").read_text())
    shutil.copytree(loud / "loud", tmp_path / "spread")
    (tmp_path / "spread" / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler | {spread: True}))
    for name, model in {"spread": tmp_path / "spread", "even": loud / "loud"}.items():
        t2i("run", "--model", model, "--data", loud / "data", "--output", tmp_path / f"of {name}", *COMMON, "--task", "text",
            "--loss", "rectified_flow", *AS_CAPTIONS, *settings(train__max_train_steps=1))
    made = {}
    for name in ("spread", "even"):
        pipe = diffusers.DiffusionPipeline.from_pretrained(tmp_path / f"of {name}" / "final")
        pipe.scheduler.set_timesteps(6)
        made[name] = pipe.scheduler.sigmas, drawn(loud, tmp_path / f"of {name}" / "final", "--steps", 6, "--guidance", 3)
    assert torch.equal(made["spread"][0], made["even"][0])
    assert np.array_equal(made["spread"][1], made["even"][1])


@pytest.mark.parametrize("shift", [1, 3])
def test_flow_euler_draws_from_a_flow_that_was_trained_here(loud, shift):
    out = loud / f"shift {shift}"
    t2i("run", "--model", loud / "loud", "--data", loud / "data", "--output", out, *COMMON, "--task", "text", "--loss", "rectified_flow",
        *AS_CAPTIONS, *settings(loss__shift=shift, train__max_train_steps=1))
    mine = drawn(loud, out / "final", "--sampler", "flow_euler", "--steps", 6, "--guidance", 1)
    pipe = diffusers.DiffusionPipeline.from_pretrained(out / "final")  # which cannot run this scheduler by itself
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=pipe.scheduler.config.flow_shift)
    assert pipe.scheduler.config.flow_shift == shift
    scheduler.set_timesteps(6)
    x = load_file(loud / "noise.safetensors")["latents"]
    with torch.no_grad():
        text, _ = pipe.encode_prompt(PROMPTS, "cpu", 1, False)
        for t in scheduler.timesteps:
            x = scheduler.step(pipe.unet(x, t, text).sample, t, x).prev_sample
        pixels = pipe.vae.decode(x / pipe.vae.config.scaling_factor).sample
    assert_same_pictures(mine, (pixels / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy())
