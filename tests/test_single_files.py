"""Single files with the names that the families' authors gave their tensors: `t2i export` writes them and diffusers' own
converters make of them the tensors that went in, for every family; t2i makes the same folder of them, to the last bit, and
probes, draws and trains from the file as from the folder.

Broken by: a table that mixes two layers up or forgets one, fused tensors cut at the wrong row, halves not exchanged, a part
taken from the base that the file has, a first layer of the base's width.
"""

import inspect
import json
import os
import pathlib
import shutil
import subprocess
import textwrap
import time

import diffusers
import numpy as np
import pytest
import torch
from diffusers.loaders import single_file_utils
from end_to_end import TRAIN, data_picture_and_latents
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import AS_CAPTIONS, T2I, metrics, settings, sha256, t2i

from make_folders import make_flux, make_sd3, make_sd15, make_sdxl

FAMILIES = ["sd15", "sdxl", "sd3", "flux"]
DENOISER = {"sd15": "unet", "sdxl": "unet", "sd3": "transformer", "flux": "transformer"}
PARTS = {"sd15": ["unet", "vae", "text_encoder"], "sdxl": ["unet", "vae", "text_encoder", "text_encoder_2"],
         "sd3": ["transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3"],
         "flux": ["transformer", "vae", "text_encoder", "text_encoder_2"]}
PREFIXES = {"sd15": {"model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."},
            "sdxl": {"model.diffusion_model.", "first_stage_model.", "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."},
            "sd3": {"model.diffusion_model.", "first_stage_model.", "text_encoders.clip_l.transformer.", "text_encoders.clip_g.transformer.",
                    "text_encoders.t5xxl.transformer."},
            "flux": {"model.diffusion_model.", "vae.", "text_encoders.clip_l.transformer.", "text_encoders.t5xxl.transformer."}}


def make(family, folder):
    if family == "sd15":
        return make_sd15(folder, seed=1, unet={"layers_per_block": 2, "block_out_channels": (32, 64, 64),
                                               "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
                                               "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D")})
    if family == "sdxl":
        return make_sdxl(folder, seed=2)
    if family == "flux":
        return make_flux(folder, seed=3)
    # CLIP-L's projection is the identity in what is published, and left out of single files.
    pipe = make_sd3(folder, seed=4, t5={}, text={"projection_dim": 32}, transformer={"pooled_projection_dim": 52})
    with torch.no_grad():
        pipe.text_encoder.text_projection.weight.copy_(torch.eye(32))
    pipe.text_encoder.save_pretrained(f"{folder}/text_encoder")
    return pipe


def export(model, output, *more, code=0):
    return t2i("export", "--model", model, "--output", output, *more, code=code)


def without_weights(folder, to):
    """What a hub's snapshot is after its small files alone were fetched."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*.safetensors"))
    return to


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("single")
    for family in FAMILIES:
        make(family, str(root / family))
        export(root / family, root / f"{family}.safetensors")
        without_weights(root / family, root / f"{family}-base")
    data_picture_and_latents(root, channels=4)
    return root


def from_file(place, family):
    return [place / f"{family}.safetensors", *settings(model__base=place / f"{family}-base")]


def tensors_of(folder):
    """Every part's tensors; transformers 5 leaves the text models' first name out."""
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*.safetensors")):
        for name, t in load_file(path).items():
            found[path.parent.name, name.removeprefix("text_model.")] = t
    return found


def assert_same_tensors(got, wanted):
    assert got.keys() == wanted.keys() and len(wanted) > 100
    for name, t in wanted.items():
        assert got[name].dtype == t.dtype and torch.equal(got[name], t), name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_names_are_those_of_the_authors(place, family):
    with safe_open(place / f"{family}.safetensors", "pt") as f:
        names = list(f.keys())
    for prefix in PREFIXES[family]:
        assert any(name.startswith(prefix) for name in names), prefix
    assert all(any(name.startswith(prefix) for prefix in PREFIXES[family]) for name in names)
    marks = [key for key in (single_file_utils.CHECKPOINT_KEY_NAMES["flux"] + single_file_utils.CHECKPOINT_KEY_NAMES["sd3"]) if key in names]
    assert bool(marks) == (family in ("sd3", "flux"))


def assert_modules_equal(got, wanted):
    got, wanted = got.state_dict(), wanted.state_dict()
    assert got.keys() == wanted.keys()
    for name, t in wanted.items():
        assert torch.equal(got[name], t), name


@pytest.mark.parametrize("family", ["sd15", "sdxl", "sd3"])
def test_diffusers_opens_the_file(place, family):
    kind = {"sd15": diffusers.StableDiffusionPipeline, "sdxl": diffusers.StableDiffusionXLPipeline, "sd3": diffusers.StableDiffusion3Pipeline}[family]
    more = {"safety_checker": None} if family == "sd15" else {}
    got = kind.from_single_file(str(place / f"{family}.safetensors"), config=str(place / f"{family}-base"), local_files_only=True, **more)
    wanted = diffusers.DiffusionPipeline.from_pretrained(place / family)
    for part in PARTS[family]:
        assert_modules_equal(getattr(got, part), getattr(wanted, part))


def flux_converter(width):
    """diffusers' own, whose width of a block is written into it."""
    source = textwrap.dedent(inspect.getsource(single_file_utils.convert_flux_transformer_checkpoint_to_diffusers))
    assert source.count("inner_dim = 3072") == 1
    scope = dict(vars(single_file_utils))
    exec(source.replace("inner_dim = 3072", f"inner_dim = {width}"), scope)
    return scope["convert_flux_transformer_checkpoint_to_diffusers"]


