"""The tables of single files' names at the published sizes: every parameter has a place, and diffusers' own converters, given
tensors of those names and shapes on the meta device, make of them exactly what the family declares. Nothing is allocated.

Broken by: a level or layer counted otherwise than the authors did, which small models may not show.
"""

import types

import pytest
import torch
from declared import built, file_names
from diffusers.loaders import single_file_utils as utils
from test_flux_published_shapes import DEV, SCHNELL, T5_XXL
from test_flux_published_shapes import VAE as VAE_FLUX
from test_sd3_published_shapes import CLIP_G, CLIP_L, LARGE, MEDIUM, SD3
from test_sd3_published_shapes import VAE as VAE_SD3
from test_sd15_published_shapes import TEXT, TEXT2, UNET, UNET2, VAE
from test_sdxl_published_shapes import BASE, REFINER

MARKS = utils.CHECKPOINT_KEY_NAMES


def place_of(form, parameter):
    """(tensor, place among its parameters, change), by the rules of sdk/NAMES.md; the first row counts."""
    for file, parameters, *change in form["tensors"]:
        for i, p in enumerate([parameters] if isinstance(parameters, str) else parameters):
            if parameter == p or (p == "" or p.endswith(".")) and parameter.startswith(p):
                tree = p == "" or p.endswith(".")
                return file + (parameter[len(p):] if tree else ""), i, (change or [None])[0]
    raise AssertionError(f"{parameter} has no place")


def written(form, parameters):
    """name -> tensor on the meta device, of all the tensors that the part's parameters make."""
    members = {}
    for parameter, shape in parameters.items():
        name, i, change = place_of(form, parameter)
        members.setdefault(form["prefixes"][0] + name, {})[i] = (shape, change)
    tensors = {}
    for name, parts in members.items():
        shapes = [parts[i][0] for i in range(len(parts))]
        shape, change = list(shapes[0]), parts[0][1]
        shape[0] = sum(s[0] for s in shapes)
        if change == "conv1x1" and len(shape) == 2:
            shape += [1, 1]
        if change == "transposed":
            shape.reverse()
        if change != "identity":
            tensors[name] = torch.empty(shape, device="meta")
    for file, parameter, *change in form["tensors"]:
        if change == ["copy"]:
            tensors[form["prefixes"][0] + file] = torch.empty(parameters[parameter], device="meta")
    return tensors


def shapes_of(tensors):
    return {name: tuple(t.shape) for name, t in tensors.items()}


def asked(library, parts, **config):
    declared, _ = built(library, parts, **config)
    return declared, dict(file_names)


@pytest.mark.parametrize("library, unet, mark", [("t2i-sd15.so", UNET, MARKS["v1"]), ("t2i-sd15.so", UNET2, MARKS["v2"]),
                                                 ("t2i-sdxl.so", BASE, None), ("t2i-sdxl.so", REFINER, None)], ids=["1.5", "2.1", "xl", "refiner"])
def test_unets(library, unet, mark):
    declared, names = asked(library, {"unet": unet})
    tensors = written(names["unet"][0], declared["unet"])
    assert mark is None or mark in tensors
    assert MARKS["inpainting"] in tensors and len(tensors) == len(declared["unet"])
    assert shapes_of(utils.convert_ldm_unet_checkpoint(tensors, unet)) == declared["unet"]


@pytest.mark.parametrize("library, denoiser, config, vae", [
    ("t2i-sd15.so", "unet", UNET, VAE), ("t2i-sd3.so", "transformer", SD3, VAE_SD3), ("t2i-flux.so", "transformer", DEV, VAE_FLUX)], ids=["sd15", "sd3", "flux"])
def test_autoencoders(library, denoiser, config, vae):
    declared, names = asked(library, {denoiser: config, "vae": vae}, **({"options": {}} if "flux" in library else {}))
    tensors = written(names["vae"][0], declared["vae"])
    assert names["vae"][0]["prefixes"][0] in utils.LDM_VAE_KEYS
    assert shapes_of(utils.convert_ldm_vae_checkpoint(tensors, vae)) == declared["vae"]


