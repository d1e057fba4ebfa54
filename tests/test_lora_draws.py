"""Adapters that t2i trained, drawn by diffusers and by t2i from the same latents: each family, each kind, several at once with
weights, merged into the base; and adapters of diffusers drawn by t2i.

Pictures are equal within 2 of 255 (end_to_end.py says why). Adapters are trained with a learning rate that makes them show.

Broken by: a name that diffusers passes over, a scale that is applied twice or not at all, a weight on the wrong adapter, a
first layer that does not travel with the adapter, a merge in another order than the layers add up.
"""

import json

import diffusers
import numpy as np
import pytest
import torch
from end_to_end import TRAIN, as_pixels, assert_equal_pictures, by_diffusers, data_picture_and_latents, drawn, latents_of, louder, opened, source_of
from lora import add_random_adapter, assert_differ, denoiser_of, part_of, save_by_diffusers
from safetensors.torch import load_file
from tiny import AS_CAPTIONS, settings, t2i

from make_folders import make_flux, make_sd15, make_sd3, make_sdxl

FAMILIES = {"sd15": (make_sd15, "unet", "conv_out", 4), "sdxl": (make_sdxl, "unet", "conv_out", 4),
            "sd3": (make_sd3, "transformer", "proj_out", 16), "flux": (make_flux, "transformer", "proj_out", 16)}
LENGTH = settings(plugin__t5_length=24)
SHOWS = settings(optimizer__learning_rate=5e-2)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("lora")
    for family, (make, part, layer, channels) in FAMILIES.items():
        (root / family).mkdir()
        make(str(root / family / "model"), seed=len(family), **({"t5": {}} if family == "sd3" else {}))
        louder(root / family / "model", part, layer)
        data_picture_and_latents(root / family, channels)
    return root


def options_of(family):
    return LENGTH if family in ("sd3", "flux") else []


def trained(place, name, *extra, task="text", model=None, **sets):
    """An adapter of t2i's own; made once for the same name."""
    out = place / f"run-{name}"
    if not out.exists():
        columns = AS_CAPTIONS if task == "text" else []
        t2i("run", "--task", task, "--model", model or place / "model", "--data", place / "data", "--output", out, *TRAIN, *SHOWS,
            *options_of(place.name), *columns, *settings(**{"lora__rank": 4, "lora__alpha": 6, **sets}), *extra)
    return out / "final"


def by_t2i(place, *more, model="model"):
    return drawn(place, place / model, "--guidance", 3, *options_of(place.name), *more)


def theirs(place, pipe, **more):
    family = place.name
    if family == "flux":
        return by_diffusers(pipe, pipe._pack_latents(latents_of(place), 2, 16, 8, 8), true_cfg_scale=3.0, negative_prompt=["", ""], max_sequence_length=24, **more)
    if family == "sd3":
        return by_diffusers(pipe, latents_of(place), guidance_scale=3.0, max_sequence_length=24, **more)
    return by_diffusers(pipe, latents_of(place), guidance_scale=3.0, **more)


KINDS = {"attention": {}, "all": {"lora__targets": "all"}, "dora": {"lora__use_dora": "true", "lora__targets": '["attention", "*ff*"]'},
         "rslora": {"lora__use_rslora": "true", "lora__alpha": 3}, "out": {"lora__targets": "attention_out", "train__use_ema": "true"}}


@pytest.mark.parametrize("family, kind", [("sd15", kind) for kind in KINDS] + [(f, k) for f in ("sdxl", "sd3", "flux") for k in ("attention", "all")] + [("flux", "dora")])
def test_trained_here_drawn_by_diffusers(places, family, kind):
    place = places / family
    final = trained(place, kind, **KINDS[kind])
    mine = by_t2i(place, "--lora", final)
    assert_differ(mine, by_t2i(place))
    pipe = opened(place / "model")
    pipe.load_lora_weights(str(final))
    assert_equal_pictures(mine, theirs(place, pipe))
    names = set(load_file(final / "pytorch_lora_weights.safetensors"))
    assert all(name.startswith(part_of(pipe) + ".") for name in names)


@pytest.mark.parametrize("family", FAMILIES)
def test_made_by_diffusers_drawn_here(places, family, tmp_path):
    """alpha is in the header, or one with the rank."""
    place = places / family
    pipe = opened(place / "model")
    targets = ["to_q", "to_v", "to_out.0"] + (["conv1", "proj_in"] if part_of(pipe) == "unet" else ["add_k_proj", "proj_out"])
    add_random_adapter(denoiser_of(pipe), targets, alpha=2)
    want = theirs(place, pipe)
    assert_differ(want, by_t2i(place))
    assert_equal_pictures(by_t2i(place, "--lora", save_by_diffusers(pipe, tmp_path)), want)
    for module in denoiser_of(pipe).modules():
        if hasattr(module, "scaling"):
            module.scaling["default"] = 1.0
    assert_equal_pictures(by_t2i(place, "--lora", save_by_diffusers(pipe, tmp_path / "plain", with_metadata=False)), theirs(place, pipe))


