"""The twin of t2i_step.cpp: the same steps with diffusers' denoiser of the folder, torch's fused AdamW and torch's autocast, eagerly, as
diffusers' own training script has them. Only what a step needs is imported. Prints the same line of JSON.

Noise and timesteps are read from --draws, so this side does not spend time on drawing them; t2i does.
"""

import argparse
import fnmatch
import json
import os
import pathlib
import time


def seconds_since_start():
    with open("/proc/self/stat") as f:  # field 22 of proc(5): ticks since boot
        started = int(f.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def peak_memory_bytes():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM:"))


def open_denoiser(folder):
    """The folder's denoiser, how it is asked (as its pipeline does), and what it sees and has to say."""
    import torch

    index = json.loads((pathlib.Path(folder) / "model_index.json").read_text())
    family = index["_class_name"]
    part = "unet" if "unet" in index else "transformer"

    def load(kind):  # in float32, whatever the file holds: as t2i trains it
        return kind.from_pretrained(folder, subfolder=part, torch_dtype=torch.float32)

    if part == "unet":
        from diffusers import DDPMScheduler, UNet2DConditionModel

        model, scheduler = load(UNet2DConditionModel), DDPMScheduler.from_pretrained(folder, subfolder="scheduler")

        def predict(noisy, timesteps, batch):
            added = {"text_embeds": batch.get("pooled"), "time_ids": batch.get("time_ids")} if "pooled" in batch else None
            return model(noisy, timesteps.long(), batch["prompt_embeds"], added_cond_kwargs=added, return_dict=False)[0]

        return model, predict, lambda latents, noise, t: (scheduler.add_noise(latents, noise, t.long()), noise)

    def flow(latents, noise, timesteps):
        sigma = (timesteps / 1000).view(-1, 1, 1, 1)
        return (1 - sigma) * latents + sigma * noise, noise - latents

    if family == "StableDiffusion3Pipeline":
        from diffusers import SD3Transformer2DModel

        model = load(SD3Transformer2DModel)

        def predict(noisy, timesteps, batch):
            return model(noisy, batch["prompt_embeds"], batch["pooled"], timesteps, return_dict=False)[0]
    else:
        from diffusers import FluxPipeline, FluxTransformer2DModel

        model = load(FluxTransformer2DModel)

        def predict(noisy, timesteps, batch):
            n, c, h, w = noisy.shape
            packed = FluxPipeline._pack_latents(noisy, n, c, h, w)
            places = FluxPipeline._prepare_latent_image_ids(n, h // 2, w // 2, noisy.device, noisy.dtype)
            words = torch.zeros(batch["prompt_embeds"].shape[1], 3)
            out = model(packed, batch["prompt_embeds"], batch["pooled"], timesteps / 1000, places, words, batch["guidance"],
                        return_dict=False)[0]
            return FluxPipeline._unpack_latents(out, 8 * h, 8 * w, 8)

    return model, predict, flow


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--inputs", required=True)
    parser.add_argument("--draws", required=True)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--recompute", action="store_true")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--parameters", action="append", default=[], help="a pattern of what is trained; none: everything")
    parser.add_argument("--ops", action="store_true", help="instead of the line: the time of each operator in the last step")
    args = parser.parse_args()

    import torch
    import torch.nn.functional as F
    from safetensors.torch import load_file

    if args.threads:
        torch.set_num_threads(args.threads)
    before = time.perf_counter()
    model, predict, add_noise = open_denoiser(args.model)
    load_seconds = time.perf_counter() - before
    model.train()
    for name, p in model.named_parameters():
        p.requires_grad_(not args.parameters or any(fnmatch.fnmatchcase(name, pattern) for pattern in args.parameters))
    trained = [p for p in model.parameters() if p.requires_grad]
    if args.recompute:
        model.enable_gradient_checkpointing()
    layout = torch.channels_last if args.channels_last else torch.contiguous_format
    model.to(memory_format=layout)
    optimizer = torch.optim.AdamW(trained, lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8, fused=True)
    batch, draws = load_file(args.inputs), load_file(args.draws)

    def step(k):
        noise, timesteps = draws[f"noise.{k}"], draws[f"timesteps.{k}"]
        noisy, target = add_noise(batch["latents"], noise, timesteps)
        noisy = noisy.contiguous(memory_format=layout)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.dtype == "bfloat16"):
            prediction = predict(noisy, timesteps, batch)
        loss = F.mse_loss(prediction.float(), target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    losses, seconds, processor = [], [], []
    for k in range(args.steps):
        if args.ops and k + 1 == args.steps:
            with torch.profiler.profile() as profile:
                step(k)
            print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=40, max_name_column_width=48))
            return
        before, processor_before = time.perf_counter(), time.process_time()
        losses.append(step(k))
        seconds.append(time.perf_counter() - before)
        processor.append(time.process_time() - processor_before)
        if k == 0:
            first_step = seconds_since_start()
    print(json.dumps({"side": "diffusers", "losses": losses, "step_seconds": seconds, "processor_seconds": processor,
                      "peak_bytes": peak_memory_bytes(), "first_step_seconds": first_step, "load_seconds": load_seconds,
                      "parameters": sum(p.numel() for p in model.parameters())}))


if __name__ == "__main__":
    main()
