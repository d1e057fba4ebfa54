"""Stable Diffusion XL against diffusers and transformers, part by part through `t2i probe`, on random folders that those libraries wrote: the base, edits, the refiner.

Tolerances as in test_parity_sd15.py: relative to the largest value of the reference, both sides in float32 with the same
kernels but for the order of sums.
"""

import os

import pytest
import torch
from test_parity_sd15 import FORWARD, GRADIENT, PROMPTS, Folder, assert_close, prompts, reference_step

from make_folders import make_sdxl

CASES = {
    "base": dict(),
    # Heads by level, one layer of transformers each, other activations and widths, no zeros for an empty prompt.
    "other": dict(unet=dict(attention_head_dim=[2, 4], transformer_layers_per_block=1, use_linear_projection=False, cross_attention_dim=40,
                            addition_time_embed_dim=4, projection_class_embeddings_input_dim=12 + 24),
                  text=dict(hidden_size=16, num_attention_heads=2), text_2=dict(projection_dim=12, hidden_act="quick_gelu", eos_token_id=699),
                  vae=dict(force_upcast=False), zeros=False, scheduler=dict(prediction_type="v_prediction")),
    "edit": dict(unet=dict(in_channels=8)),
    "refiner": dict(refiner=True),
}


class FolderXL(Folder):
    def __init__(self, root, name):
        self.size, self.root, self.path = (8, 8), root, os.path.join(root, name)
        self.pipeline = make_sdxl(self.path, seed=len(name), **CASES[name])
        self.edits = self.pipeline.unet.config.in_channels == 8
        self.generator = torch.Generator().manual_seed(7)

    def conditioning(self, n=2):
        config, two = self.pipeline.unet.config, self.pipeline.text_encoder_2.config
        sizes = (config.projection_class_embeddings_input_dim - two.projection_dim) // config.addition_time_embed_dim
        step = {"prompt_embeds": self.randn(n, 11, config.cross_attention_dim), "pooled": self.randn(n, two.projection_dim),
                "time_ids": torch.tensor([[512.0, 768.0, 17.0, 0.0, 1024.0, 1000.0]] * n)[:, :sizes] + torch.arange(n)[:, None]}
        if self.edits:
            step["image_latents"] = self.randn(n, config.out_channels, *self.size)
        return step

    def unet(self, latents, timesteps, step):
        if self.edits:
            latents = torch.cat([latents, step["image_latents"]], 1)
        added = {"text_embeds": step["pooled"], "time_ids": step["time_ids"]}
        return self.pipeline.unet(latents, timesteps, step["prompt_embeds"], added_cond_kwargs=added).sample


@pytest.fixture(scope="module", params=CASES)
def folder(request, tmp_path_factory):
    return FolderXL(str(tmp_path_factory.mktemp("sdxl")), request.param)


def test_tokens(folder):
    got = folder.probe("tokens", None, *prompts(*PROMPTS))
    tokenizers = {"tokens": folder.pipeline.tokenizer, "tokens_2": folder.pipeline.tokenizer_2}
    wanted = {name: t(PROMPTS, padding="max_length", max_length=t.model_max_length, truncation=True, return_tensors="pt").input_ids
              for name, t in tokenizers.items() if t}
    assert got.keys() == wanted.keys()
    for name, ids in wanted.items():
        assert torch.equal(got[name], ids), name


@torch.no_grad()
def test_text(folder):
    got = folder.probe("text", None, *prompts(*PROMPTS))
    embeds, _, pooled, _ = folder.pipeline.encode_prompt(PROMPTS, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
    assert_close(got["prompt_embeds"], embeds, FORWARD, "prompt_embeds")
    assert_close(got["pooled"], pooled, FORWARD, "pooled")


@torch.no_grad()
def test_clip_skip(tmp_path):
    """The pipeline for edits has none to compare with."""
    folder = FolderXL(str(tmp_path), "base")
    got = folder.probe("text", None, *prompts(*PROMPTS), "--set", "plugin.clip_skip=1")
    embeds, _, pooled, _ = folder.pipeline.encode_prompt(PROMPTS, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False, clip_skip=1)
    assert_close(got["prompt_embeds"], embeds, FORWARD, "prompt_embeds")
    assert_close(got["pooled"], pooled, FORWARD, "pooled")


@torch.no_grad()
def test_encode_and_decode(folder):
    vae, pixels = folder.pipeline.vae, folder.randn(2, 3, 24, 16).clamp(-1, 1)
    got, posterior = folder.probe("encode", {"pixels": pixels}), vae.encode(pixels).latent_dist
    assert_close(got["latents"], posterior.mode() * vae.config.scaling_factor, FORWARD, "latents")
    assert_close(got["logvar"], posterior.logvar, FORWARD, "logvar")
    latents = folder.randn(2, 4, 6, 4)
    assert_close(folder.probe("decode", {"latents": latents})["pixels"], vae.decode(latents / vae.config.scaling_factor).sample, FORWARD)


@torch.no_grad()
def test_forward(folder):
    step = folder.conditioning(3)
    latents, timesteps = folder.randn(3, 4, *folder.size), torch.tensor([0.0, 417.25, 999.0])
    got = folder.probe("forward", {"latents": latents, "timesteps": timesteps, **step})["prediction"]
    assert_close(got, folder.unet(latents, timesteps, step), FORWARD)


@pytest.mark.parametrize("loss", ["epsilon", "v_prediction", "min_snr", "rectified_flow"])
def test_step_and_every_gradient(folder, loss):
    unet = folder.pipeline.unet
    step = {"latents": folder.randn(2, 4, *folder.size), "noise": folder.randn(2, 4, *folder.size),
            "timesteps": torch.tensor([31.0, 870.0]), **folder.conditioning()}
    got = folder.probe("step", step, "--loss", loss, "--grads")
    noisy, target, weight = reference_step(folder, loss, step)
    unet.zero_grad()
    per_sample = weight * ((folder.unet(noisy, step["timesteps"], step) - target) ** 2).mean((1, 2, 3))
    per_sample.mean().backward()
    assert_close(got["noisy"], noisy, FORWARD, "noisy")
    assert_close(got["loss_per_sample"], per_sample.detach(), FORWARD, "loss_per_sample")
    gradients = {name.removeprefix("grad."): g for name, g in got.items() if name.startswith("grad.")}
    wanted = {name: p.grad for name, p in unet.named_parameters()}
    assert gradients.keys() == wanted.keys()
    least = 1e-3 * max(g.abs().max().item() for g in wanted.values())  # see test_parity_sd15.py
    for name, g in wanted.items():
        assert_close(gradients[name], g, GRADIENT, name, least)
