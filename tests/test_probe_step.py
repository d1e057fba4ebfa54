"""`t2i probe step` on a small random Stable Diffusion 1 folder made by diffusers: noisy input, target, loss and the gradient
of every parameter, for every loss, against the same step written with diffusers and torch.

Tolerances: inputs and targets 1e-6 (the same few operations); what went through the network 1e-4 relative to the largest
value of each tensor (other kernels, other order of sums).
"""

import os
import subprocess

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.training_utils import compute_snr
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

HERE = os.path.dirname(os.path.abspath(__file__))
T2I = os.path.join(os.environ.get("T2I_BUILD", os.path.join(HERE, "..", "build")), "bin", "t2i")
SCHEDULE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)


def save_folder(folder, prediction_type, in_channels=4):
    torch.manual_seed(0)
    unet = UNet2DConditionModel(sample_size=8, in_channels=in_channels, out_channels=4, block_out_channels=(32, 64), layers_per_block=1,
                                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), attention_head_dim=4,
                                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=32, norm_num_groups=8)
    unet.save_pretrained(os.path.join(folder, "unet"))
    scheduler = DDPMScheduler(prediction_type=prediction_type, **SCHEDULE)
    scheduler.save_pretrained(os.path.join(folder, "scheduler"))
    AutoencoderKL(block_out_channels=(8,), norm_num_groups=4).save_pretrained(os.path.join(folder, "vae"))
    text = CLIPTextConfig(vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    CLIPTextModel(text).save_pretrained(os.path.join(folder, "text_encoder"))
    with open(os.path.join(folder, "model_index.json"), "w") as f:
        pipeline = "StableDiffusionPipeline" if in_channels == 4 else "StableDiffusionInstructPix2PixPipeline"
        f.write('{"_class_name": "%s", "unet": ["diffusers", "UNet2DConditionModel"], "scheduler": ["diffusers", "DDPMScheduler"],'
                ' "vae": ["diffusers", "AutoencoderKL"], "text_encoder": ["transformers", "CLIPTextModel"]}' % pipeline)
    return unet.eval(), scheduler


def step_by_diffusers(unet, scheduler, loss, given, gamma=5.0):
    x, noise, t = given["latents"], given["noise"], given["timesteps"]
    weight = torch.ones(len(x))
    if loss == "rectified_flow":
        sigma = (t / 1000).view(-1, 1, 1, 1)
        noisy, target = (1 - sigma) * x + sigma * noise, noise - x
    else:
        kind = {"epsilon": "epsilon", "v_prediction": "v_prediction", "min_snr": scheduler.config.prediction_type}[loss]
        noisy = scheduler.add_noise(x, noise, t.long())
        target = noise if kind == "epsilon" else scheduler.get_velocity(x, noise, t.long())
        if loss == "min_snr":
            snr = compute_snr(scheduler, t.long())
            weight = torch.stack([snr, gamma * torch.ones_like(t)], dim=1).min(dim=1)[0] / (snr if kind == "epsilon" else snr + 1)
    model_in = torch.cat([noisy, given["image_latents"]], 1) if "image_latents" in given else noisy
    prediction = unet(model_in, t, given["prompt_embeds"]).sample
    per_sample = ((prediction - target) ** 2).mean(dim=(1, 2, 3)) * weight
    unet.zero_grad()
    per_sample.mean().backward()
    out = {"noisy": noisy, "target": target, "prediction": prediction, "loss_per_sample": per_sample, "loss": per_sample.mean()}
    out |= {"grad." + name: p.grad for name, p in unet.named_parameters()}
    return {k: v.detach() for k, v in out.items()}


def probe(folder, given, tmp_path, *options):
    save_file(given, tmp_path / "in.safetensors")
    done = subprocess.run([T2I, "probe", "step", "--model", folder, "--inputs", tmp_path / "in.safetensors", "--outputs",
                           tmp_path / "out.safetensors", "--grads", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return load_file(tmp_path / "out.safetensors")


def compare(got, want):
    assert set(want) <= set(got) and {k for k in got if k.startswith("grad.")} == {k for k in want if k.startswith("grad.")}
    for name, expected in want.items():
        size = float(expected.abs().max())
        near = 1e-6 if name in ("noisy", "target") else 1e-4
        torch.testing.assert_close(got[name], expected, rtol=0, atol=near * max(size, 1e-3), msg=lambda m: f"{name}: {m}")


def inputs(seed, added=False):
    torch.manual_seed(seed)
    given = {"latents": torch.randn(3, 4, 8, 8), "noise": torch.randn(3, 4, 8, 8), "prompt_embeds": torch.randn(3, 7, 32),
             "timesteps": torch.tensor([3.0, 421.0, 987.0])}
    return given | ({"image_latents": torch.randn(3, 4, 8, 8)} if added else {})


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_every_loss_and_the_gradient_of_every_parameter(tmp_path, prediction_type):
    unet, scheduler = save_folder(tmp_path / "model", prediction_type)
    for seed, loss in enumerate(("epsilon", "v_prediction", "min_snr", "rectified_flow")):
        given = inputs(seed)
        compare(probe(tmp_path / "model", given, tmp_path, "--loss", loss), step_by_diffusers(unet, scheduler, loss, given))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_whole_numbers_for_timesteps(tmp_path, dtype):
    """What diffusers draws and people save: the results are those of the same numbers in float32, bit for bit."""
    save_folder(tmp_path / "model", "epsilon")
    given = inputs(3)
    whole = given | {"timesteps": given["timesteps"].to(dtype)}
    for loss in ("epsilon", "v_prediction", "min_snr", "rectified_flow"):
        want = probe(tmp_path / "model", given, tmp_path, "--loss", loss)
        got = probe(tmp_path / "model", whole, tmp_path, "--loss", loss)
        assert all(torch.equal(got[name], want[name]) for name in want), loss
    predictions = []
    for tensors in (given, whole):
        save_file(tensors, tmp_path / "in.safetensors")
        subprocess.run([T2I, "probe", "forward", "--model", tmp_path / "model", "--inputs", tmp_path / "in.safetensors", "--outputs",
                        tmp_path / "out.safetensors"], check=True)
        predictions.append(load_file(tmp_path / "out.safetensors")["prediction"])
    assert torch.equal(*predictions)


def test_options_reach_the_loss(tmp_path):
    unet, scheduler = save_folder(tmp_path / "model", "epsilon")
    given = inputs(9)
    got = probe(tmp_path / "model", given, tmp_path, "--loss", "min_snr", "--set", "loss.gamma=1.5")
    compare(got, step_by_diffusers(unet, scheduler, "min_snr", given, gamma=1.5))
    assert not torch.equal(got["loss"], probe(tmp_path / "model", given, tmp_path, "--loss", "min_snr")["loss"])


def test_a_folder_with_eight_input_channels(tmp_path):
    unet, scheduler = save_folder(tmp_path / "model", "epsilon", in_channels=8)
    given = inputs(4, added=True)
    compare(probe(tmp_path / "model", given, tmp_path, "--loss", "epsilon"), step_by_diffusers(unet, scheduler, "epsilon", given))


def test_a_widened_first_layer_does_not_see_the_picture_yet(tmp_path):
    unet, scheduler = save_folder(tmp_path / "model", "epsilon")
    given = inputs(5, added=True)
    got = probe(tmp_path / "model", given, tmp_path, "--task", "ip2p", "--loss", "epsilon")
    want = step_by_diffusers(unet, scheduler, "epsilon", {k: v for k, v in given.items() if k != "image_latents"})
    torch.testing.assert_close(got["prediction"], want["prediction"], rtol=0, atol=1e-4 * float(want["prediction"].abs().max()))
    assert got["grad.conv_in.weight"].shape == (32, 8, 3, 3) and float(got["grad.conv_in.weight"][:, 4:].abs().max()) > 0


def test_an_option_that_the_loss_does_not_have(tmp_path):
    save_folder(tmp_path / "model", "epsilon")
    save_file(inputs(1), tmp_path / "in.safetensors")
    done = subprocess.run([T2I, "probe", "step", "--model", tmp_path / "model", "--inputs", tmp_path / "in.safetensors", "--outputs",
                           tmp_path / "out.safetensors", "--loss", "min_snr", "--set", "loss.gama=1"], capture_output=True, text=True)
    assert done.returncode == 78 and "gama" in done.stderr and "gamma" in done.stderr
