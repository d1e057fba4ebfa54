"""Stable Diffusion 3 and 3.5 against diffusers and transformers, part by part through `t2i probe` and a picture through `t2i
generate`, on random folders that those libraries wrote, with T5 and without.

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
    "first": dict(transformer=dict(dual_attention_layers=(), qk_norm=None, patch_size=1, num_layers=2, num_attention_heads=2,
                                   caption_projection_dim=16, pos_embed_max_size=20, joint_attention_dim=60),
                  text_2=dict(hidden_act="quick_gelu", eos_token_id=699)),
    "large": dict(t5=dict(feed_forward_proj="relu", dense_act_fn="relu", num_layers=1, num_heads=3, relative_attention_num_buckets=32), transformer=dict(dual_attention_layers=(0, 2), qk_norm="rms_norm", num_layers=4)),
}


class Folder3(Folder):
    def __init__(self, root, name):
        self.size, self.root, self.path = (8, 6), root, os.path.join(root, name)
        self.pipeline = make_sd3(self.path, seed=len(name), **CASES[name])
        self.generator = torch.Generator().manual_seed(7)

    def conditioning(self, n=2):
        config = self.pipeline.transformer.config
        return {"prompt_embeds": self.randn(n, 11, config.joint_attention_dim), "pooled": self.randn(n, config.pooled_projection_dim)}

    def denoiser(self, latents, timesteps, step):
        return self.pipeline.transformer(latents, step["prompt_embeds"], step["pooled"], timesteps).sample


@pytest.fixture(scope="module", params=CASES)
def folder(request, tmp_path_factory):
    return Folder3(str(tmp_path_factory.mktemp("sd3")), request.param)


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
    latents = folder.randn(2, 16, 6, 4)
    wanted = vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor).sample
    assert_close(folder.probe("decode", {"latents": latents})["pixels"], wanted, FORWARD)


@torch.no_grad()
def test_forward(folder):
    step = folder.conditioning(3)
    latents, timesteps = folder.randn(3, 16, *folder.size), torch.tensor([0.0, 417.25, 999.0])
    got = folder.probe("forward", {"latents": latents, "timesteps": timesteps, **step})["prediction"]
    assert_close(got, folder.denoiser(latents, timesteps, step), FORWARD)


@pytest.mark.parametrize("recompute", ["false", "true"])
def test_step_and_every_gradient(folder, recompute):
    transformer = folder.pipeline.transformer
    step = {"latents": folder.randn(2, 16, *folder.size), "noise": folder.randn(2, 16, *folder.size),
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


def test_a_picture(folder, tmp_path):
    save_file({"latents": folder.randn(1, 16, 8, 8)}, tmp_path / "latents.safetensors")
    t2i("generate", "--model", folder.path, "--prompt", PROMPTS[1], "--negative", "dark", "--guidance", 4, "--steps", 6, "--size", "16x16",
        "--latents", tmp_path / "latents.safetensors", "--output", tmp_path / "a.png")
    none = {name: None for name in ("text_encoder_3", "tokenizer_3") if getattr(folder.pipeline, name) is None}
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder.path, **none)
    pipe.set_progress_bar_config(disable=True)
    theirs = pipe(prompt=PROMPTS[1], negative_prompt="dark", guidance_scale=4.0, num_inference_steps=6, height=16, width=16, output_type="np",
                  latents=load_file(tmp_path / "latents.safetensors")["latents"]).images[0]
    assert theirs.std() > 0.02
    # 2 of 255: float32 sums in another order move a value across a rounding border, of which guidance makes more.
    assert np.abs(np.array(Image.open(tmp_path / "a.png")).astype(int) - (theirs * 255).round()).max() <= 2