def test_diffusers_converts_the_file_of_flux(place):
    file, wanted = place / "flux.safetensors", diffusers.DiffusionPipeline.from_pretrained(place / "flux")
    tensors = load_file(file)
    got = flux_converter(32)({n: t for n, t in tensors.items() if n.startswith("model.diffusion_model.")})
    assert got.keys() == wanted.transformer.state_dict().keys()
    assert all(torch.equal(got[n], t) for n, t in wanted.transformer.state_dict().items())
    vae = diffusers.AutoencoderKL.from_single_file(str(file), config=str(place / "flux-base" / "vae"), local_files_only=True)
    assert_modules_equal(vae, wanted.vae)
    clip = single_file_utils.convert_ldm_clip_checkpoint(tensors, "text_encoders.clip_l.transformer.")
    clip = {n.removeprefix("text_model."): t for n, t in clip.items()}
    assert all(torch.equal(clip[n.removeprefix("text_model.")], t) for n, t in wanted.text_encoder.state_dict().items())
    t5 = single_file_utils.convert_sd3_t5_checkpoint_to_diffusers(tensors)
    assert all(torch.equal(t5[n], t) for n, t in wanted.text_encoder_2.state_dict().items() )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_way_back(place, tmp_path, family):
    """From the file and a base without weights, the folder that it came from."""
    model, *base = from_file(place, family)
    export(model, tmp_path / "folder", *base)
    assert_same_tensors(tensors_of(tmp_path / "folder"), tensors_of(place / family))
    got, wanted = (diffusers.DiffusionPipeline.from_pretrained(folder) for folder in (tmp_path / "folder", place / family))
    assert type(got) is type(wanted)
    for part in PARTS[family]:
        assert_modules_equal(getattr(got, part), getattr(wanted, part))
        before, after = (json.loads((folder / part / "config.json").read_text()) for folder in (place / family, tmp_path / "folder"))
        assert before == after
    assert (tmp_path / "folder" / "tokenizer").is_dir() and (tmp_path / "folder" / "scheduler").is_dir()
    export(model, tmp_path / "again.safetensors", *base)
    assert sha256(tmp_path / "again.safetensors") == sha256(model)


def inputs_of(family, root):
    torch.manual_seed(3)
    widths = {"sd15": (4, 32, None), "sdxl": (4, 56, 20), "sd3": (16, 64, 52), "flux": (16, 64, 32)}
    channels, context, pooled = widths[family]
    tensors = {"latents": torch.randn(2, channels, 8, 8), "timesteps": torch.tensor([10.0, 700.0]), "prompt_embeds": torch.randn(2, 7, context)}
    if pooled:
        tensors["pooled"] = torch.randn(2, pooled)
    if family == "sdxl":
        tensors["time_ids"] = torch.tensor([[16.0, 16, 0, 0, 16, 16]] * 2)
    save_file(tensors, root / "inputs.safetensors")
    save_file({"pixels": torch.rand(2, 3, 16, 16) * 2 - 1}, root / "pixels.safetensors")