@pytest.mark.parametrize("kinds", [("attention", "all"), ("dora", "attention")])
def test_several_with_weights(places, kinds):
    place = places / "sd15"
    first, second = (trained(place, kind, **KINDS[kind]) for kind in kinds)
    mine = by_t2i(place, "--lora", f"{first}:0.7", "--lora", f"{second}:-0.4")
    pipe = opened(place / "model")
    pipe.load_lora_weights(str(first), adapter_name="first")
    pipe.load_lora_weights(str(second), adapter_name="second")
    pipe.set_adapters(["first", "second"], [0.7, -0.4])
    assert_equal_pictures(mine, theirs(place, pipe))
    assert_differ(mine, by_t2i(place, "--lora", first, "--lora", second))


@pytest.mark.parametrize("family, kinds", [("sd15", ["all"]), ("sd15", ["dora", "attention"]), ("flux", ["all"])])
def test_merged(places, family, kinds, tmp_path):
    """The folder is drawn without the adapter; so is the single file that is made of it."""
    place = places / family
    adapters = [x for kind, scale in zip(kinds, (0.8, -0.5)) for x in ("--lora", f"{trained(place, kind, **KINDS[kind])}:{scale}")]
    with_adapters = by_t2i(place, *adapters)
    t2i("export", "--model", place / "model", "--output", tmp_path / "merged", *adapters)
    assert_equal_pictures(theirs(place, opened(tmp_path / "merged")), with_adapters)
    assert_equal_pictures(drawn(place, tmp_path / "merged", "--guidance", 3, *options_of(family)), with_adapters)
    t2i("export", "--model", place / "model", "--output", tmp_path / "merged.safetensors", *adapters)
    single = drawn(place, tmp_path / "merged.safetensors", "--guidance", 3, *settings(model__base=place / "model"), *options_of(family))
    assert_equal_pictures(single, with_adapters)
    before, after = (load_file(folder / FAMILIES[family][1] / "diffusion_pytorch_model.safetensors") for folder in (place / "model", tmp_path / "merged"))
    assert {name for name in before if not torch.equal(before[name], after[name])} and set(before) == set(after)
    assert all(before[name].dtype == after[name].dtype for name in before)


# ---- edits: the first layer, widened for the picture, is trained in full and lies beside the adapter ----


def edited_by_diffusers(place, final):
    """As docs/adapters.md tells people to do it."""
    record = json.loads((final / "adapter.json").read_text())
    unet = diffusers.UNet2DConditionModel.from_pretrained(place / "model", subfolder="unet", in_channels=record["config"]["unet"]["in_channels"],
                                                          low_cpu_mem_usage=False, ignore_mismatched_sizes=True)
    full = {name.removeprefix("unet."): t for name, t in load_file(final / "full_layers.safetensors").items()}
    assert set(full) == {"conv_in.weight"} == set(full) - set(unet.load_state_dict(full, strict=False).unexpected_keys)
    kind = diffusers.StableDiffusionXLInstructPix2PixPipeline if place.name == "sdxl" else diffusers.StableDiffusionInstructPix2PixPipeline
    pipe = kind.from_pretrained(place / "model", unet=unet)
    pipe.set_progress_bar_config(disable=True)
    pipe.load_lora_weights(str(final))
    return by_diffusers(pipe, latents_of(place), guidance_scale=3.0, image_guidance_scale=1.5, image=[source_of(place)] * 2)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_edits(places, family, tmp_path):
    place = places / family
    final = trained(place, "edits", task="ip2p", lora__targets="all")
    with_picture = ["--image", place / "source.png", "--image-guidance", 1.5]
    mine = by_t2i(place, "--lora", final, *with_picture)  # the task is the adapter's
    assert_equal_pictures(mine, edited_by_diffusers(place, final))
    half = by_t2i(place, "--lora", f"{final}:0.5", *with_picture)
    assert_differ(mine, half)

    t2i("export", "--model", place / "model", "--output", tmp_path / "merged", "--lora", final)
    index = json.loads((tmp_path / "merged" / "model_index.json").read_text())
    assert "InstructPix2Pix" in index["_class_name"]
    assert_equal_pictures(drawn(place, tmp_path / "merged", "--guidance", 3, *with_picture), mine)
    pipe = opened(tmp_path / "merged")
    assert pipe.unet.config.in_channels == 8
    assert_equal_pictures(by_diffusers(pipe, latents_of(place), guidance_scale=3.0, image_guidance_scale=1.5, image=[source_of(place)] * 2), mine)

    folder = trained(place, "on-edits", task="ip2p", model=tmp_path / "merged")  # eight channels already: nothing is widened
    assert not (folder / "full_layers.safetensors").exists()


