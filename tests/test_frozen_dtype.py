"""model.dtype: in which precision VAE and text encoder are held during a run, and that what is trained is float32 all the same.

Broken by: the key ignored; an encoder given float32 where its weights are bfloat16; rounding spread to what is trained; a VAE
whose folder says that it needs float32's range held in float16.
"""

import json
import os
import sys

import pytest
from tiny import metrics, settings, sha256, t2i

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden"))
import make_losses  # noqa: E402
from diffusers_losses import losses as losses_by_diffusers  # noqa: E402

# Both sides round alike, layer by layer, so losses agree as they do in float32: 2e-7 was measured over 20 steps, while
# float16 is 4e-5 away from float32 and bfloat16 3e-4. Between those, and with room for the kernels of other CPUs:
NEAR_DIFFUSERS = {"bfloat16": 1e-4, "float16": 1e-5}
UNLIKE_FLOAT32 = {"bfloat16": 2e-4, "float16": 2e-5}
NEAR_FLOAT32 = 2e-3  # bfloat16 keeps 8 bits: 0.4 % of a latent, which moves a mean over thousands of squares far less
VALIDATION = settings(validation__every_steps=20, validation__prompts="[edit number 3]", validation__steps=3)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dtype")
    make_losses.make_inputs(folder)
    set_upcast(folder, False)
    return folder


def set_upcast(root, value):
    path = root / "model" / "vae" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"force_upcast": value}))


def run(root, output, task="ip2p", **changes):
    images = ["--set", f"validation.images=[{root / 'data' / '0-in.png'}]"]
    done = t2i("run", "--task", task, "--loss", make_losses.LOSS[task], "--model", root / "model", "--data", root / "data", "--output", root / output,
               *make_losses.RUN, *VALIDATION, *images, *settings(**changes))
    return [line["loss"] for line in metrics(root / output)], done.stderr


@pytest.fixture(scope="module")
def float32(root):
    losses, said = run(root, "float32")
    assert "held in" not in said
    return losses


def gap(a, b):
    return max(abs(x - y) / abs(y) for x, y in zip(a, b, strict=True))


def picture(root, output):
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(root / output / "validation_images" / "step-0000020" / "000-0.png"), dtype=float)


@pytest.mark.parametrize("dtype", NEAR_DIFFUSERS)
def test_encoders_in_half_precision(root, float32, dtype):
    from safetensors import safe_open

    losses, said = run(root, dtype, model__dtype=dtype)
    # 34,112 and 43,711 weights of two bytes, the buffers aligned
    assert f"held in {dtype}: text_encoder (68.2 kB), vae (87.9 kB)" in said
    theirs = losses_by_diffusers(root, "ip2p", "min_snr", make_losses, dtype, dtype)["loss"]
    assert gap(losses, theirs) < NEAR_DIFFUSERS[dtype]
    assert UNLIKE_FLOAT32[dtype] < gap(losses, float32) < NEAR_FLOAT32
    difference = abs(picture(root, dtype) - picture(root, "float32"))
    assert 0 < difference.mean() < 2.0  # of 255: decoded in half precision too

    with safe_open(root / dtype / "final" / "unet" / "diffusion_pytorch_model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F32"}
    for part in ("vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"):
        assert sha256(root / dtype / "final" / part) == sha256(root / "model" / part)


def test_a_vae_that_needs_range_stays_in_float32(root, float32):
    """diffusers' AutoencoderKL writes force_upcast into its config.json."""
    set_upcast(root, True)
    try:
        losses, said = run(root, "upcast", model__dtype="float16")
        assert "notice: " in said and "/vae is held in float32: it is not made for float16, which model.dtype asks for" in said
        assert "held in float16: text_encoder (68.2 kB)" in said
        theirs = losses_by_diffusers(root, "ip2p", "min_snr", make_losses, "float32", "float16")["loss"]
        assert gap(losses, theirs) < NEAR_DIFFUSERS["float16"]
        assert "held in bfloat16: text_encoder (68.2 kB), vae (87.9 kB)" in run(root, "upcast-bfloat16", model__dtype="bfloat16")[1]
    finally:
        set_upcast(root, False)


def test_auto_is_float32_on_a_cpu(root, float32):
    """There half precision would only cost time; what is computed within a step follows train.mixed_precision."""
    losses, said = run(root, "auto", train__mixed_precision="bf16")
    assert "held in" not in said
    # The first loss sees the same latents and prompts, through a network in bfloat16.
    assert 0 < gap(losses[:1], float32[:1]) < 1e-2
    assert run(root, "same", model__dtype="float32")[0] == float32
