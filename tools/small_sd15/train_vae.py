"""Trains the small VAE: mean squared error with a light KL term, so that the latents stay smooth enough to diffuse."""

import math
import time

import torch
from parts import new_vae
from pictures import scenes_for_vae, to_pixels

KL_WEIGHT = 1e-4  # per latent value, against the mean squared error per pixel value
LEARNING_RATE = 2e-3
BATCH = 16


def train_vae(steps, seed=1, report=print):
    """Returns the VAE in evaluation mode with its scaling factor set to 1 / (standard deviation of the latents)."""
    torch.manual_seed(seed)
    vae, data = new_vae(), scenes_for_vae(12000, seed)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    start = time.time()
    for step in range(steps):
        pixels = to_pixels(data[torch.randint(len(data), (BATCH,))])
        posterior = vae.encode(pixels).latent_dist
        error = (vae.decode(posterior.sample()).sample - pixels).square().mean()
        kl = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).mean()
        loss = error + KL_WEIGHT * kl
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 200 == 0 or step + 1 == steps:
            decibels = 10 * math.log10(4 / error.item())
            report(f"vae step {step} {decibels:.1f} dB kl {kl.item():.2f} {time.time() - start:.0f} s")
    vae.eval()
    vae.register_to_config(scaling_factor=round(1 / latents_of(vae, data[:2000]).std().item(), 5))
    return vae


@torch.no_grad()
def latents_of(vae, bytes_BCHW, sampled=True):
    """Unscaled latents, a sample of the posterior or its mode."""
    parts = []
    for part in bytes_BCHW.split(250):
        posterior = vae.encode(to_pixels(part)).latent_dist
        parts.append(posterior.sample() if sampled else posterior.mode())
    return torch.cat(parts)