@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_edits_of_transformers(places, family, tmp_path):
    """diffusers draws from the merged folder (its pipelines for edits ask for a folder of that kind)."""
    place = places / family
    final = trained(place, "edits", task="ip2p", lora__targets="all")
    picture = ["--image", place / "source.png", "--image-guidance", 1.5]
    mine = by_t2i(place, "--lora", final, *picture)
    t2i("export", "--model", place / "model", "--output", tmp_path / "merged", "--lora", final)
    assert_equal_pictures(drawn(place, tmp_path / "merged", "--guidance", 3, *picture, *options_of(family), "--task", "ip2p"), mine)
    denoiser = opened(tmp_path / "merged").transformer
    full = load_file(final / "full_layers.safetensors")
    assert len(full) == 1
    for name, tensor in full.items():
        torch.testing.assert_close(denoiser.state_dict()[name.removeprefix("transformer.")], tensor, rtol=0, atol=0)


# ---- another objective than the base's goes with the adapter ----


def test_the_objective_goes_with_the_adapter(places, tmp_path):
    place = places / "sd15"
    final = trained(place, "v", "--loss", "v_prediction")
    mine = by_t2i(place, "--lora", final)
    pipe = opened(place / "model")
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, prediction_type="v_prediction")
    pipe.load_lora_weights(str(final))
    assert_equal_pictures(mine, theirs(place, pipe))
    t2i("export", "--model", place / "model", "--output", tmp_path / "merged", "--lora", final)
    assert opened(tmp_path / "merged").scheduler.config.prediction_type == "v_prediction"


# ---- text encoders ----


@pytest.mark.parametrize("family, encoders", [("sd15", ["text_encoder"]), ("sdxl", ["text_encoder", "text_encoder_2"]), ("flux", ["text_encoder"])])
@pytest.mark.parametrize("form", ["diffusers", "kohya"])
def test_text_encoders(places, family, encoders, form):
    place = places / family
    targets = {"lora__targets": '["transformer_blocks.*.attn.*"]'} if family == "flux" else {}
    final = trained(place, "texts", lora__text_encoders=f"[{','.join(encoders)}]", lora__formats="[diffusers,kohya]", train__use_ema="true", **targets)
    file = {"diffusers": "pytorch_lora_weights.safetensors", "kohya": "pytorch_lora_weights_kohya.safetensors"}[form]
    mine = by_t2i(place, "--lora", final / file)
    pipe = opened(place / "model")
    pipe.load_lora_weights(str(final), weight_name=file)
    assert_equal_pictures(mine, theirs(place, pipe))
    for encoder in encoders:  # which diffusers would pass over in silence
        changed = [name for name, p in getattr(pipe, encoder).named_parameters() if "lora_B" in name and bool(p.any())]
        unused = 1 if (family, encoder) == ("sdxl", "text_encoder") else 0  # its last layer is left out
        assert len(changed) == 4 * (getattr(pipe, encoder).config.num_hidden_layers - unused), encoder


# ---- going on with an adapter ----


@pytest.mark.parametrize("kind", ["attention", "dora", "rslora"])
@pytest.mark.parametrize("form", ["diffusers", "kohya"])
def test_going_on_with_an_adapter(places, kind, form, tmp_path):
    """With a learning rate of 0 it stays what it was, from either form; alpha is another, so the factors are not."""
    place = places / "sd15"
    first = trained(place, f"{kind}-both", lora__formats="[diffusers,kohya]", **KINDS[kind])
    file = first / {"diffusers": "pytorch_lora_weights.safetensors", "kohya": "pytorch_lora_weights_kohya.safetensors"}[form]
    again = {**KINDS[kind], "lora__alpha": 5.5, "lora__init_from": file, "optimizer__learning_rate": 0, "train__max_train_steps": 1}
    same = trained(place, f"{kind}-{form}-again", **again)
    assert_equal_pictures(by_t2i(place, "--lora", same), by_t2i(place, "--lora", first))
    more = trained(place, f"{kind}-{form}-more", **{**again, "optimizer__learning_rate": 5e-2})
    assert_differ(by_t2i(place, "--lora", more), by_t2i(place, "--lora", first))
