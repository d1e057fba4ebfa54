"""Stable Diffusion 1.x against diffusers and transformers, part by part through `t2i probe`, on random folders that those
libraries wrote: each configuration key that such folders use takes another value in at least one of them.

Tolerances are relative to the largest value of the reference. Both sides call the same kernels in float32; what differs is
the order of a few sums, one epsilon (6e-8) at a time, which some thirty layers carry to about 1e-6.
"""

import json
import os
import subprocess

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr
from safetensors.torch import load_file, save_file

from make_folders import make_sd15

T2I = os.path.join(os.environ.get("T2I_BUILD", "build"), "bin", "t2i")
PROMPTS = ["", "a photo of an astronaut riding a horse", "Größer, ÉTÉ! it's 4k 🙂 " * 12]
FORWARD = 1e-5
GRADIENT = 1e-4  # a gradient sums over pixels, samples and the whole depth what forward sums once

CASES = {
    "published": dict(tokenizer="published", names="published",
                      unet=dict(block_out_channels=(32, 64, 64), layers_per_block=2,
                                down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
                                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"))),
    # Self-attention levels, a mid block without attention, linear projections, heads by level, GELU everywhere.
    "self_attention": dict(unet=dict(block_out_channels=(16, 32, 48), attention_head_dim=[2, 4, 8], act_fn="gelu",
                                     use_linear_projection=True, mid_block_type="UNetMidBlock2D",
                                     down_block_types=("CrossAttnDownBlock2D", "AttnDownBlock2D", "CrossAttnDownBlock2D"),
                                     up_block_types=("CrossAttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D")),
                           text=dict(hidden_act="gelu", eos_token_id=699, layer_norm_eps=1e-4),
                           vae=dict(block_out_channels=(8, 16, 24), down_block_types=("DownEncoderBlock2D",) * 3,
                                    up_block_types=("UpDecoderBlock2D",) * 3, scaling_factor=0.13025, shift_factor=0.1)),
    # A size that does not divide on the way down, and the other value of every switch.
    "switches": dict(size=(9, 7),
                     unet=dict(block_out_channels=(16, 32, 32), only_cross_attention=[False, True, True],
                               transformer_layers_per_block=2, freq_shift=1, flip_sin_to_cos=False,
                               center_input_sample=True, resnet_time_scale_shift="scale_shift",
                               mid_block_scale_factor=1.5, norm_eps=1e-4, norm_num_groups=4, act_fn="relu",
                               upcast_attention=True, cross_attention_dim=24,
                               down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                               up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")),
                     text=dict(hidden_size=24, num_attention_heads=3, intermediate_size=40, num_hidden_layers=1),
                     vae=dict(use_quant_conv=False, use_post_quant_conv=False, mid_block_add_attention=False,
                              act_fn="gelu", layers_per_block=2)),
    # Lists by level, odd kernels, a time embedding of its own width with activations around, no mid block.
    "lists": dict(unet=dict(layers_per_block=[1, 2], cross_attention_dim=[32, 32], transformer_layers_per_block=[1, 2],
                            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), conv_in_kernel=5,
                            conv_out_kernel=1, downsample_padding=0, time_embedding_dim=40, timestep_post_act="mish",
                            time_embedding_act_fn="silu", act_fn="mish", mid_block_type=None, attention_head_dim=[4, 8]),
                  vae=dict(block_out_channels=(16,), down_block_types=("DownEncoderBlock2D",),
                           up_block_types=("UpDecoderBlock2D",), norm_num_groups=4)),
    # Different depths down and up, heads that do not divide the channels, six latent channels.
    "asymmetric": dict(unet=dict(transformer_layers_per_block=[[1, 2], [2]], layers_per_block=[2, 1], attention_head_dim=3,
                                 reverse_transformer_layers_per_block=[[1, 1], [2, 1, 1]], in_channels=6, out_channels=6,
                                 down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                                 up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D")),
                       vae=dict(latent_channels=6)),
    # A text of another width than the attention's, projected.
    "projected": dict(unet=dict(encoder_hid_dim=48, encoder_hid_dim_type="text_proj"), text=dict(hidden_size=48)),
    "projected_by_default": dict(unet=dict(encoder_hid_dim=40), text=dict(hidden_size=40)),
    # Edits pictures: eight channels in, trained for velocity.
    "edit": dict(unet=dict(in_channels=8), scheduler=dict(prediction_type="v_prediction")),
}


class Folder:
    def __init__(self, root, name):
        options = dict(CASES[name])
        self.size = options.pop("size", (8, 8))
        self.root, self.path = root, os.path.join(root, name)
        self.pipeline = make_sd15(self.path, seed=len(name), **options)
        self.edits = self.pipeline.unet.config.in_channels != self.pipeline.unet.config.out_channels
        self.generator = torch.Generator().manual_seed(7)

    def randn(self, *shape):
        return torch.randn(*shape, generator=self.generator)

    def probe(self, what, inputs=None, *more):
        out, where = os.path.join(self.root, "out.safetensors"), os.path.join(self.root, "in.safetensors")
        arguments = [T2I, "probe", what, "--model", self.path, "--outputs", out, *more]
        if inputs is not None:
            save_file({k: v.contiguous() for k, v in inputs.items()}, where)
            arguments += ["--inputs", where]
        done = subprocess.run(arguments, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "notice" not in done.stderr  # no tensor of the folder was left out
        return load_file(out)

    def conditioning(self, n=2):
        """What the denoiser gets beside the noisy latents."""
        config = self.pipeline.unet.config
        width = self.pipeline.text_encoder.config.hidden_size
        step = {"prompt_embeds": self.randn(n, 11, width)}
        if self.edits:
            step["image_latents"] = self.randn(n, config.out_channels, *self.size)
        return step

    def unet(self, latents, timesteps, step):
        if self.edits:
            latents = torch.cat([latents, step["image_latents"]], 1)
        return self.pipeline.unet(latents, timesteps, step["prompt_embeds"]).sample


@pytest.fixture(scope="module", params=CASES)
def folder(request, tmp_path_factory):
    return Folder(str(tmp_path_factory.mktemp("sd15")), request.param)


def assert_close(got, wanted, tolerance, what="", least=0.0):
    assert got.shape == wanted.shape and got.dtype == wanted.dtype, what
    error = (got - wanted).abs().max().item() / max(wanted.abs().max().item(), least)
    assert error <= tolerance, f"{what}: off by {error:.2e} of the largest value"


def prompts(*texts):
    return [a for t in texts for a in ("--prompt", t)]


def test_tokens(folder):
    got = folder.probe("tokens", None, *prompts(*PROMPTS))["tokens"]
    tokenizer = folder.pipeline.tokenizer
    wanted = tokenizer(PROMPTS, padding="max_length", max_length=tokenizer.model_max_length, truncation=True,
                       return_tensors="pt").input_ids
    assert torch.equal(got, wanted)


@torch.no_grad()
def test_text(folder):
    got = folder.probe("text", None, *prompts(*PROMPTS))["prompt_embeds"]
    encode = getattr(folder.pipeline, "encode_prompt", None)
    if encode:
        wanted = encode(PROMPTS, "cpu", 1, False)[0]
    else:
        wanted = folder.pipeline._encode_prompt(PROMPTS, "cpu", 1, False)
    assert_close(got, wanted, FORWARD)


@torch.no_grad()
def test_clip_skip(folder):
    """As an option of the family, on the command line; one layer fewer, then the final norm, as diffusers' clip_skip=1."""
    got = folder.probe("text", None, *prompts(PROMPTS[0]), "--set", "plugin.clip_skip=1")["prompt_embeds"]
    tokens = folder.probe("tokens", None, *prompts(PROMPTS[0]))["tokens"]
    model = folder.pipeline.text_encoder
    hidden = model(tokens, output_hidden_states=True).hidden_states[-2]
    norm = next(m for name, m in model.named_modules() if name.endswith("final_layer_norm"))
    assert_close(got, norm(hidden), FORWARD)


@torch.no_grad()
def test_encode(folder):
    pixels = folder.randn(2, 3, 24, 16).clamp(-1, 1)
    got = folder.probe("encode", {"pixels": pixels})
    vae = folder.pipeline.vae
    posterior = vae.encode(pixels).latent_dist
    assert_close(got["mean"], posterior.mode(), FORWARD, "mean")
    assert_close(got["logvar"], posterior.logvar, FORWARD, "logvar")
    shift = vae.config.shift_factor or 0
    assert_close(got["latents"], (posterior.mode() - shift) * vae.config.scaling_factor, FORWARD, "latents")


@torch.no_grad()
def test_decode(folder):
    vae = folder.pipeline.vae
    latents = folder.randn(2, vae.config.latent_channels, 6, 4)
    got = folder.probe("decode", {"latents": latents})["pixels"]
    wanted = vae.decode(latents / vae.config.scaling_factor + (vae.config.shift_factor or 0)).sample
    assert_close(got, wanted, FORWARD)


@torch.no_grad()
def test_forward(folder):
    step = folder.conditioning(3)
    latents, timesteps = folder.randn(3, folder.pipeline.unet.config.out_channels, *folder.size), torch.tensor([0.0, 417.25, 999.0])
    got = folder.probe("forward", {"latents": latents, "timesteps": timesteps, **step})["prediction"]
    assert_close(got, folder.unet(latents, timesteps, step), FORWARD)


def reference_step(folder, loss, step):
    """The four objectives, by diffusers' schedulers and formulas: noisy, target, weight of each sample."""
    x, noise, t = step["latents"], step["noise"], step["timesteps"]
    if loss == "rectified_flow":
        sigma = (t / 1000).view(-1, 1, 1, 1)
        return (1 - sigma) * x + sigma * noise, noise - x, torch.ones_like(t)
    keys = {k: v for k, v in folder.pipeline.scheduler.config.items() if k in ("beta_start", "beta_end", "beta_schedule")}
    scheduler = DDPMScheduler(**keys)
    velocity = loss == "v_prediction" or folder.pipeline.scheduler.config.prediction_type == "v_prediction" and loss == "min_snr"
    noisy, t = scheduler.add_noise(x, noise, t.long()), t.long()
    weight = torch.ones(len(t))
    if loss == "min_snr":
        snr = compute_snr(scheduler, t)
        weight = snr.clamp(max=5) / (snr + 1 if velocity else snr)
    return noisy, scheduler.get_velocity(x, noise, t) if velocity else noise, weight


# What is recomputed does not depend on the loss, so one loss shows it.
@pytest.mark.parametrize("loss, recompute", [("epsilon", "false"), ("v_prediction", "false"), ("min_snr", "false"), ("rectified_flow", "false"),
                                             ("epsilon", "true")])
def test_step_and_every_gradient(folder, loss, recompute):
    unet, channels = folder.pipeline.unet, folder.pipeline.unet.config.out_channels
    step = {"latents": folder.randn(2, channels, *folder.size), "noise": folder.randn(2, channels, *folder.size),
            "timesteps": torch.tensor([31.0, 870.0]), **folder.conditioning()}
    got = folder.probe("step", step, "--loss", loss, "--grads", "--set", f"train.gradient_checkpointing={recompute}")

    noisy, target, weight = reference_step(folder, loss, step)
    unet.zero_grad()
    prediction = folder.unet(noisy, step["timesteps"], step)
    per_sample = weight * ((prediction - target) ** 2).mean((1, 2, 3))
    per_sample.mean().backward()
    for name, wanted in dict(noisy=noisy, target=target, prediction=prediction, loss_per_sample=per_sample,
                             loss=per_sample.mean()).items():
        assert_close(got[name], wanted.detach(), FORWARD, name)

    gradients = {name.removeprefix("grad."): g for name, g in got.items() if name.startswith("grad.")}
    wanted = {name: p.grad for name, p in unet.named_parameters()}
    assert gradients.keys() == wanted.keys()
    # The bias of to_k has no gradient but rounding's (softmax does not see a shift): measured against all of them.
    least = 1e-3 * max(g.abs().max().item() for g in wanted.values())
    for name, g in wanted.items():
        assert_close(gradients[name], g, GRADIENT, name, least)


def test_a_text_model_starts_to_edit_where_it_stands(tmp_path):
    """Eight channels of which the new four are zero, its bias kept: the same answer whatever the picture."""
    folder = Folder(str(tmp_path), "published")
    step = {"prompt_embeds": folder.randn(2, 11, 32), "image_latents": folder.randn(2, 4, 8, 8)}
    latents, timesteps = folder.randn(2, 4, 8, 8), torch.tensor([5.0, 700.0])
    got = folder.probe("forward", {"latents": latents, "timesteps": timesteps, **step}, "--task", "ip2p")["prediction"]
    with torch.no_grad():
        assert_close(got, folder.unet(latents, timesteps, step), FORWARD)
    more = {"latents": latents, "noise": folder.randn(2, 4, 8, 8), "timesteps": timesteps, **step}
    grads = folder.probe("step", more, "--task", "ip2p", "--loss", "epsilon", "--grads")
    assert grads["grad.conv_in.weight"].shape == (32, 8, 3, 3) and grads["grad.conv_in.weight"][:, 4:].abs().max() > 0


def refused(folder, part, **changes):
    file = os.path.join(folder, part, "config.json")
    before = open(file).read()
    try:
        json.dump({**json.loads(before), **changes}, open(file, "w"))
        out = os.path.join(folder, "never.safetensors")
        done = subprocess.run([T2I, "probe", "tokens", "--model", folder, "--plugin", "sd15", "--prompt", "x", "--outputs", out],
                              capture_output=True, text=True)
        assert done.returncode == 65 and not os.path.exists(out), done.stderr
        return done.stderr
    finally:
        open(file, "w").write(before)


@pytest.mark.parametrize("part, changes, says", [
    ("unet", {"act_fn": "tanh"}, ["unet/config.json", "'act_fn'", '"tanh"', '"silu"']),
    ("unet", {"down_block_types": ["KDownBlock2D", "DownBlock2D"]}, ["'down_block_types'", "KDownBlock2D", "CrossAttnDownBlock2D"]),
    ("unet", {"new_kind_of_thing": 3}, ["unet/config.json", "'new_kind_of_thing'", "3"]),
    ("unet", {"norm_num_groups": 7}, ["'norm_num_groups'", "7", "32"]),
    ("unet", {"layers_per_block": "two", "dropout": 0.5}, ["'layers_per_block'", '"two"', "'dropout'", "0.5"]),
    ("unet", {"encoder_hid_dim": 32, "encoder_hid_dim_type": "text_image_proj"}, ["'encoder_hid_dim_type'", "text_image_proj", "text_proj"]),
    ("unet", {"encoder_hid_dim_type": "text_proj"}, ["'encoder_hid_dim_type'", "it needs encoder_hid_dim"]),
    ("unet", {"encoder_hid_dim": 32, "cross_attention_dim": [32, 32]}, ["'cross_attention_dim'", "one number for all levels"]),
    ("unet", {"encoder_hid_dim": 40}, ["'hidden_size' is 32", "'encoder_hid_dim' is 40"]),
    ("vae", {"act_fn": "swoosh", "block_out_channels": []}, ["vae/config.json", "swoosh", "'block_out_channels'"]),
    ("text_encoder", {"hidden_act": "relu6", "num_attention_heads": 5}, ["text_encoder/config.json", "relu6", "quick_gelu", "5"]),
    ("text_encoder", {"hidden_size": 40}, ["'hidden_size' is 40", "'cross_attention_dim' is 32"]),
])
def test_what_is_not_supported_is_named(tmp_path_factory, part, changes, says):
    global shared
    if "shared" not in globals():
        shared = os.path.join(str(tmp_path_factory.mktemp("refused")), "model")
        make_sd15(shared)
    message = refused(shared, part, **changes)
    for text in says:
        assert text in message, message
