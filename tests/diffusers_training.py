"""Training runs with text encoders in them, with nothing of t2i: diffusers, transformers and an optimizer of torch's with a
group of parameters for each part. Draws are those of diffusers_losses.py.
"""

import json
import types

import diffusers
import torch
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from diffusers_losses import normal, pixels, shuffled, uniform

CHANNELS = {"sd15": 4, "sdxl": 4, "sd3": 16}


def denoiser_name(family):
    return "transformer" if family == "sd3" else "unet"


def scaled(vae, x):
    return (x - (vae.config.shift_factor or 0)) * vae.config.scaling_factor


def conditioning(family, pipe, prompts):
    """What the pipeline itself hands to its denoiser, with gradients."""
    if family == "sd15":
        return (pipe.encode_prompt(prompts, "cpu", 1, False)[0],)
    if family == "sdxl":
        embeds, _, pooled, _ = pipe.encode_prompt(prompts, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
    else:
        embeds, _, pooled, _ = pipe.encode_prompt(prompts, None, None, device="cpu", do_classifier_free_guidance=False)
    return embeds, pooled


def error_of(family, pipe, latents, noise, keys, given):
    """Mean squared error of each sample."""
    if family == "sd3":  # Esser et al. 2024, §3.1 and equation 23
        sigma = torch.sigmoid(torch.tensor([float(normal(key, "timesteps", ())) for key in keys]))
        sigma = 3 * sigma / (1 + 2 * sigma)
        s = sigma.view(-1, 1, 1, 1)
        made = pipe.transformer((1 - s) * latents + s * noise, given[0], given[1], sigma * 1000).sample
        return (made - (noise - latents)).square().mean([1, 2, 3])
    t = torch.tensor([int(uniform(key, "timesteps")[0] * 1000) for key in keys])
    noisy = diffusers.DDPMScheduler.from_config(pipe.scheduler.config).add_noise(latents, noise, t)
    more = {}
    if family == "sdxl":
        sizes = torch.tensor([[16.0, 16, 0, 0, 16, 16]]).repeat(len(keys), 1)
        more["added_cond_kwargs"] = {"text_embeds": given[1], "time_ids": sizes}
    return (pipe.unet(noisy, t, given[0], **more).sample - noise).square().mean([1, 2, 3])


def train(root, model, family, plan, rates, optimizer=None, schedule="cosine", ema=False, zeros=False):
    """`rates`: of each part that is trained, by its name. `plan`: STEPS, BATCH, ACCUMULATE, SEED, WARMUP, DROPOUT, EPSILON. `zeros`: they
    stand for a dropped caption, not the encoded empty one. Returns loss, grad_norm and lr of each step, and the parts as
    they are in the end, averaged where `ema`."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(root / model)
    rows = [json.loads(line) for line in (root / "data" / "metadata.jsonl").read_text().splitlines()]
    parts = {name: getattr(pipe, name) for name in rates}
    for part in (pipe.vae, *(p for p in pipe.components.values() if isinstance(p, torch.nn.Module))):
        part.requires_grad_(False)
    for part in parts.values():
        part.requires_grad_(True)
    groups = [{"params": list(part.parameters()), "lr": rates[name]} for name, part in parts.items()]
    make = optimizer or (lambda g: torch.optim.AdamW(g, lr=rates[next(iter(rates))], betas=(0.9, 0.999), weight_decay=1e-2, eps=plan.EPSILON))
    optimizer = make(groups)
    if hasattr(optimizer, "train"):
        optimizer.train()
    schedule = get_scheduler(schedule, optimizer, num_warmup_steps=plan.WARMUP, num_training_steps=plan.STEPS)
    averages = {name: EMAModel(part.parameters(), decay=0.9999) for name, part in parts.items()} if ema else {}
    trained = [p for part in parts.values() for p in part.parameters()]

    def sample(key):
        row = rows[shuffled(key[2] % len(rows), len(rows), plan.SEED, key[2] // len(rows))]
        picture = torch.from_numpy(pixels(root / "data" / row["output_image"], uniform(key, "flip")[0] < 0.5).copy())[None]
        with torch.no_grad():
            posterior = pipe.vae.encode(picture).latent_dist
        shape = (CHANNELS[family], 8, 8)
        latents = scaled(pipe.vae, posterior.mean + posterior.std * torch.from_numpy(normal(key, "posterior", shape)))
        dropped = uniform(key, "conditioning_dropout")[0] < plan.DROPOUT
        return latents, "" if dropped else row["instruction"], torch.from_numpy(normal(key, "noise", shape))[None]

    seen = types.SimpleNamespace(loss=[], grad_norm=[], lr=[], prompts=[])
    for step in range(plan.STEPS):
        total = 0.0
        for k in range(plan.ACCUMULATE):
            keys = [(plan.SEED, step, (step * plan.ACCUMULATE + k) * plan.BATCH + i) for i in range(plan.BATCH)]
            latents, prompts, noise = zip(*map(sample, keys))
            given = conditioning(family, pipe, list(prompts))
            if zeros:
                kept = torch.tensor([float(p != "") for p in prompts])
                given = [g * kept.view(-1, *[1] * (g.dim() - 1)) for g in given]
            error = error_of(family, pipe, torch.cat(latents), torch.cat(noise), keys, given)
            (error.mean() / plan.ACCUMULATE).backward()
            total += error.mean().item() / plan.ACCUMULATE
            seen.prompts += prompts
        seen.loss.append(total)
        seen.grad_norm.append(torch.nn.utils.clip_grad_norm_(trained, 1.0).item())
        seen.lr.append({name: group["lr"] for name, group in zip(parts, optimizer.param_groups)})
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        for name, average in averages.items():
            average.step(parts[name].parameters())
    if hasattr(optimizer, "eval"):
        optimizer.eval()
    for name, average in averages.items():
        average.copy_to(parts[name].parameters())
    seen.parts = {name: {key: t.detach().clone() for key, t in part.state_dict().items()} for name, part in parts.items()}
    return seen
