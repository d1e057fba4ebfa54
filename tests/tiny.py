"""Small model folders made by diffusers with random weights, small data, and how tests call t2i."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys

BUILD = pathlib.Path(os.environ.get("T2I_BUILD", pathlib.Path(__file__).resolve().parent.parent / "build"))
T2I = BUILD / "bin" / "t2i"


def t2i(*args, code=0, env=None, timeout=600):
    """Runs t2i; fails with its output unless the exit code is `code`."""
    done = subprocess.run([str(T2I), *map(str, args)], capture_output=True, text=True, timeout=timeout, env={**os.environ, **(env or {})})
    assert done.returncode == code, f"exit {done.returncode}, wanted {code}\n{done.stdout}\n{done.stderr}"
    return done


def settings(**values):
    """train__seed=3 -> --set train.seed=3"""
    return [part for key, value in values.items() for part in ("--set", f"{key.replace('__', '.')}={value}")]


# A process begins with its parent's peak, so one that is small stands between.
MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


def own_peak(*command):
    """The most that was ever resident of the process in bytes, by the kernel, and what it said; files that it maps count."""
    done = subprocess.run([sys.executable, "-S", "-c", MEASURE, *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout) * 1024, done.stderr


def own_peak_bytes(*command):
    return own_peak(*command)[0]


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def metrics(output):
    return [json.loads(line) for line in (pathlib.Path(output) / "metrics.jsonl").read_text().splitlines()]


def tokenizer(folder, length=16):
    """A byte-level tokenizer without merges: every text has tokens."""
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    vocab = {token: i for i, token in enumerate(letters + [x + "</w>" for x in letters] + ["<|startoftext|>", "<|endoftext|>"])}
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    (pathlib.Path(folder) / "vocab.json").write_text(json.dumps(vocab))
    (pathlib.Path(folder) / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(pathlib.Path(folder) / "vocab.json"), str(pathlib.Path(folder) / "merges.txt"), model_max_length=length), vocab


def sd_folder(folder, seed=0, prediction_type="epsilon", in_channels=4):
    """A StableDiffusionPipeline folder of about 0.8 M parameters for pictures of 16 x 16."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(seed)
    words, vocab = tokenizer(str(folder) + "-tokenizer")
    end = vocab["<|endoftext|>"]
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=in_channels, out_channels=4, block_out_channels=(32, 64), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32, attention_head_dim=4, norm_num_groups=8)
    vae = AutoencoderKL(block_out_channels=(16, 32), down_block_types=("DownEncoderBlock2D",) * 2,
                        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=8, sample_size=16)
    text = CLIPTextModel(CLIPTextConfig(vocab_size=len(vocab), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                                        max_position_embeddings=16, bos_token_id=end - 1, eos_token_id=end, pad_token_id=end))
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
                              steps_offset=1, prediction_type=prediction_type)
    StableDiffusionPipeline(vae=vae, text_encoder=text, tokenizer=words, unet=unet, scheduler=scheduler, safety_checker=None,
                            feature_extractor=None, requires_safety_checker=False).save_pretrained(folder)
    return str(folder)


def edit_folder(folder, seed=0):
    """The same as a StableDiffusionInstructPix2PixPipeline, which reads a picture besides."""
    sd_folder(folder, seed=seed, in_channels=8)
    path = pathlib.Path(folder) / "model_index.json"
    index = json.loads(path.read_text()) | {"_class_name": "StableDiffusionInstructPix2PixPipeline", "image_encoder": [None, None]}
    path.write_text(json.dumps(index))
    return str(folder)


def louder(folder):
    """Random weights make grey pictures: the last layers are scaled until pictures have contrast and x_0 stays finite."""
    from safetensors.torch import load_file, save_file

    for part, layer, factor in [("unet", "conv_out", 3.0), ("vae", "decoder.conv_out", 6.0)]:
        path = pathlib.Path(folder) / part / "diffusion_pytorch_model.safetensors"
        weights = load_file(path)
        weights[layer + ".weight"] *= factor
        save_file(weights, path, metadata={"format": "pt"})


def triplet_data(folder, count=40, side=16, seed=0):
    """Instruction triplets of random pixels; the same rows also serve as pictures with captions."""
    import numpy as np
    from PIL import Image

    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    lines = []
    for i in range(count):
        for name in ("in", "out"):
            Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / f"{i}-{name}.png")
        lines.append(json.dumps({"input_image": f"{i}-in.png", "instruction": f"edit number {i % 7}", "output_image": f"{i}-out.png"}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return str(folder)


AS_CAPTIONS = settings(data__columns="{image: output_image, text: instruction}")
