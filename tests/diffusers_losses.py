"""The run of golden/make_losses.py once more, with nothing of t2i: diffusers, transformers, PIL, torch's AdamW and
diffusers' learning rates. What t2i promises of its draws (core/base/philox.h, core/base/rng.h) is written here a second
time: Philox4x32-10 keyed by (seed, step, sample, stream), Box-Muller, and the order of rows by a Feistel network.
"""

import json
import pathlib

import numpy as np

M32 = 0xFFFFFFFF


def philox(key, block):
    """Salmon et al. 2011, figure 4; Random123's constants. `key` is (seed, step, sample, stream); four words."""
    seed, step, sample, stream = key
    counter = [block, sample & M32, step & M32, stream]
    k0, k1 = (seed & M32) ^ (sample >> 32) * 0x85EBCA6B & M32, (seed >> 32) ^ (step >> 32) * 0xC2B2AE35 & M32
    for _ in range(10):
        p0, p1 = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(p1 >> 32) ^ counter[1] ^ k0, p1 & M32, (p0 >> 32) ^ counter[3] ^ k1, p0 & M32]
        k0, k1 = k0 + 0x9E3779B9 & M32, k1 + 0xBB67AE85 & M32
    return counter


def stream(name):
    """FNV-1a."""
    h = 2166136261
    for c in name.encode():
        h = (h ^ c) * 16777619 & M32
    return h


def words(key, name, count):
    return np.array([w for block in range((count + 3) // 4) for w in philox((*key, stream(name)), block)], dtype=np.int64)[:count]


def uniform(key, name, count=1):
    return (words(key, name, count) >> 8) / 2.0**24


def normal(key, name, shape):
    count = int(np.prod(shape))
    w = words(key, name, count + count % 2).reshape(-1, 2)
    radius = np.sqrt(-2 * np.log(((w[:, 0] >> 8) + 1) / 2.0**24))
    angle = 2 * np.pi * ((w[:, 1] >> 8) / 2.0**24)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(-1)[:count].reshape(shape).astype(np.float32)


def shuffled(index, n, seed, epoch):
    half = (int(n - 1).bit_length() + 1) // 2
    x = index
    while True:
        left, right = x >> half, x & (1 << half) - 1
        for turn in range(6):
            f = philox((seed, epoch, right, stream("order") + turn & M32), 0)
            left, right = right, left ^ (f[1] << 32 | f[0]) & (1 << half) - 1
        x = left << half | right
        if x < n:
            return x


def pixels(path, flip):
    from PIL import Image

    picture = np.asarray(Image.open(path), dtype=np.float32)
    return (picture[:, ::-1] if flip else picture).transpose(2, 0, 1) / 127.5 - 1


def losses(root, task, loss, plan, vae_dtype="float32", text_dtype="float32", optimizer=None, schedule="cosine"):
    """Loss and gradient norm of each step; `plan` holds the constants of make_losses.py. `optimizer` makes one of parameters."""
    import torch
    from diffusers import DDPMScheduler, StableDiffusionPipeline
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
    from diffusers.optimization import get_scheduler
    from diffusers.training_utils import compute_snr

    pipe = StableDiffusionPipeline.from_pretrained(root / "model", safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    unet, vae, noising = pipe.unet, pipe.vae, DDPMScheduler.from_config(pipe.scheduler.config)
    rows = [json.loads(line) for line in (pathlib.Path(root) / "data" / "metadata.jsonl").read_text().splitlines()]
    if task == "ip2p":  # four more channels, zero at first
        first = unet.conv_in
        unet.conv_in = torch.nn.Conv2d(8, first.out_channels, 3, padding=1)
        with torch.no_grad():
            unet.conv_in.weight.zero_()
            unet.conv_in.weight[:, :4] = first.weight
            unet.conv_in.bias.copy_(first.bias)
    vae.to(getattr(torch, vae_dtype))
    pipe.text_encoder.to(getattr(torch, text_dtype))
    unet.train()
    if optimizer is None:
        optimizer = torch.optim.AdamW(unet.parameters(), lr=plan.LEARNING_RATE, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8)
    else:
        optimizer = optimizer(unet.parameters())
        if hasattr(optimizer, "train"):
            optimizer.train()
    rates = None if optimizer.defaults.get("lr") is None else get_scheduler(schedule, optimizer, num_warmup_steps=plan.WARMUP, num_training_steps=plan.STEPS)

    @torch.no_grad()
    def prompt_embeds(text):
        tokens = pipe.tokenizer(text, padding="max_length", truncation=True, max_length=pipe.tokenizer.model_max_length, return_tensors="pt")
        return pipe.text_encoder(tokens.input_ids)[0].float()

    @torch.no_grad()
    def sample(key):
        """latents, prompt, source, noise and timestep of one sample."""
        _, _, at = key
        row = rows[shuffled(at % len(rows), len(rows), plan.SEED, at // len(rows))]
        flip = uniform(key, "flip")[0] < 0.5
        def posterior(column):
            picture = torch.from_numpy(pixels(root / "data" / row[column], flip).copy())[None]
            return DiagonalGaussianDistribution(vae.encode(picture.to(vae.dtype)).latent_dist.parameters.float())
        target = posterior("output_image")
        latents = (target.mean + target.std * torch.from_numpy(normal(key, "posterior", target.mean.shape[1:]))) * vae.config.scaling_factor
        text, source = row["instruction"], None
        p, d = uniform(key, "conditioning_dropout")[0], 0.15
        if task == "ip2p":
            source = posterior("input_image").mode() * (0 if d <= p < 3 * d else 1)
            d *= 2
        return (latents, prompt_embeds("" if p < d else text), source, torch.from_numpy(normal(key, "noise", latents.shape[1:]))[None],
                int(uniform(key, "timesteps")[0] * 1000))

    seen = {"loss": [], "grad_norm": []}
    for step in range(plan.STEPS):
        total = 0.0
        for k in range(plan.ACCUMULATE):
            positions = [(step * plan.ACCUMULATE + k) * plan.BATCH + i for i in range(plan.BATCH)]
            latents, prompts, sources, noise, timesteps = zip(*(sample((plan.SEED, step, at)) for at in positions))
            noise, timesteps = torch.cat(noise), torch.tensor(timesteps)
            noisy = noising.add_noise(torch.cat(latents), noise, timesteps)
            if task == "ip2p":
                noisy = torch.cat([noisy, torch.cat(sources)], 1)
            error = (unet(noisy, timesteps, torch.cat(prompts)).sample - noise).square().mean([1, 2, 3])
            if loss == "min_snr":
                snr = compute_snr(noising, timesteps)
                error = error * snr.clamp(max=5) / snr
            (error.mean() / plan.ACCUMULATE).backward()
            total += error.mean().item() / plan.ACCUMULATE
        seen["loss"].append(total)
        seen["grad_norm"].append(torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0).item())
        optimizer.step()
        if rates:
            rates.step()
        optimizer.zero_grad()
    return seen
