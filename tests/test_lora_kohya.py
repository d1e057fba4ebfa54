"""kohya's form of adapters: as diffusers converts it, and as ComfyUI applies it to a single file.

ComfyUI's rule, in short (its weights are a single file's): of every weight W that a file has factors for, W + alpha / rank * up
@ down; of DoRA the rows of the sum brought to dora_scale. It is applied here to the single file that `t2i export` writes, and that is
drawn. Names: "lora_unet_" and the weight's name with '_' for '.'; of SD1.5 the name of diffusers, as kohya's programs have it.

Pictures are equal within 2 of 255 (end_to_end.py says why).

Broken by: a block of a joined tensor in another place, the halves of the last modulation not exchanged, an alpha that is not the
sum of the blocks', names of the other kind.
"""



import pytest
import torch
from end_to_end import assert_equal_pictures, drawn, opened
from lora import add_random_adapter, assert_differ, denoiser_of, part_of
from peft.utils import get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_lora_draws import FAMILIES, KINDS, by_t2i, options_of, places, theirs, trained  # noqa: F401 (a fixture among them)
from tiny import settings, t2i

KOHYA = "pytorch_lora_weights_kohya.safetensors"


def applied_as_comfyui_does(single, names, adapter):
    """`names`: the flattened name of every weight -> its name in the file. Every factor must find its weight."""
    weights, factors = load_file(single), load_file(adapter)
    stems = {name.split(".")[0] for name in factors}
    for stem in stems:
        assert stem in names, stem
        weight = weights[names[stem]]
        down, up, alpha = (factors[f"{stem}.{end}"] for end in ("lora_down.weight", "lora_up.weight", "alpha"))
        change = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape) * (alpha / down.shape[0])
        merged = weight + change
        if f"{stem}.dora_scale" in factors:
            length = merged.flatten(1).norm(dim=1).reshape(-1, *[1] * (weight.ndim - 1))
            merged = merged * factors[f"{stem}.dora_scale"] / length
        weights[names[stem]] = merged
    assert len(stems) > 3
    return weights


def flattened_names(place, single):
    """Of SD1.5 diffusers' names lead to those of the file, by the values of the weights."""
    prefix = "model.diffusion_model."
    weights = {name: t for name, t in load_file(single).items() if name.startswith(prefix) and name.endswith(".weight")}
    if place.name != "sd15":
        return {"lora_unet_" + name.removeprefix(prefix).removesuffix(".weight").replace(".", "_"): name for name in weights}
    own = load_file(place / "model" / "unet" / "diffusion_pytorch_model.safetensors")
    by_value = {t.numpy().tobytes(): name for name, t in weights.items()}
    return {"lora_unet_" + name.removesuffix(".weight").replace(".", "_"): by_value[t.numpy().tobytes()] for name, t in own.items() if name.endswith(".weight")}


@pytest.mark.parametrize("family, kind", [(family, "all") for family in FAMILIES] + [("sd15", "dora"), ("sd3", "attention"), ("flux", "partly"), ("sd3", "partly-dora")])
def test_applied_as_comfyui_does(places, family, kind, tmp_path):  # noqa: F811
    place = places / family
    # Only some of the layers that are one tensor in the file.
    more = {"partly": {"lora__targets": '["*.to_q.*", "*.to_v.*", "*proj_mlp*"]'},
            "partly-dora": {"lora__targets": '["*.to_q.*", "*.to_v.*"]', "lora__use_dora": "true"}}
    final = trained(place, f"{kind}-kohya", **{**KINDS, **more}[kind], lora__formats="[kohya,diffusers]")
    single, changed = tmp_path / "model.safetensors", tmp_path / "changed.safetensors"
    t2i("export", "--model", place / "model", "--output", single)
    save_file(applied_as_comfyui_does(single, flattened_names(place, single), final / KOHYA), changed)
    on_base = [*settings(model__base=place / "model"), *options_of(family)]
    want = drawn(place, changed, "--guidance", 3, *on_base)
    assert_differ(want, by_t2i(place))
    assert_equal_pictures(by_t2i(place, "--lora", final / KOHYA), want)
    assert_equal_pictures(by_t2i(place, "--lora", final / "pytorch_lora_weights.safetensors"), want)


@pytest.mark.parametrize("family, targets", [("sd15", "attention"), ("sd15", "all"), ("sdxl", "attention"), ("flux", '["transformer_blocks.*.attn.*", "transformer_blocks.*.ff*"]')])
def test_read_by_diffusers(places, family, targets, tmp_path):  # noqa: F811
    """Of FLUX the double blocks: the joined tensor of the single ones is taken apart by FLUX.1's own widths, whatever the model's are."""
    place = places / family
    final = trained(place, f"kohya-{family}-{len(targets)}", lora__targets=targets, lora__formats="[kohya]", lora__alpha=3)
    assert not (final / "pytorch_lora_weights.safetensors").exists()
    pipe = opened(place / "model")
    pipe.load_lora_weights(str(final), weight_name=KOHYA)
    mine = by_t2i(place, "--lora", final)
    assert_differ(mine, by_t2i(place))
    assert_equal_pictures(mine, theirs(place, pipe))


