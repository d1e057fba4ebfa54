"""model.vae and model.text_encoder: a run, a probe or a picture with a part from another folder is that of a folder that has
that part in its place, to the last bit, and a run leaves it in final/. For every family, and however the part is named.

Broken by: the key read by one command and not by the other, the part's configuration taken from one folder and its weights from
another, a final/ with the part that was not used, or with what else lies in the part's repository.
"""

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import AS_CAPTIONS, metrics, sd_folder, settings, sha256, t2i, triplet_data

from make_folders import make_sd3, make_sdxl

COMMON = settings(data__resolution=16, data__num_workers=1, train__num_threads=1, train__gradient_accumulation_steps=1, train__mixed_precision="fp32",
                  train__train_batch_size=2, train__max_train_steps=2, checkpoint__every_steps=0, validation__every_steps=2, validation__steps=2,
                  validation__prompts="[edit number 3]")
REPLACED = [("sd15", "vae"), ("sd15", "text_encoder"), ("sdxl", "vae"), ("sdxl", "text_encoder_2")]
WEIGHTS = {"vae": "diffusion_pytorch_model.safetensors", "text_encoder": "model.safetensors", "text_encoder_2": "model.safetensors"}


def repository(root, name, source):
    """In the hub's cache, as `hf download` leaves it, with what such repositories hold besides."""
    snapshot = root / "hub" / f"models--org--{name}" / "snapshots" / "0123"
    shutil.copytree(source, snapshot)
    (snapshot / "README.md").write_text("about it")
    (snapshot / f"{name}-original.safetensors").write_bytes(b"the same once more, for other programs")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("replaced")
    sd_folder(root / "sd15")
    make_sdxl(str(root / "sdxl"), seed=3)
    other = sd_folder(root / "other", seed=1)
    # A VAE of another width and with another factor: its configuration matters, not only its weights.
    torch.manual_seed(2)
    AutoencoderKL(block_out_channels=(8, 24), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4,
                  norm_num_groups=8, sample_size=16, scaling_factor=0.25).save_pretrained(f"{other}/vae")
    config = root / "other" / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"hidden_act": "gelu"}))
    make_sdxl(str(root / "other-xl"), seed=4)
    shutil.move(root / "other-xl" / "text_encoder_2", root / "other" / "text_encoder_2")
    triplet_data(root / "data", count=8)
    for family, part in REPLACED:
        in_place = root / f"{family}-in-place-{part}"
        shutil.copytree(root / family, in_place)
        shutil.rmtree(in_place / part)
        shutil.copytree(root / "other" / part, in_place / part)
    repository(root, "one-vae", root / "other" / "vae")
    repository(root, "whole-model", root / "other")
    save_file({"pixels": torch.rand(2, 3, 16, 16) * 2 - 1}, root / "pixels.safetensors")
    save_file({"latents": torch.randn(2, 4, 8, 8)}, root / "latents.safetensors")
    return root


def from_another(place, part):
    return settings(**{f"model__{part}": place / "other" / part})


PROBES = {"encode": ("vae", "pixels"), "decode": ("vae", "latents"), "text": ("text_encoder", None)}


def probe(place, what, model, *more):
    inputs, output = PROBES[what][1], place / f"{what}.safetensors"
    given = ["--inputs", place / f"{inputs}.safetensors"] if inputs else ["--prompt", "edit number 3", "--prompt", "a red square"]
    t2i("probe", what, "--model", place / model, "--outputs", output, *given, *more, env={"HF_HUB_CACHE": str(place / "hub")})
    return load_file(output)


def assert_same(replaced, in_place, as_it_was):
    assert replaced.keys() == in_place.keys() and len(replaced) > 0
    for name in replaced:
        assert torch.equal(replaced[name], in_place[name]) and not torch.equal(replaced[name], as_it_was[name]), name


@pytest.mark.parametrize("what", PROBES)
def test_probe(place, what):
    part = PROBES[what][0]
    assert_same(probe(place, what, "sd15", *from_another(place, part)), probe(place, what, f"sd15-in-place-{part}"), probe(place, what, "sd15"))


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_however_the_vae_is_named(place, family):
    in_place, as_it_was = probe(place, "encode", f"{family}-in-place-vae"), probe(place, "encode", family)
    for vae in (place / "other" / "vae", place / "other", "org/one-vae", "org/whole-model"):
        assert_same(probe(place, "encode", family, *settings(model__vae=vae)), in_place, as_it_was)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_generate(place, family):
    def drawn(model, *more):
        output = place / "picture.png"
        output.unlink(missing_ok=True)
        t2i("generate", "--model", place / model, "--prompt", "a red square", "--output", output, "--size", "16x16", "--steps", 2, *more,
            env={"HF_HUB_CACHE": str(place / "hub")})
        return np.array(Image.open(output))

    replaced, in_place = drawn(family, *settings(model__vae="org/one-vae")), drawn(f"{family}-in-place-vae")
    assert np.array_equal(replaced, in_place) and not np.array_equal(replaced, drawn(family))


