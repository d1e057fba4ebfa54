"""FLUX.1 against diffusers and transformers, part by part through `t2i probe` and a picture through `t2i generate`, on random
folders that those libraries wrote: dev, schnell, one of other sizes, and one that is controlled by a picture.

Tolerances as in test_parity_sd15.py: relative to the largest value of the reference, both sides in float32 with the same
kernels but for the order of sums.
"""

import json
import os
import subprocess
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler, FluxPipeline
from safetensors.torch import save_file
from test_parity_sd15 import FORWARD, GRADIENT, PROMPTS, T2I, Folder, assert_close, prompts, reference_step

from make_folders import make_flux

CASES = {
    "dev": dict(),
    "schnell": dict(transformer=dict(guidance_embeds=False, num_layers=1, num_single_layers=3, num_attention_heads=3), scheduler={},
                    t5=dict(feed_forward_proj="relu")),
    # Other widths everywhere, eight latent channels, one more that the file names.
    "sizes": dict(size=(4, 14), transformer=dict(in_channels=32, out_channels=32, num_layers=3, num_single_layers=1, attention_head_dim=24,
                                                 num_attention_heads=1, axes_dims_rope=(2, 14, 8), joint_attention_dim=40, pooled_projection_dim=24),
                  vae=dict(latent_channels=8, shift_factor=-0.2, scaling_factor=1.7), text=dict(hidden_size=24, num_attention_heads=3),
                  t5=dict(d_model=40)),
    "edit": dict(transformer=dict(in_channels=128, out_channels=64)),
}