@pytest.mark.parametrize("family", FAMILIES)
def test_probes(place, tmp_path, family):
    inputs_of(family, tmp_path)

    def probe(what, *model):
        given = {"forward": ["--inputs", tmp_path / "inputs.safetensors"], "encode": ["--inputs", tmp_path / "pixels.safetensors"],
                 "text": ["--prompt", "a red ball", "--prompt", "zwei Dreiecke"]}[what]
        t2i("probe", what, "--model", *model, *given, "--outputs", tmp_path / "out.safetensors")
        return load_file(tmp_path / "out.safetensors")

    for what in ("forward", "encode", "text"):
        file, folder = probe(what, *from_file(place, family)), probe(what, place / family)
        assert file.keys() == folder.keys() and len(file) > 0
        assert all(torch.equal(file[n], folder[n]) for n in folder), what


@pytest.mark.parametrize("family", ["sd15", "flux"])
def test_pictures_and_training(place, tmp_path, family):
    def drawn(name, *model):
        t2i("generate", "--model", *model, "--prompt", "a red ball", "--size", "16x16", "--steps", 3, "--output", tmp_path / name)
        return np.array(Image.open(tmp_path / name))

    assert np.array_equal(drawn("file.png", *from_file(place, family)), drawn("folder.png", place / family))

    def losses(name, *model):
        t2i("run", "--task", "text", "--model", *model, "--data", place / "data", "--output", tmp_path / name, *TRAIN, *AS_CAPTIONS)
        return [m["loss"] for m in metrics(tmp_path / name)]

    assert losses("run-file", *from_file(place, family)) == losses("run-folder", place / family)
    file, folder = tmp_path / "run-file" / "final", tmp_path / "run-folder" / "final"
    assert_same_tensors(tensors_of(file), tensors_of(folder))
    got, wanted = diffusers.DiffusionPipeline.from_pretrained(file), diffusers.DiffusionPipeline.from_pretrained(folder)
    for part in PARTS[family]:
        assert_modules_equal(getattr(got, part), getattr(wanted, part))


def split(file, prefix, to, strip=True):
    tensors = {(n.removeprefix(prefix) if strip else n): t for n, t in load_file(file).items() if n.startswith(prefix)}
    assert tensors
    save_file(tensors, to)
    return to


@pytest.mark.parametrize("family", ["sd15", "sd3", "flux"])
@pytest.mark.parametrize("strip", [True, False])
def test_a_file_of_the_denoiser_alone(place, tmp_path, family, strip):
    """As FLUX.1 is published: everything else is the base's, which then has weights."""
    only = split(place / f"{family}.safetensors", "model.diffusion_model.", tmp_path / "only.safetensors", strip)
    other = tmp_path / "other"
    shutil.copytree(place / family, other)
    (other / DENOISER[family] / "diffusion_pytorch_model.safetensors").unlink()
    export(only, tmp_path / "folder", *settings(model__base=other))
    assert_same_tensors(tensors_of(tmp_path / "folder"), tensors_of(place / family))


@pytest.mark.parametrize("form", ["prefixed", "bare", "own names", "older names"])
def test_a_vae_by_itself(place, tmp_path, form):
    """As kohya's --vae takes it; and a diffusers VAE's own file."""
    make_sd15(str(tmp_path / "other"), seed=9, names="published" if form == "older names" else "today")
    export(tmp_path / "other", tmp_path / "other.safetensors")
    own = tmp_path / "other" / "vae" / "diffusion_pytorch_model.safetensors"
    vae = {"prefixed": tmp_path / "other.safetensors", "own names": own, "older names": own}.get(form)
    vae = vae or split(tmp_path / "other.safetensors", "first_stage_model.", tmp_path / "vae.safetensors")
    inputs_of("sd15", tmp_path)

    def probe(*more):
        t2i("probe", "encode", "--model", *more, "--inputs", tmp_path / "pixels.safetensors", "--outputs", tmp_path / "out.safetensors")
        return load_file(tmp_path / "out.safetensors")["latents"]

    wanted = probe(tmp_path / "other")
    assert torch.equal(probe(place / "sd15", *settings(model__vae=vae)), wanted)
    assert torch.equal(probe(*from_file(place, "sd15"), *settings(model__vae=vae)), wanted)
    assert not torch.equal(probe(place / "sd15"), wanted)


