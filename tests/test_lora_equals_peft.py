"""LoRA, rsLoRA and DoRA against peft on the same weights: what `t2i probe` predicts with an adapter beside the denoiser, and
the gradient of every factor. The adapters are peft's own, in files that diffusers wrote, alpha in the header.

Tolerance: 2e-4 of each tensor's largest value; sums in another order in float32, once through the network with adapters
several times as large as trained ones are.

Broken by: a scale that is not alpha / rank, a factor transposed or of another layer, a gradient that reaches a frozen
weight or misses a factor, DoRA's length differentiated, a convolution's stride or padding not the layer's.
"""

import diffusers
import pytest
import torch
from lora import add_random_adapter, denoiser_of, save_by_diffusers
from safetensors.torch import load_file, save_file
from tiny import settings, t2i

from make_folders import make_flux, make_sd15, make_sd3, make_sdxl

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
JOINT = [*ATTENTION, "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"]
CONVOLUTIONS = [*ATTENTION, "conv1", "conv2", "conv_shortcut", "conv", "conv_in", "conv_out", "time_emb_proj", "proj_in", "proj_out", "linear_1", "linear_2"]
# patterns of t2i that mean the same layers
PATTERNS = {"conv": '["*.to_q.*", "*.to_k.*", "*.to_v.*", "*.to_out.*", "*conv*.weight", "*time_emb_proj*", "*proj_in*", "*proj_out*", "*linear_*"]'}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("peft")
    for name, make in {"sd15": make_sd15, "sdxl": make_sdxl, "sd3": make_sd3, "flux": make_flux}.items():
        make(str(root / name), seed=len(name))
    return root


def inputs(family):
    torch.manual_seed(11)
    channels, width = {"sd15": (4, 32), "sdxl": (4, 56), "sd3": (16, 64), "flux": (16, 64)}[family]
    given = {"latents": torch.randn(2, channels, 8, 8), "noise": torch.randn(2, channels, 8, 8), "prompt_embeds": torch.randn(2, 7, width),
             "timesteps": torch.tensor([121.0, 803.0])}
    if family == "sdxl":
        given |= {"pooled": torch.randn(2, 20), "time_ids": torch.tensor([[16.0, 16, 0, 0, 16, 16]]).repeat(2, 1)}
    if family == "sd3":
        given |= {"pooled": torch.randn(2, 32)}
    if family == "flux":
        given |= {"pooled": torch.randn(2, 32), "guidance": torch.full((2,), 3.5)}
    return given


def by_peft(family, pipe, given):
    model, x, noise, t = denoiser_of(pipe), given["latents"], given["noise"], given["timesteps"]
    if family in ("sd15", "sdxl"):
        noisy, target = diffusers.DDPMScheduler.from_config(pipe.scheduler.config).add_noise(x, noise, t.long()), noise
        more = {"added_cond_kwargs": {"text_embeds": given["pooled"], "time_ids": given["time_ids"]}} if family == "sdxl" else {}
        prediction = model(noisy, t, given["prompt_embeds"], **more).sample
    else:
        sigma = (t / 1000).view(-1, 1, 1, 1)
        noisy, target = (1 - sigma) * x + sigma * noise, noise - x
        if family == "sd3":
            prediction = model(hidden_states=noisy, timestep=t, encoder_hidden_states=given["prompt_embeds"], pooled_projections=given["pooled"]).sample
        else:
            packed = pipe._pack_latents(noisy, 2, 16, 8, 8)
            ids = pipe._prepare_latent_image_ids(2, 4, 4, "cpu", torch.float32)
            out = model(hidden_states=packed, timestep=t / 1000, guidance=given["guidance"], pooled_projections=given["pooled"],
                        encoder_hidden_states=given["prompt_embeds"], txt_ids=torch.zeros(7, 3), img_ids=ids).sample
            prediction = pipe._unpack_latents(out, 16, 16, 2)
    loss = ((prediction - target) ** 2).mean()
    loss.backward()
    out = {"prediction": prediction.detach(), "loss": loss.detach()}
    for name, p in model.named_parameters():
        if p.requires_grad:
            layer = name.replace(".default", "").removesuffix(".weight") if "magnitude" in name else name.replace(".default", "")
            out["grad." + layer] = p.grad.reshape(-1) if "magnitude" in name else p.grad
        else:
            assert p.grad is None
    return out


