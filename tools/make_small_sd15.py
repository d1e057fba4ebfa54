#!/usr/bin/env python3
"""Remakes assets/small-sd15, the model that the repository carries, from nothing.

    tools/make_small_sd15.py parts FOLDER                    tokenizer, text encoder, VAE (PyTorch); untrained UNet
    tools/make_small_sd15.py unet FOLDER --t2i build/bin/t2i --work runs/small-sd15    the UNet, trained by t2i

`parts` takes about a quarter of an hour on one core, `unet` some hours; docs/small-sd15.md has the numbers. Needs torch,
diffusers and transformers besides this repository.
"""

import argparse
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "tools", "shapes"), os.path.join(ROOT, "tools", "small_sd15")]

VAE_STEPS, TEXT_STEPS = 5000, 1200


def make_parts(folder):
    import torch
    from folder import write_index, write_part
    from parts import new_unet
    from tokenizer import write_tokenizer
    from train_text import train_text_encoder
    from train_vae import train_vae
    from transformers import CLIPTokenizer

    write_index(folder)
    write_tokenizer(os.path.join(folder, "tokenizer"))
    tokenizer = CLIPTokenizer.from_pretrained(os.path.join(folder, "tokenizer"))
    write_part(folder, "text_encoder", train_text_encoder(tokenizer, TEXT_STEPS, report=say))
    write_part(folder, "vae", train_vae(VAE_STEPS, report=say))
    torch.manual_seed(3)
    write_part(folder, "unet", new_unet(in_channels=8))


def make_unet(folder, t2i, work):
    """Learns three kinds of edit, and to draw from captions. An interrupted run goes on where it was."""
    from folder import halve_unet

    data, run = os.path.join(work, "lessons"), os.path.join(work, "run")
    if not os.path.exists(os.path.join(data, "metadata.jsonl")):
        generator = os.path.join(ROOT, "tools", "shapes", "generate.py")
        subprocess.run([sys.executable, generator, "lessons", data, "--count", "40000", "--seed", "11"], check=True)
    config = os.path.join(ROOT, "tools", "small_sd15", "unet.yaml")
    subprocess.run([t2i, "run", config, "--model", folder, "--data", data, "--output", run], check=True)
    halve_unet(os.path.join(run, "final"), folder)


def say(line):
    print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("parts", "unet"))
    parser.add_argument("folder")
    parser.add_argument("--t2i", default=os.path.join(ROOT, "build", "bin", "t2i"))
    parser.add_argument("--work", default=os.path.join(ROOT, "runs", "small-sd15"))
    args = parser.parse_args()
    if args.stage == "parts":
        make_parts(args.folder)
    else:
        make_unet(args.folder, args.t2i, args.work)


if __name__ == "__main__":
    main()