@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux"])
def test_a_text_encoder_by_itself(place, tmp_path, family):
    prefix = {"sd15": "cond_stage_model.transformer.", "sdxl": "conditioner.embedders.0.transformer.", "flux": "text_encoders.clip_l.transformer."}[family]
    clip = split(place / f"{family}.safetensors", prefix, tmp_path / "clip.safetensors")
    tensors = {n: t + 0.01 for n, t in load_file(clip).items()}
    save_file({**tensors, "logit_scale": torch.ones(())}, clip)
    done = export(place / family, tmp_path / "folder", *settings(model__text_encoder=clip))
    assert "notice" not in done.stderr
    got = tensors_of(tmp_path / "folder")
    wanted = tensors_of(place / family)
    wanted.update({("text_encoder", n.removeprefix("text_model.")): t for n, t in tensors.items()})
    assert_same_tensors(got, wanted)


def test_the_first_layer_is_the_files(tmp_path):
    """An editing model's file beside the base of the model that it was made from."""
    make_sd15(str(tmp_path / "edit"), seed=1, unet={"in_channels": 8})
    make_sd15(str(tmp_path / "plain"), seed=1)
    export(tmp_path / "edit", tmp_path / "edit.safetensors")
    base = settings(model__base=tmp_path / "plain")
    done = export(tmp_path / "edit.safetensors", tmp_path / "folder", *base, "--task", "ip2p")
    assert "notice" not in done.stderr
    pipe = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "folder")
    assert type(pipe) is diffusers.StableDiffusionInstructPix2PixPipeline and pipe.unet.config.in_channels == 8
    assert_same_tensors(tensors_of(tmp_path / "folder"), tensors_of(tmp_path / "edit"))
    done = export(tmp_path / "edit.safetensors", tmp_path / "text-folder", *base)
    assert "the first layer takes 8 channels where latents have 4" in done.stderr
    data_picture_and_latents(tmp_path, channels=4)

    def losses(name, *model):
        t2i("run", "--task", "ip2p", "--model", *model, "--data", tmp_path / "data", "--output", tmp_path / name, *TRAIN)
        return [m["loss"] for m in metrics(tmp_path / name)]

    assert losses("run-file", tmp_path / "edit.safetensors", *base) == losses("run-folder", tmp_path / "folder")
    done = t2i("generate", "--model", tmp_path / "edit.safetensors", *base, "--task", "text", "--prompt", "a", "--output", tmp_path / "a.png", code=65)
    assert "[T2I-E2035]" in done.stderr and done.stderr.startswith(str(tmp_path / "edit.safetensors"))


FLOAT8 = {"float8_e4m3fn": torch.float8_e4m3fn, "float8_e5m2": torch.float8_e5m2}


@pytest.mark.parametrize("name", ["float16", "bfloat16", *FLOAT8])
def test_files_of_other_types(place, tmp_path, name):
    """Loaded as what those numbers are; a folder made of eight-bit ones has them in bfloat16, which holds them all."""
    dtype = FLOAT8.get(name) or getattr(torch, name)
    tensors = {n: t.to(dtype) for n, t in load_file(place / "flux.safetensors").items()}
    save_file(tensors, tmp_path / "file.safetensors")
    base = settings(model__base=place / "flux-base")
    export(tmp_path / "file.safetensors", tmp_path / "folder", *base)
    got, wanted = tensors_of(tmp_path / "folder"), tensors_of(place / "flux")
    assert got.keys() == wanted.keys()
    for n, t in wanted.items():
        assert got[n].dtype == (torch.bfloat16 if name in FLOAT8 else dtype) and torch.equal(got[n].float(), t.to(dtype).float()), n
    inputs_of("flux", tmp_path)

    def probe(*model):
        t2i("probe", "forward", "--model", *model, "--inputs", tmp_path / "inputs.safetensors", "--outputs", tmp_path / "out.safetensors")
        return load_file(tmp_path / "out.safetensors")["prediction"]

    assert torch.equal(probe(tmp_path / "file.safetensors", *base), probe(tmp_path / "folder"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_export_in_another_type(place, tmp_path, dtype):
    export(place / "sdxl", tmp_path / "folder", "--dtype", dtype)
    export(place / "sdxl", tmp_path / "file.safetensors", "--dtype", dtype)
    export(tmp_path / "file.safetensors", tmp_path / "back", *settings(model__base=place / "sdxl-base"))
    wanted = {n: t.to(getattr(torch, dtype)) for n, t in tensors_of(place / "sdxl").items()}
    assert_same_tensors(tensors_of(tmp_path / "folder"), wanted)
    assert_same_tensors(tensors_of(tmp_path / "back"), wanted)
    pipe = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "folder", dtype=getattr(torch, dtype))
    assert pipe.text_encoder.dtype == getattr(torch, dtype)


def test_a_folder_without_changes_is_copied(place, tmp_path):
    export(place / "sd15", tmp_path / "folder")
    files = lambda root: {str(p.relative_to(root)): sha256(p) for p in root.rglob("*") if p.is_file() and p.name != "model_index.json"}  # noqa: E731
    assert files(tmp_path / "folder") == files(place / "sd15")
    assert json.loads((tmp_path / "folder/model_index.json").read_text()) == json.loads((place / "sd15/model_index.json").read_text())


def test_what_lies_beside_the_output_stays(place, tmp_path):
    """A name beside the output's is the user's: nothing is overwritten, and nothing is left behind."""
    (tmp_path / "folder.tmp").mkdir()
    (tmp_path / "folder.tmp" / "notes.txt").write_text("mine")
    export(place / "sd15", tmp_path / "folder")
    assert (tmp_path / "folder.tmp" / "notes.txt").read_text() == "mine"
    export(place / "sd15", f"{tmp_path}/slash/")
    assert (tmp_path / "slash" / "model_index.json").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "folder.tmp", "slash"]