def test_the_header(places):  # noqa: F811
    place = places / "sdxl"
    final = trained(place, "all-kohya", **KINDS["all"], lora__formats="[kohya,diffusers]")
    with safe_open(final / KOHYA, framework="pt") as file:
        header = file.metadata()
        stem = next(name.split(".")[0] for name in file.keys())
        alpha = file.get_tensor(f"{stem}.alpha")
    assert header["ss_network_module"] == "networks.lora" and header["ss_network_dim"] == "4" and header["ss_network_alpha"] == "6"
    assert header["ss_base_model_version"] == "sdxl_base_v1-0" and header["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert alpha.shape == () and float(alpha) == 6
    import hashlib
    data = (final / KOHYA).read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    assert header["sshs_model_hash"] == hashlib.sha256(data[begin:]).hexdigest()


# ---- other programs' names, read ----


def renamed(place, pipe, how):
    """peft's factors under the names of another program."""
    part, tensors = part_of(pipe), {}
    scale = denoiser_of(pipe).peft_config["default"].lora_alpha / denoiser_of(pipe).peft_config["default"].r
    for name, t in get_peft_model_state_dict(denoiser_of(pipe)).items():
        layer, factor = name.removesuffix(".weight").rsplit(".", 1)
        end = {"lora_A": "down", "lora_B": "up"}[factor]
        t = t.detach().clone().contiguous()
        if how == "processors":  # diffusers of early 2023
            attention = f"{part}.{layer}".replace(".to_", ".processor.to_").replace("to_out.0", "to_out")
            tensors[f"{attention}_lora.{end}.weight"] = t * (scale if end == "up" else 1)
        elif how == "peft":
            tensors[f"base_model.model.{name}"] = t * (scale if end == "up" else 1)
        elif how == "alphas":  # today's names with kohya's alphas
            tensors[f"{part}.{layer}.lora.{end}.weight"] = t
            tensors[f"{part}.{layer}.alpha"] = torch.tensor(scale * 4)
        else:
            before = {"onetrainer": "lora_transformer_", "lycoris": "lycoris_", "kohya": "lora_unet_"}[how]
            tensors[before + layer.replace(".", "_") + f".lora_{end}.weight"] = t.bfloat16() if how == "lycoris" else t
            tensors[before + layer.replace(".", "_") + ".alpha"] = torch.tensor(scale * 4)
    return tensors


@pytest.mark.parametrize("family, how", [("sd15", "processors"), ("sd15", "peft"), ("sd15", "alphas"), ("sdxl", "kohya"), ("sdxl", "lycoris"), ("sd3", "onetrainer"), ("flux", "peft")])
def test_other_names_are_read(places, family, how, tmp_path):  # noqa: F811
    place = places / family
    pipe = opened(place / "model")
    add_random_adapter(denoiser_of(pipe), ["to_q", "to_k", "to_out.0"], alpha=2)
    if how == "lycoris":
        for name, p in denoiser_of(pipe).named_parameters():
            if "lora_" in name:
                p.data = p.data.bfloat16().float()
    save_file(renamed(place, pipe, how), tmp_path / "adapter.safetensors")
    want = theirs(place, pipe)
    assert_differ(want, by_t2i(place))
    assert_equal_pictures(by_t2i(place, "--lora", tmp_path / "adapter.safetensors"), want)


def test_a_joined_adapter_of_another_program(places, tmp_path):  # noqa: F811
    """Queries, keys and values share one A of kohya's for FLUX: its B has no blocks. And ComfyUI's dotted names."""
    place = places / "flux"
    torch.manual_seed(3)
    single = tmp_path / "model.safetensors"
    t2i("export", "--model", place / "model", "--output", single)
    weights, flat, dotted = load_file(single), {}, {}
    for name in list(weights):
        if name.endswith(("attn.qkv.weight", "linear1.weight")):
            rows, inputs = weights[name].shape
            down, up = torch.randn(4, inputs) * 0.2, torch.randn(rows, 4) * 0.2
            layer = name.removeprefix("model.diffusion_model.").removesuffix(".weight")
            flat |= {f"lora_unet_{layer.replace('.', '_')}.{end}": t for end, t in (("lora_down.weight", down), ("lora_up.weight", up), ("alpha", torch.tensor(2.0)))}
            dotted |= {f"diffusion_model.{layer}.lora_A.weight": down, f"diffusion_model.{layer}.lora_B.weight": up * 0.5}
            weights[name] += 0.5 * up @ down
    for name, tensors in {"flat": flat, "dotted": dotted, "changed": weights}.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
    on_base = [*settings(model__base=place / "model"), *options_of("flux")]
    want = drawn(place, tmp_path / "changed.safetensors", "--guidance", 3, *on_base)
    assert_differ(want, by_t2i(place))
    for name in ("flat", "dotted"):
        assert_equal_pictures(by_t2i(place, "--lora", tmp_path / f"{name}.safetensors"), want)


def test_text_encoders_are_adapted_too(places, tmp_path):  # noqa: F811
    """Adapters of kohya's programs often have them."""
    place = places / "sdxl"
    pipe = opened(place / "model")
    tensors = {}
    for before, encoder in (("lora_te1_", pipe.text_encoder), ("lora_te2_", pipe.text_encoder_2)):
        torch.manual_seed(len(tensors))
        for name, module in encoder.named_modules():
            if name.endswith(("q_proj", "v_proj", "fc1")):
                down, up = torch.randn(4, module.in_features) * 0.3, torch.randn(module.out_features, 4) * 0.3
                full = name if name.startswith("text_model.") else "text_model." + name
                tensors |= {before + full.replace(".", "_") + end: t for end, t in ((".lora_down.weight", down), (".lora_up.weight", up), (".alpha", torch.tensor(2.0)))}
                module.weight.data += 0.5 * up @ down
    save_file(tensors, tmp_path / "adapter.safetensors")
    want = theirs(place, pipe)
    assert_differ(want, by_t2i(place))
    assert_equal_pictures(by_t2i(place, "--lora", tmp_path / "adapter.safetensors"), want)
