"""Stable Diffusion 3 and 3.5 against diffusers and transformers, part by part through `t2i probe` and a picture through `t2i
generate`, on random folders that those libraries wrote: with T5 and without, of other sizes everywhere, and one that edits pictures.

Tolerances as in test_parity_sd15.py: relative to the largest value of the reference, both sides in float32 with the same
kernels but for the order of sums.
"""

import os

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from test_parity_sd15 import FORWARD, GRADIENT, PROMPTS, Folder, assert_close, prompts
from tiny import t2i

from make_folders import make_sd3

CASES = {
    "medium": dict(t5={}),
    # As the first release: no norms, no second attention; other widths, patches of one, more places than the picture has.
    "first": dict(transformer=dict(dual_attention_layers=(), qk_norm=None, patch_size=1, num_layers=2, num_attention_heads=2, out_channels=None,
                                   caption_projection_dim=16, pos_embed_max_size=20, joint_attention_dim=60),
                  text_2=dict(hidden_act="quick_gelu", eos_token_id=699)),
    "large": dict(t5=dict(feed_forward_proj="relu", dense_act_fn="relu", num_layers=1, num_heads=3, relative_attention_num_buckets=32), transformer=dict(dual_attention_layers=(0, 2), qk_norm="rms_norm", num_layers=4)),
    # Other widths everywhere, eight latent channels, patches of three, all places of the table.
    "sizes": dict(size=(6, 12), transformer=dict(in_channels=8, out_channels=8, patch_size=3, attention_head_dim=12, num_attention_heads=2,
                                                 caption_projection_dim=24, joint_attention_dim=40, pooled_projection_dim=36, pos_embed_max_size=4,
                                                 sample_size=6),
                  vae=dict(latent_channels=8, shift_factor=-0.2, scaling_factor=1.7), text=dict(hidden_size=16, projection_dim=16),
                  t5=dict(d_model=40), scheduler=dict(shift=1.5)),
    "edit": dict(transformer=dict(in_channels=32, out_channels=16, sample_size=16)),
}
DRAWING = [name for name in CASES if name != "edit"]  # diffusers has no pipeline for editing: tests/test_sd3_end_to_end.py


class Folder3(Folder):
    def __init__(self, root, name):
        options = dict(CASES[name])
        self.size, self.root, self.path = options.pop("size", (8, 6)), root, os.path.join(root, name)
        self.pipeline = make_sd3(self.path, seed=len(name), **options)
        self.channels = self.pipeline.vae.config.latent_channels
        self.edits = self.pipeline.transformer.config.in_channels == 2 * self.channels
        self.generator = torch.Generator().manual_seed(7)

    def conditioning(self, n=2):
        config = self.pipeline.transformer.config
        step = {"prompt_embeds": self.randn(n, 11, config.joint_attention_dim), "pooled": self.randn(n, config.pooled_projection_dim)}
        if self.edits:
            step["image_latents"] = self.randn(n, self.channels, *self.size)
        return step

    def denoiser(self, latents, timesteps, step):
        if self.edits:
            latents = torch.cat([latents, step["image_latents"]], 1)
        return self.pipeline.transformer(latents, step["prompt_embeds"], step["pooled"], timesteps).sample


@pytest.fixture(scope="module", params=CASES)
def folder(request, tmp_path_factory):
    return Folder3(str(tmp_path_factory.mktemp("sd3")), request.param)


def test_tokens(folder):
    pipe = folder.pipeline
    wanted = {"tokens": (pipe.tokenizer, 77), "tokens_2": (pipe.tokenizer_2, 77)}
    if pipe.tokenizer_3 is not None:
        wanted["tokens_3"] = (pipe.tokenizer_3, 256)
    got = folder.probe("tokens", None, *prompts(*PROMPTS))
    assert got.keys() == wanted.keys()
    for name, (tokenizer, length) in wanted.items():
        assert torch.equal(got[name], tokenizer(PROMPTS, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids), name


@torch.no_grad()
def test_text(folder):
    got = folder.probe("text", None, *prompts(*PROMPTS))
    embeds, _, pooled, _ = folder.pipeline.encode_prompt(PROMPTS, PROMPTS, PROMPTS, device="cpu", do_classifier_free_guidance=False)
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


def test_latents_that_are_no_whole_patches_or_too_many(tmp_path):
    """diffusers leaves the rest of an odd side out without a word; nobody would look for it in the picture."""
    folder = Folder3(str(tmp_path), "medium")
    for size, said in [((7, 8), "8 x 7 cannot be cut into patches of 2 x 2"), ((8, 26), "4 x 13 patches")]:
        step = {"latents": folder.randn(1, 16, *size), "timesteps": torch.tensor([1.0]), **folder.conditioning(1)}
        with pytest.raises(AssertionError, match=said):
            folder.probe("forward", step)


@pytest.mark.parametrize("recompute", ["false", "true"])
def test_step_and_every_gradient(folder, recompute):
    transformer = folder.pipeline.transformer
    step = {"latents": folder.randn(2, folder.channels, *folder.size), "noise": folder.randn(2, folder.channels, *folder.size),
            "timesteps": torch.tensor([31.0, 870.0]), **folder.conditioning()}
    got = folder.probe("step", step, "--grads", "--set", f"train.gradient_checkpointing={recompute}")
    sigma = (step["timesteps"] / 1000).view(-1, 1, 1, 1)
    noisy = (1 - sigma) * step["latents"] + sigma * step["noise"]
    transformer.zero_grad()
    per_sample = ((folder.denoiser(noisy, step["timesteps"], step) - (step["noise"] - step["latents"])) ** 2).mean((1, 2, 3))
    per_sample.mean().backward()
    assert_close(got["loss_per_sample"], per_sample.detach(), FORWARD, "loss_per_sample")
    gradients = {name.removeprefix("grad."): g for name, g in got.items() if name.startswith("grad.")}
    wanted = {name: p.grad for name, p in transformer.named_parameters() if p.grad is not None}
    assert gradients.keys() == wanted.keys()  # the table of positions is no parameter
    least = 1e-3 * max(g.abs().max().item() for g in wanted.values())  # see test_parity_sd15.py
    for name, g in wanted.items():
        assert_close(gradients[name], g, GRADIENT, name, least)


@pytest.mark.parametrize("folder", DRAWING, indirect=True)
def test_a_picture(folder, tmp_path):
    height, width = (2 * side for side in folder.size)
    save_file({"latents": folder.randn(1, folder.channels, *folder.size)}, tmp_path / "latents.safetensors")
    t2i("generate", "--model", folder.path, "--prompt", PROMPTS[1], "--negative", "dark", "--guidance", 4, "--steps", 6, "--size", f"{width}x{height}",
        "--latents", tmp_path / "latents.safetensors", "--output", tmp_path / "a.png")
    none = {name: None for name in ("text_encoder_3", "tokenizer_3") if getattr(folder.pipeline, name) is None}
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder.path, **none)
    pipe.set_progress_bar_config(disable=True)
    theirs = pipe(prompt=PROMPTS[1], negative_prompt="dark", guidance_scale=4.0, num_inference_steps=6, height=height, width=width, output_type="np",
                  latents=load_file(tmp_path / "latents.safetensors")["latents"]).images[0]
    assert theirs.std() > 0.02
    # 2 of 255: float32 sums in another order move a value across a rounding border, of which guidance makes more.
    assert np.abs(np.array(Image.open(tmp_path / "a.png")).astype(int) - (theirs * 255).round()).max() <= 2