CASES = {
    "sd15": ("sd15", ATTENTION, {}, {"lora__targets": "attention"}),
    "sd15-convolutions": ("sd15", CONVOLUTIONS, {}, {"lora__targets": PATTERNS["conv"]}),
    "sd15-rslora": ("sd15", ATTENTION, {"use_rslora": True}, {"lora__targets": "attention", "lora__use_rslora": "true"}),
    "sd15-dora": ("sd15", ATTENTION, {"use_dora": True}, {"lora__targets": "attention", "lora__use_dora": "true"}),
    "sd15-dora-convolutions": ("sd15", ["conv1", "conv2"], {"use_dora": True}, {"lora__targets": '["*.conv1.*", "*.conv2.*"]', "lora__use_dora": "true"}),
    "sd15-out": ("sd15", ["to_out.0"], {}, {"lora__targets": "attention_out"}),
    "sdxl": ("sdxl", ATTENTION, {}, {"lora__targets": "attention"}),
    "sd3": ("sd3", JOINT, {}, {"lora__targets": "attention"}),
    "flux": ("flux", JOINT, {}, {"lora__targets": "attention"}),
    "flux-dora": ("flux", JOINT, {"use_dora": True}, {"lora__targets": "attention", "lora__use_dora": "true"}),
}


@pytest.mark.parametrize("name", CASES)
def test_predictions_and_gradients(name, folders, tmp_path):
    family, targets, config, sets = CASES[name]
    without_t5 = {"text_encoder_3": None, "tokenizer_3": None} if family == "sd3" else {}
    pipe = diffusers.DiffusionPipeline.from_pretrained(folders / family, **without_t5)
    add_random_adapter(denoiser_of(pipe), targets, **config)
    adapter = save_by_diffusers(pipe, tmp_path)
    given = inputs(family)
    want = by_peft(family, pipe, given)
    save_file(given, tmp_path / "in.safetensors")
    loss = ["--loss", "epsilon"] if family in ("sd15", "sdxl") else []
    t2i("probe", "step", "--model", folders / family, "--inputs", tmp_path / "in.safetensors", "--outputs", tmp_path / "out.safetensors", "--grads", *loss,
        *settings(lora__rank=4, lora__alpha=8, lora__init_from=adapter, **sets))
    got = load_file(tmp_path / "out.safetensors")
    assert {k for k in got if k.startswith("grad.")} == {k for k in want if k.startswith("grad.")}
    idle = [key for key, expected in want.items() if not expected.any()]
    assert len(idle) <= (2 if family == "sd3" else 0), "of the last block's text only keys and values are looked at"
    for key, expected in want.items():
        size = max(float(expected.abs().max()), 1e-6)
        torch.testing.assert_close(got[key], expected, rtol=0, atol=2e-4 * size, msg=lambda m: f"{key}: {m}")
    base = tmp_path / "base.safetensors"
    t2i("probe", "forward", "--model", folders / family, "--inputs", tmp_path / "in.safetensors", "--outputs", base)
    t2i("probe", "forward", "--model", folders / family, "--inputs", tmp_path / "in.safetensors", "--outputs", tmp_path / "with.safetensors",
        *settings(lora__rank=4, lora__alpha=8, lora__init_from=adapter, **sets))
    change = (load_file(base)["prediction"] - load_file(tmp_path / "with.safetensors")["prediction"]).abs().max()
    assert change > 1e-2, "an adapter that does nothing would agree with anything"


def test_a_new_adapter_begins_as_pefts(folders, tmp_path):
    """B is zero, so that step 0 is the base model; A is uniform in ±1/sqrt(inputs), which peft's Kaiming initialisation with a =
    sqrt(5) comes to. The draws are our own: their spread is compared, by the largest and the mean of squares."""
    save_file(inputs("sd15"), tmp_path / "in.safetensors")
    probe = ["probe", "step", "--model", folders / "sd15", "--inputs", tmp_path / "in.safetensors", "--loss", "epsilon"]
    t2i(*probe, "--outputs", tmp_path / "base.safetensors")
    t2i(*probe, "--outputs", tmp_path / "new.safetensors", "--grads", *settings(lora__rank=8, lora__targets="all"))
    base, new = (load_file(tmp_path / f"{name}.safetensors") for name in ("base", "new"))
    assert torch.equal(base["prediction"], new["prediction"])
    for name, grad in new.items():
        if ".lora_A." in name:
            assert not grad.any(), "nothing reaches A through a B of zeros"
        if ".lora_B." in name:
            assert grad.any(), name
