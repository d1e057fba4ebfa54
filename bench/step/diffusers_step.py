"""The twin of t2i_step.cpp: the same steps with diffusers' UNet, torch's fused AdamW and torch's autocast, eagerly, as
diffusers' own training script has them. Only what a step needs is imported. Prints the same line of JSON.

Noise and timesteps are read from --draws, so this side does not spend time on drawing them; t2i does.
"""

import argparse
import json
import os
import time


def seconds_since_start():
    with open("/proc/self/stat") as f:  # field 22 of proc(5): ticks since boot
        started = int(f.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def peak_memory_bytes():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM:"))


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
    parser.add_argument("--ops", action="store_true", help="instead of the line: the time of each operator in the last step")
    args = parser.parse_args()

    import torch
    import torch.nn.functional as F
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from safetensors.torch import load_file

    if args.threads:
        torch.set_num_threads(args.threads)
    before = time.perf_counter()
    unet = UNet2DConditionModel.from_pretrained(args.model, subfolder="unet")
    load_seconds = time.perf_counter() - before
    scheduler = DDPMScheduler.from_pretrained(args.model, subfolder="scheduler")
    unet.train()
    if args.recompute:
        unet.enable_gradient_checkpointing()
    layout = torch.channels_last if args.channels_last else torch.contiguous_format
    unet.to(memory_format=layout)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8, fused=True)
    batch, draws = load_file(args.inputs), load_file(args.draws)

    def step(k):
        noise, timesteps = draws[f"noise.{k}"], draws[f"timesteps.{k}"].long()
        noisy = scheduler.add_noise(batch["latents"], noise, timesteps).contiguous(memory_format=layout)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.dtype == "bfloat16"):
            prediction = unet(noisy, timesteps, batch["prompt_embeds"], return_dict=False)[0]
        loss = F.mse_loss(prediction.float(), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
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
                      "parameters": sum(p.numel() for p in unet.parameters())}))


if __name__ == "__main__":
    main()