def test_weights_that_change_while_they_are_written(place, tmp_path):
    """Also those of a network that the family does not use: what was read may be half of the one and half of the other."""
    model, weights = tmp_path / "model", tmp_path / "model" / "safety_checker" / "model.safetensors"
    shutil.copytree(place / "sd15", model)
    weights.parent.mkdir()
    (weights.parent / "config.json").write_text('{"architectures": ["StableDiffusionSafetyChecker"]}')
    index = json.loads((model / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (model / "model_index.json").write_text(json.dumps(index))
    save_file({f"w{i}": torch.zeros(4 << 20, dtype=torch.float16) for i in range(12)}, weights)  # long enough to be met in the middle
    process = subprocess.Popen([T2I, "export", "--model", model, "--output", tmp_path / "out", "--dtype", "bfloat16"], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list(tmp_path.glob(".out.tmp-*/safety_checker/.*.tmp-*")):
        time.sleep(0.001)
    os.utime(weights)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 74 and "T2I-E4108" in said, said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


def test_a_projection_that_other_programs_would_not_see(tmp_path):
    """CLIP-L's in Stable Diffusion 3, where it is no identity: kept, read back, and said."""
    make_sd3(str(tmp_path / "model"), seed=6)
    done = export(tmp_path / "model", tmp_path / "file.safetensors")
    assert "notice: text_encoders.clip_l.transformer.text_projection.weight is no identity" in done.stderr
    export(tmp_path / "file.safetensors", tmp_path / "folder", *settings(model__base=tmp_path / "model"))
    assert_same_tensors(tensors_of(tmp_path / "folder"), tensors_of(tmp_path / "model"))


def test_what_programs_leave_in_files(place, tmp_path):
    """Buffers, averages and names that are nobody's: those of none of the parts are passed over in silence."""
    tensors = load_file(place / "sd15.safetensors")
    tensors |= {"alphas_cumprod": torch.rand(1000), "model_ema.decay": torch.ones(()), "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None]}
    save_file(tensors, tmp_path / "file.safetensors")
    done = export(tmp_path / "file.safetensors", tmp_path / "folder", *settings(model__base=place / "sd15-base"))
    assert done.stderr == ""
    assert_same_tensors(tensors_of(tmp_path / "folder"), tensors_of(place / "sd15"))
    save_file(tensors | {"model.diffusion_model.stranger": torch.ones(1)}, tmp_path / "file.safetensors")
    inputs_of("sd15", tmp_path)
    done = t2i("probe", "forward", "--model", tmp_path / "file.safetensors", *settings(model__base=place / "sd15-base"), "--inputs",
               tmp_path / "inputs.safetensors", "--outputs", tmp_path / "out.safetensors")
    assert "1 tensors in the weights are not part of the model and were left out: model.diffusion_model.stranger" in done.stderr


def test_help_needs_no_engine():
    done = t2i("export", "--help", env={"LD_DEBUG": "files"})
    assert "libtorch" not in done.stderr and "--format F" in done.stdout