@pytest.mark.parametrize("transformer", [SD3, MEDIUM, LARGE], ids=["3-medium", "3.5-medium", "3.5-large"])
def test_sd3(transformer):
    declared, names = asked("t2i-sd3.so", {"transformer": transformer, "text_encoder": CLIP_L, "text_encoder_2": CLIP_G, "text_encoder_3": T5_XXL})
    tensors = written(names["transformer"][0], declared["transformer"])
    assert MARKS["sd3"][1] in tensors and (transformer is not LARGE or MARKS["sd35_large"][1] in tensors)
    assert shapes_of(utils.convert_sd3_transformer_checkpoint_to_diffusers(tensors)) == declared["transformer"]
    for part, name, mark in [("text_encoder", "clip_l", MARKS["clip_sd3"]), ("text_encoder_2", "clip_g", MARKS["open_clip_sd3"])]:
        tensors = written(names[part][0], declared[part])
        assert mark in tensors
        got = shapes_of(utils.convert_ldm_clip_checkpoint(tensors, f"text_encoders.{name}.transformer."))
        assert got == {n: s for n, s in declared[part].items() if part != "text_encoder" or n != "text_projection.weight"}
    tensors = written(names["text_encoder_3"][0], declared["text_encoder_3"])
    assert utils.is_t5_in_single_file(tensors)
    both = declared["text_encoder_3"] | {"encoder.embed_tokens.weight": declared["text_encoder_3"]["shared.weight"]}
    assert shapes_of(utils.convert_sd3_t5_checkpoint_to_diffusers(tensors)) == both


@pytest.mark.parametrize("transformer", [DEV, SCHNELL], ids=["dev", "schnell"])
def test_flux(transformer):
    declared, names = asked("t2i-flux.so", {"transformer": transformer, "text_encoder": TEXT, "text_encoder_2": T5_XXL}, options={})
    tensors = written(names["transformer"][0], declared["transformer"])
    assert MARKS["flux"][1] in tensors and len(tensors) < len(declared["transformer"])
    assert shapes_of(utils.convert_flux_transformer_checkpoint_to_diffusers(tensors)) == declared["transformer"]


def test_text_encoders():
    declared, names = asked("t2i-sd15.so", {"unet": UNET, "text_encoder": TEXT})
    tensors = written(names["text_encoder"][0], declared["text_encoder"])
    assert utils.is_clip_model(tensors)
    assert shapes_of(utils.convert_ldm_clip_checkpoint(tensors)) == declared["text_encoder"]
    declared, names = asked("t2i-sdxl.so", {"unet": BASE, "text_encoder": CLIP_L, "text_encoder_2": CLIP_G})
    first = written(names["text_encoder"][0], declared["text_encoder"])
    assert utils.is_clip_sdxl_model(first) and shapes_of(utils.convert_ldm_clip_checkpoint(first)) == declared["text_encoder"]


@pytest.mark.parametrize("family, prefix, mark", [("xl", "conditioner.embedders.1.model.", MARKS["xl_base"]),
                                                  ("refiner", "conditioner.embedders.0.model.", MARKS["xl_refiner"]),
                                                  ("2.1", "cond_stage_model.model.", MARKS["open_clip"])])
def test_open_clip(family, prefix, mark):
    config = {"xl": ("t2i-sdxl.so", {"unet": BASE, "text_encoder": CLIP_L, "text_encoder_2": CLIP_G}, "text_encoder_2", 0),
              "refiner": ("t2i-sdxl.so", {"unet": REFINER, "text_encoder_2": CLIP_G}, "text_encoder_2", 0),
              "2.1": ("t2i-sd15.so", {"unet": UNET2, "text_encoder": TEXT2}, "text_encoder", 1)}[family]
    library, parts, part, form = config
    declared, names = asked(library, parts)
    tensors = written(names[part][form], declared[part])
    assert mark in tensors and all(n.startswith(prefix) for n in tensors)
    model = types.SimpleNamespace(config=types.SimpleNamespace(hidden_size=parts[part]["hidden_size"]))
    assert shapes_of(utils.convert_open_clip_checkpoint(model, tensors, prefix)) == declared[part]