def test_a_third_text_encoder_for_a_folder_without_it(tmp_path):
    """With its tokenizer: pictures are those of the folder that has both."""
    make_sd3(str(tmp_path / "with"), t5={})
    make_sd3(str(tmp_path / "without"))
    for part in ("transformer", "vae", "text_encoder", "text_encoder_2"):  # the seeds' order differs between the two
        shutil.rmtree(tmp_path / "without" / part)
        shutil.copytree(tmp_path / "with" / part, tmp_path / "without" / part)

    def drawn(model, *more):
        t2i("generate", "--model", tmp_path / model, "--prompt", "a red square", "--output", tmp_path / "picture.png", "--size", "16x16", "--steps", 2, *more)
        picture = np.array(Image.open(tmp_path / "picture.png"))
        (tmp_path / "picture.png").unlink()
        return picture

    replaced = drawn("without", *settings(model__text_encoder_3=tmp_path / "with" / "text_encoder_3"))
    assert np.array_equal(replaced, drawn("with")) and not np.array_equal(replaced, drawn("without"))


def run(place, output, model, *more, code=0):
    return t2i("run", "--task", "text", "--model", place / model, "--data", place / "data", "--output", place / output, *COMMON, *AS_CAPTIONS, *more,
               code=code, env={"HF_HUB_CACHE": str(place / "hub")})


@pytest.mark.parametrize("family, part", REPLACED)
def test_run(place, family, part):
    def result(output, model, *more):
        run(place, output, model, *more)
        picture = place / output / "validation_images" / "step-0000002" / "000-0.png"
        files = {str(path.relative_to(place / output)): sha256(path) for path in (place / output / "final").rglob("*") if path.is_file()}
        return [m["loss"] for m in metrics(place / output)], sha256(place / output / "checkpoint-2" / "state.safetensors"), sha256(picture), files

    replaced = result(f"run-{family}-{part}", family, *from_another(place, part))
    in_place = result(f"run-{family}-in-place-{part}", f"{family}-in-place-{part}")
    as_it_was = result(f"run-{family}-as-it-was-{part}", family)
    assert replaced == in_place
    assert all(one != other for one, other in zip(replaced, as_it_was)), "the part makes a difference to each of these"
    for name in ("config.json", WEIGHTS[part]):
        assert replaced[3][f"final/{part}/{name}"] == sha256(place / "other" / part / name)


def test_a_model_without_a_vae_and_a_repository_of_one(place):
    """What the run leaves opens in diffusers with the VAE that was used, and holds nothing else of its repository."""
    shutil.copytree(place / "sd15", place / "no-vae")
    shutil.rmtree(place / "no-vae" / "vae")
    index = place / "no-vae" / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"vae": [None, None]}))
    run(place, "run-no-vae", "no-vae", *settings(model__vae="org/one-vae"))
    final = place / "run-no-vae" / "final"
    assert sorted(path.name for path in (final / "vae").iterdir()) == ["config.json", WEIGHTS["vae"]]
    vae = DiffusionPipeline.from_pretrained(final, safety_checker=None).vae
    assert vae.config.scaling_factor == 0.25
    weights = load_file(place / "other" / "vae" / WEIGHTS["vae"])
    assert all(torch.equal(t, weights[name]) for name, t in vae.state_dict().items())


def test_the_variant_is_the_models(place):
    """fp16 files of the model beside a VAE that has plain ones alone."""
    halves = shutil.copytree(place / "sd15", place / "halves")
    for part in ("unet", "text_encoder", "vae"):
        for weights in (halves / part).glob("*.safetensors"):
            save_file({name: t.half() for name, t in load_file(weights).items()}, weights.with_suffix(".fp16.safetensors"), {"format": "pt"})
            weights.unlink()
    variant = settings(model__variant="fp16")
    assert_same(probe(place, "encode", "halves", *variant, *from_another(place, "vae")), probe(place, "encode", "sd15-in-place-vae"),
                probe(place, "encode", "halves", *variant))


def test_going_on_with_another_vae_is_refused(place):
    run(place, "run-changed", "sd15", *from_another(place, "vae"))
    longer = settings(train__max_train_steps=3)
    for now in ([], settings(model__vae=place / "sd15" / "vae")):
        done = run(place, "run-changed", "sd15", *now, *longer, code=78)
        assert "[T2I-E1030]" in done.stderr and "model.vae: is " in done.stderr and "--allow-change model.vae" in done.stderr
    run(place, "run-changed", "sd15", *from_another(place, "vae"), *longer)


def test_what_is_wrong_with_a_replaced_part_is_told_of_that_part(place):
    """Not of the model's folder, whose own part is sound. More of it in errors/run_a_vae_from_elsewhere.txt."""
    damaged = shutil.copytree(place / "sd15" / "vae", place / "damaged")
    weights = damaged / WEIGHTS["vae"]
    tensors = load_file(weights)
    del tensors["encoder.conv_in.weight"]
    save_file(tensors, weights, {"format": "pt"})
    done = t2i("probe", "encode", "--model", place / "sd15", "--inputs", place / "pixels.safetensors", "--outputs", place / "none.safetensors",
               *settings(model__vae=damaged), code=65)
    assert "[T2I-E2102]" in done.stderr and "encoder.conv_in.weight" in done.stderr
    assert done.stderr.startswith(f"{damaged}"), done.stderr
