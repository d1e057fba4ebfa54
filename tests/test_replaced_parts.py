"""model.vae and model.text_encoder: a run or a probe with a part from another folder is the run or probe of a folder that has
that part in its place, to the last bit, and leaves it in final/.

Broken by: the key read by one command and not by the other, the part's configuration taken from one folder and its weights from
another, a final/ with the part that was not used.
"""

import json
import shutil

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from tiny import AS_CAPTIONS, metrics, sd_folder, settings, sha256, t2i, triplet_data

COMMON = settings(data__resolution=16, data__num_workers=1, train__num_threads=1, train__gradient_accumulation_steps=1, train__mixed_precision="fp32",
                  train__train_batch_size=2, train__max_train_steps=2, checkpoint__every_steps=0, validation__every_steps=2, validation__steps=2,
                  validation__prompts="[edit number 3]")
PARTS = ["vae", "text_encoder"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("replaced")
    sd_folder(root / "model")
    other = sd_folder(root / "other", seed=1)
    # A VAE of another width and with another factor: its configuration matters, not only its weights.
    torch.manual_seed(2)
    AutoencoderKL(block_out_channels=(8, 24), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4,
                  norm_num_groups=8, sample_size=16, scaling_factor=0.25).save_pretrained(f"{other}/vae")
    config = root / "other" / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"hidden_act": "gelu"}))
    triplet_data(root / "data", count=8)
    for part in PARTS:
        shutil.copytree(root / "model", root / f"in-place-{part}")
        shutil.rmtree(root / f"in-place-{part}" / part)
        shutil.copytree(root / "other" / part, root / f"in-place-{part}" / part)
    save_file({"pixels": torch.rand(2, 3, 16, 16) * 2 - 1}, root / "pixels.safetensors")
    save_file({"latents": torch.randn(2, 4, 8, 8)}, root / "latents.safetensors")
    return root


def from_another(place, part):
    return settings(**{f"model__{part}": place / "other" / part})


PROBES = {"encode": ("vae", "pixels"), "decode": ("vae", "latents"), "text": ("text_encoder", None)}


@pytest.mark.parametrize("what", PROBES)
def test_probe(place, what):
    part, inputs = PROBES[what]
    given = ["--inputs", place / f"{inputs}.safetensors"] if inputs else ["--prompt", "edit number 3", "--prompt", "a red square"]

    def probe(model, *more):
        output = place / f"{what}.safetensors"
        t2i("probe", what, "--model", place / model, "--outputs", output, *given, *more)
        return load_file(output)

    replaced, in_place, as_it_was = probe("model", *from_another(place, part)), probe(f"in-place-{part}"), probe("model")
    assert replaced.keys() == in_place.keys() and len(replaced) > 0
    for name in replaced:
        assert torch.equal(replaced[name], in_place[name]) and not torch.equal(replaced[name], as_it_was[name]), name


@pytest.mark.parametrize("part", PARTS)
def test_run(place, part):
    def run(output, model, *more):
        t2i("run", "--task", "text", "--model", place / model, "--data", place / "data", "--output", place / output, *COMMON, *AS_CAPTIONS, *more)
        picture = place / output / "validation_images" / "step-0000002" / "000-0.png"
        files = {str(path.relative_to(place / output)): sha256(path) for path in (place / output / "final").rglob("*") if path.is_file()}
        return [m["loss"] for m in metrics(place / output)], sha256(place / output / "checkpoint-2" / "state.safetensors"), sha256(picture), files

    replaced = run(f"run-{part}", "model", *from_another(place, part))
    in_place = run(f"run-in-place-{part}", f"in-place-{part}")
    as_it_was = run(f"run-as-it-was-{part}", "model")
    assert replaced == in_place
    assert all(one != other for one, other in zip(replaced, as_it_was)), "the part makes a difference to each of these"
    for name in ("config.json", {"vae": "diffusion_pytorch_model.safetensors", "text_encoder": "model.safetensors"}[part]):
        assert replaced[3][f"final/{part}/{name}"] == sha256(place / "other" / part / name)


def test_what_is_wrong_with_a_replaced_part_is_told_of_that_part(place):
    """Not of the model's folder, whose own part is sound."""
    damaged = shutil.copytree(place / "model" / "vae", place / "damaged")
    weights = damaged / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    del tensors["encoder.conv_in.weight"]
    save_file(tensors, weights, {"format": "pt"})
    done = t2i("probe", "encode", "--model", place / "model", "--inputs", place / "pixels.safetensors", "--outputs", place / "none.safetensors",
               *settings(model__vae=damaged), code=65)
    assert "[T2I-E2102]" in done.stderr and "encoder.conv_in.weight" in done.stderr
    assert done.stderr.startswith(f"{damaged}"), done.stderr
