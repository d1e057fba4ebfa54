"""Writes losses.json: loss and gradient norm of 20 seeded steps of `t2i run`, to the last bit, for test_golden_losses.py.

    T2I_BUILD=build python tests/golden/make_losses.py          when bits are meant to change; the commit says why
    T2I_BUILD=build python tests/golden/make_losses.py --add    on another kind of machine, with bits that have not changed

Weights and pictures are integers divided by powers of two, drawn by numpy's frozen RandomState: the same bits on every
machine. What the run makes of them depends on the machine: oneDNN, MKL and ATen choose their kernels by instruction
set, and their blocks by the size of caches. So a record belongs to the machine that it was made on, and only a machine
of that kind is held to its bits. All convolutions are small (below 10,000 elements): none of the kernels that are
chosen by size for large ones takes part.
"""

import hashlib
import json
import math
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from tiny import AS_CAPTIONS, metrics, settings, t2i, tokenizer  # noqa: E402

RECORD = HERE / "losses.json"
STEPS, BATCH, ACCUMULATE, ROWS, SIDE, SEED = 20, 2, 2, 12, 16, 42
LEARNING_RATE, WARMUP = 1e-3, 5
LOSS = {"text": "epsilon", "ip2p": "min_snr"}
RUN = settings(data__resolution=SIDE, data__num_workers=0, train__num_threads=1, train__device="cpu", train__mixed_precision="fp32", train__seed=SEED,
               train__max_train_steps=STEPS, train__train_batch_size=BATCH, train__gradient_accumulation_steps=ACCUMULATE,
               optimizer__learning_rate=LEARNING_RATE, optimizer__lr_scheduler="cosine", optimizer__lr_warmup_steps=WARMUP,
               task__conditioning_dropout_prob=0.15, validation__every_steps=0, checkpoint__every_steps=0, report_to="[]")


def exact_weights(module, random):
    """Every parameter an integer of -127…127 over a power of two that keeps what passes through about as large as it was."""
    import torch

    with torch.no_grad():
        for name, p in module.named_parameters():
            integers = torch.from_numpy(random.randint(-127, 128, size=tuple(p.shape))).float()
            fan_in = p[0].numel() if p.dim() > 1 else 2**8
            weight = integers / 2 ** round(math.log2(73 * math.sqrt(fan_in)))
            p.copy_(1 + weight if p.dim() == 1 and name.endswith("weight") else weight)
    return module.eval()


def make_folder(folder):
    """A StableDiffusionPipeline folder of 0.17 M parameters."""
    import numpy as np
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    random = np.random.RandomState(20261121)
    words, vocab = tokenizer(str(folder) + "-tokenizer")
    end = vocab["<|endoftext|>"]
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32, attention_head_dim=4, norm_num_groups=4)
    vae = AutoencoderKL(block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2,
                        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=4, sample_size=SIDE)
    text = CLIPTextModel(CLIPTextConfig(vocab_size=len(vocab), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                                        max_position_embeddings=16, bos_token_id=end - 1, eos_token_id=end, pad_token_id=end))
    for part in (unet, vae, text):
        exact_weights(part, random)
    assert all(p.numel() < 10_000 for part in (unet, vae) for p in part.parameters() if p.dim() == 4)
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    StableDiffusionPipeline(vae=vae, text_encoder=text, tokenizer=words, unet=unet, scheduler=scheduler, safety_checker=None,
                            feature_extractor=None, requires_safety_checker=False).save_pretrained(folder)


def make_data(folder):
    import numpy as np
    from PIL import Image

    folder.mkdir()
    random = np.random.RandomState(7)
    lines = []
    for i in range(ROWS):
        for name in ("in", "out"):
            Image.fromarray(random.randint(0, 256, size=(SIDE, SIDE, 3)).astype(np.uint8)).save(folder / f"{i}-{name}.png")
        lines.append(json.dumps({"input_image": f"{i}-in.png", "instruction": f"edit number {i % 5}", "output_image": f"{i}-out.png"}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")


def make_inputs(root):
    make_folder(root / "model")
    make_data(root / "data")


def inputs_sha256(root):
    """Of what the run reads, not of how files are packed: tells losses that changed from inputs that changed."""
    import numpy as np
    from PIL import Image
    from safetensors.numpy import load_file

    digest = hashlib.sha256()
    for file in sorted((root / "model").rglob("*.safetensors")):
        for name, tensor in sorted(load_file(file).items()):
            digest.update(name.encode() + tensor.tobytes())
    for file in sorted((root / "data").glob("*.png")):
        digest.update(np.asarray(Image.open(file)).tobytes())
    digest.update((root / "data" / "metadata.jsonl").read_bytes())
    return digest.hexdigest()


def run(root, task, output, env=None, more=()):
    """{"loss": […], "grad_norm": […]}: float32 values, written by t2i with all their digits."""
    columns = AS_CAPTIONS if task == "text" else []
    t2i("run", "--task", task, "--loss", LOSS[task], "--model", root / "model", "--data", root / "data", "--output", root / output, *RUN, *columns, *more, env=env)
    lines = metrics(root / output)
    return {key: [line[key] for line in lines] for key in ("loss", "grad_norm")}


def machine():
    """What the bits depend on besides our code."""
    import torch

    info = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        info[key.strip()] = value.strip()
    vectors = [flag for flag in info.get("flags", info.get("Features", "")).split() if flag.startswith(("avx", "fma", "amx", "sse4", "asimd", "sve"))]
    return {"cpu": " ".join(info.get(key, "?") for key in ("model name", "cpu family", "model")), "vector": " ".join(sorted(vectors)),
            "cache": info.get("cache size", "?"), "torch": torch.__version__}


def main():
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        make_inputs(root)
        inputs, record = inputs_sha256(root), {"machine": machine(), **{task: run(root, task, task) for task in LOSS}}
    others = []
    if "--add" in sys.argv:
        others = [r for r in json.loads(RECORD.read_text())["records"] if r["machine"] != record["machine"]]
    RECORD.write_text(json.dumps({"inputs_sha256": inputs, "records": [*others, record]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