class FolderFlux(Folder):
    def __init__(self, root, name):
        options = dict(CASES[name])
        self.size, self.root, self.path = options.pop("size", (8, 6)), root, os.path.join(root, name)
        self.pipeline = make_flux(self.path, seed=len(name), **options)
        self.config, self.channels = self.pipeline.transformer.config, self.pipeline.vae.config.latent_channels
        self.edits = self.config.in_channels == 8 * self.channels
        self.generator = torch.Generator().manual_seed(7)

    def conditioning(self, n=2):
        step = {"prompt_embeds": self.randn(n, 11, self.config.joint_attention_dim), "pooled": self.randn(n, self.config.pooled_projection_dim)}
        if self.config.guidance_embeds:
            step["guidance"] = torch.tensor([3.5, 1.0, 30.0])[:n]
        if self.edits:
            step["image_latents"] = self.randn(n, self.channels, *self.size)
        return step

    def denoiser(self, latents, timesteps, step):
        """As the pipelines call it: packed, each kind of latents for itself, and unpacked again."""
        n, c, h, w = latents.shape
        packed = [FluxPipeline._pack_latents(x, n, c, h, w) for x in (latents, step.get("image_latents")) if x is not None]
        places = FluxPipeline._prepare_latent_image_ids(n, h // 2, w // 2, "cpu", torch.float32)
        out = self.pipeline.transformer(torch.cat(packed, 2), step["prompt_embeds"], step["pooled"], timesteps / 1000, places,
                                        torch.zeros(step["prompt_embeds"].shape[1], 3), guidance=step.get("guidance")).sample
        return FluxPipeline._unpack_latents(out, h * 8, w * 8, 8)


@pytest.fixture(scope="module", params=CASES)
def folder(request, tmp_path_factory):
    return FolderFlux(str(tmp_path_factory.mktemp("flux")), request.param)


def test_tokens(folder):
    got = folder.probe("tokens", None, *prompts(*PROMPTS))
    assert got.keys() == {"tokens", "tokens_2"}
    for name, tokenizer, length in [("tokens", folder.pipeline.tokenizer, 77), ("tokens_2", folder.pipeline.tokenizer_2, 512)]:
        wanted = tokenizer(PROMPTS, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
        assert torch.equal(got[name], wanted), name


@torch.no_grad()
@pytest.mark.parametrize("length", [512, 16])
def test_text(folder, length):
    got = folder.probe("text", None, *prompts(*PROMPTS), "--set", f"plugin.t5_length={length}")
    embeds, pooled, _ = folder.pipeline.encode_prompt(PROMPTS, device="cpu", max_sequence_length=length)
    assert_close(got["prompt_embeds"], embeds, FORWARD, "prompt_embeds")
    assert_close(got["pooled"], pooled, FORWARD, "pooled")


@torch.no_grad()
def test_encode_and_decode(folder):
    vae, pixels = folder.pipeline.vae, folder.randn(2, 3, 24, 16).clamp(-1, 1)
    got, posterior = folder.probe("encode", {"pixels": pixels}), vae.encode(pixels).latent_dist
    assert_close(got["latents"], (posterior.mode() - vae.config.shift_factor) * vae.config.scaling_factor, FORWARD, "latents")
    assert_close(got["logvar"], posterior.logvar, FORWARD, "logvar")
    latents = folder.randn(2, folder.channels, 6, 4)
    wanted = vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor).sample
    assert_close(folder.probe("decode", {"latents": latents})["pixels"], wanted, FORWARD)


@torch.no_grad()
def test_forward(folder):
    step = folder.conditioning(3)
    latents, timesteps = folder.randn(3, folder.channels, *folder.size), torch.tensor([0.0, 417.25, 999.0])
    got = folder.probe("forward", {"latents": latents, "timesteps": timesteps, **step})["prediction"]
    assert_close(got, folder.denoiser(latents, timesteps, step), FORWARD)


@torch.no_grad()
def test_places_far_from_the_corner(tmp_path):
    """Angles in float32 would be off by more than the tolerance here."""
    folder = FolderFlux(str(tmp_path), "dev")
    step = folder.conditioning(1)
    latents, timesteps = folder.randn(1, 16, 2, 512), torch.tensor([500.0])
    got = folder.probe("forward", {"latents": latents, "timesteps": timesteps, **step})["prediction"]
    assert_close(got, folder.denoiser(latents, timesteps, step), FORWARD)


@torch.no_grad()
def test_guidance_is_an_option_where_the_step_has_none(tmp_path):
    folder = FolderFlux(str(tmp_path), "dev")
    step = {"latents": folder.randn(2, 16, *folder.size), "timesteps": torch.tensor([900.0, 10.0]), **folder.conditioning()}
    without = {k: v for k, v in step.items() if k != "guidance"}
    for options, guidance in [((), 3.5), (("--set", "plugin.guidance=7"), 7.0)]:
        wanted = folder.denoiser(step["latents"], step["timesteps"], {**step, "guidance": torch.full((2,), guidance)})
        assert_close(folder.probe("forward", without, *options)["prediction"], wanted, FORWARD)


class Discrete:
    """The schedule that losses of diffusion take where a folder has only that of a flow: Stable Diffusion 1's."""

    pipeline = SimpleNamespace(scheduler=DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"))


# What is recomputed does not depend on the loss, so one loss shows it.
@pytest.mark.parametrize("loss, recompute", [("rectified_flow", "false"), ("rectified_flow", "true"), ("epsilon", "false"), ("v_prediction", "false"),
                                             ("min_snr", "false")])
def test_step_and_every_gradient(folder, loss, recompute):
    transformer = folder.pipeline.transformer
    step = {"latents": folder.randn(2, folder.channels, *folder.size), "noise": folder.randn(2, folder.channels, *folder.size),
            "timesteps": torch.tensor([31.0, 870.0]), **folder.conditioning()}
    got = folder.probe("step", step, "--loss", loss, "--grads", "--set", f"train.gradient_checkpointing={recompute}")
    noisy, target, weight = reference_step(Discrete, loss, step)
    transformer.zero_grad()
    per_sample = weight * ((folder.denoiser(noisy, step["timesteps"], step) - target) ** 2).mean((1, 2, 3))
    per_sample.mean().backward()
    assert_close(got["noisy"], noisy, FORWARD, "noisy")
    assert_close(got["loss_per_sample"], per_sample.detach(), FORWARD, "loss_per_sample")
    gradients = {name.removeprefix("grad."): g for name, g in got.items() if name.startswith("grad.")}
    wanted = {name: p.grad for name, p in transformer.named_parameters()}
    assert gradients.keys() == wanted.keys()
    least = 1e-3 * max(g.abs().max().item() for g in wanted.values())  # see test_parity_sd15.py
    for name, g in wanted.items():
        assert_close(gradients[name], g, GRADIENT, name, least)


@pytest.mark.parametrize("name", ["dev", "schnell"])
def test_widened_for_edits_it_begins_as_the_base_model(tmp_path, name):
    """Twice the features in, those of the picture by weights of zero that learn; configurations without out_channels."""
    folder = FolderFlux(str(tmp_path), name)
    step = {"latents": folder.randn(2, 16, *folder.size), "noise": folder.randn(2, 16, *folder.size),
            "timesteps": torch.tensor([31.0, 870.0]), **folder.conditioning()}
    base = folder.probe("step", step, "--grads")
    step["image_latents"] = folder.randn(2, 16, *folder.size)
    wide = folder.probe("step", step, "--grads", "--task", "ip2p")
    assert_close(wide["prediction"], base["prediction"], FORWARD, "prediction")
    old, new = wide["grad.x_embedder.weight"].split(64, 1)
    assert_close(old.contiguous(), base["grad.x_embedder.weight"], GRADIENT, "x_embedder")
    assert new.shape == old.shape and new.abs().max() > 0.01 * old.abs().max()
    assert wide["grad.proj_out.weight"].shape == base["grad.proj_out.weight"].shape


REFUSED = {
    "patch_size": 2, "in_channels": 66, "out_channels": 256, "num_layers": 0, "attention_head_dim": 0, "num_attention_heads": "24", "guidance_embeds": 1,
    "axes_dims_rope": [4, 6, 8], "joint_attention_dim": None, "pooled_projection_dim": -1, "num_single_layers": 1.5, "qk_norm": "layer_norm",
}


@pytest.mark.parametrize("key", REFUSED)
def test_what_is_not_supported_is_named(tmp_path, key):
    make_flux(str(tmp_path / "model"))
    path = tmp_path / "model" / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: REFUSED[key]}))
    save_file({"latents": torch.zeros(1, 16, 4, 4)}, tmp_path / "in.safetensors")
    done = subprocess.run([T2I, "probe", "forward", "--model", tmp_path / "model", "--inputs", tmp_path / "in.safetensors", "--outputs",
                           tmp_path / "out.safetensors"], capture_output=True, text=True)
    assert done.returncode != 0 and f"transformer/config.json: '{key}' is {json.dumps(REFUSED[key], separators=(',', ':'))}" in done.stderr, done.stderr


def test_parts_of_other_widths_and_latents_that_cannot_be_packed(tmp_path):
    folder = FolderFlux(str(tmp_path), "dev")
    step = {"latents": folder.randn(1, 16, 7, 8), "timesteps": torch.tensor([1.0]), **folder.conditioning(1)}
    with pytest.raises(AssertionError, match="8 x 7 cannot be packed"):
        folder.probe("forward", step)
    for part, key in [("text_encoder", "pooled_projection_dim"), ("text_encoder_2", "joint_attention_dim"), ("vae", "out_channels")]:
        other = make_flux(str(tmp_path / part), seed=1)
        path = os.path.join(str(tmp_path / part), part, "config.json")
        config = json.load(open(path))
        config[{"text_encoder": "hidden_size", "text_encoder_2": "d_model", "vae": "latent_channels"}[part]] = 8
        json.dump(config, open(path, "w"))
        folder.path = str(tmp_path / part)
        with pytest.raises(AssertionError, match=f"transformer/config.json: '{key}'"):
            folder.probe("forward", step)
        del other
