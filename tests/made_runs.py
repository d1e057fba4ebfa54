"""Folders as runs leave them, written from what docs/ says of their files, without training."""

import json
import pathlib

import numpy as np
from PIL import Image, PngImagePlugin

NASTY = "</script><img src=x onerror=alert(1)> \"quoted\" 'single' & \u2028 \U0001f9ed übergroß <b>bold</b>"


def picture(path, pixels, prompt="", seed="", step=0):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    info = PngImagePlugin.PngInfo()
    for key, text in (("prompt", prompt), ("seed", seed), ("step", str(step))):
        if text:
            (info.add_text if text.isascii() else info.add_itxt)(key, text)
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path, pnginfo=info)


def scene(side, hue, share):
    """A disc that comes out of noise: something to see as training goes on."""
    random = np.random.default_rng(int(hue * 1000))
    y, x = np.mgrid[0:side, 0:side] / side
    disc = ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.09)[..., None]
    colour = 127 + 120 * np.cos(2 * np.pi * (hue + np.array([0, 1 / 3, 2 / 3])))
    ground = np.stack([200 - 60 * y, 205 - 40 * y, 225 - 20 * y], -1)
    clean = np.where(disc, colour * (1.1 - 0.4 * y[..., None]), ground)
    return (share * clean + (1 - share) * random.uniform(0, 255, (side, side, 3))).clip(0, 255)


def losses(steps, seed=0, level=0.05):
    """Falling and noisy, as those of diffusion models are; float32, as they are logged."""
    random = np.random.default_rng(seed)
    at = np.arange(1, steps + 1)
    return ((level + 0.25 * np.exp(-at / (steps / 6))) * random.lognormal(0, 0.45, steps)).astype(np.float32)


def metrics_line(step, loss, lr=1e-4, raw=None, **more):
    none = lambda x: None if x is None or not np.isfinite(x) else float(x)
    return json.dumps({"step": step, "epoch": step / 80, "loss": none(loss), "raw_loss": none(loss if raw is None else raw), "lr": lr, "grad_norm": none(None if loss is None else np.float32(2 * loss + 0.1)),
                       "step_seconds": 0.4 + 0.02 * (step % 7), "data_seconds": 0.003, "images_per_second": 8 / (0.4 + 0.02 * (step % 7)), "memory_bytes": 6_100_000_000 + 1000 * step,
                       "peak_memory_bytes": 7_300_000_000, **more})


def run_folder(folder, steps=600, total=800, seed=0, level=0.05, lr=1e-4, resumed_at=(250,), nan_steps=(100, 101), pictures=(0, 200, 400, 600), side=32,
               prompts=("a red disc on a pale ground", NASTY, "a green disc, soft light"), config="", buckets=True, end="done", hue=0.0):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config or f"task: text\nloss: {{name: v_prediction}}\nmodel: {{path: weights/base}}\ndata: {{path: my_data, resolution: 512}}\n"
                                                  f"train: {{max_train_steps: {total}, train_batch_size: 8, seed: {seed}}}\noptimizer: {{learning_rate: {lr}, lr_scheduler: cosine, lr_warmup_steps: 50}}\n"
                                                  f"output: {folder}\nvalidation: {{every_steps: 200, prompts: {json.dumps(list(prompts), ensure_ascii=False)}}}\n")
    values = losses(steps, seed, level)
    rate = [lr * min(step / 50, 0.5 + 0.5 * np.cos(np.pi * step / total)) for step in range(1, steps + 1)]
    lines = [metrics_line(i + 1, None if i + 1 in nan_steps else loss, rate[i], **({"grad/attention_qk": float(loss) / 40} if (i + 1) % 10 == 0 else {})) for i, loss in enumerate(values)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n" if lines else "")
    events = [{"time": "2026-11-21 20:00:00", "step": 0, "kind": "start", "total": total, "t2i": "0.1.0"},
              {"time": "2026-11-21 20:00:00", "step": 0, "kind": "notice", "text": "31 % of captions are cut at 77 tokens"}]
    events += [{"time": "2026-11-21 20:04:11", "step": 100, "kind": "warning", "text": f"step {step} was left out: the loss or its gradient is no number"} for step in nan_steps]
    events += [{"time": "2026-11-21 21:10:00", "step": step, "kind": "start", "total": total, "t2i": "0.1.0"} for step in resumed_at]
    events += [{"time": "2026-11-21 21:12:00", "step": 260, "kind": "skipped", "text": f"data/{NASTY}.png: cut short  [T2I-E3001]"}]
    if end:
        events.append({"time": "2026-11-21 23:00:00", "step": steps, "kind": "end", "text": end})
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    bad = {"row": 7, "where": "data/metadata.jsonl:8", "id": "T2I-E3001", "error": f"{NASTY}: PNG ends after 40 % of the rows"}
    (folder / "bad_samples.jsonl").write_text(json.dumps(bad) + "\n")
    if buckets:
        sizes = [(512, 512, 320), (640, 448, 140), (448, 640, 96), (768, 384, 12), (384, 768, 7)]
        (folder / "data.json").write_text(json.dumps({"path": "my_data", "samples": 575, "left_out": 1, "columns": {"image": "image", "text": "caption"}, "resolution": 512, "samples_per_step": 8,
                                                      "steps_per_epoch": 71.9, "buckets": [{"width": w, "height": h, "samples": n} for w, h, n in sizes]}))
    for step in pictures:
        for i, prompt in enumerate(prompts):
            picture(folder / "validation_images" / f"step-{step:07}" / f"{i:03}-0.png", scene(side, hue + i / 3, (0.1 + step) / (max(pictures) + 0.1)), prompt, "1", step)
    return folder
