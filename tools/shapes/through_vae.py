#!/usr/bin/env python3
"""Passes the true answers of a held-out set through a model's VAE and back: what the best denoiser could reach.

    tools/shapes/through_vae.py --data HELD_OUT --model FOLDER --t2i build/bin/t2i OUTPUT

Encoding and decoding are `t2i probe`'s; pixels travel as safetensors (an 8-byte length, a JSON header, the bytes). Needs
Python's standard library alone.
"""

import argparse
import array
import json
import os
import subprocess
import sys

from png import read_png, write_png
from scene import SIZE


def write_tensor(path, name, shape, values):
    header = json.dumps({name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * len(values)]}}).encode()
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        values.tofile(file)


def read_tensor(path, name):
    """(shape, values as array('f'))."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        start = file.tell() + header[name]["data_offsets"][0]
        if header[name]["dtype"] != "F32":
            raise ValueError(f"{path}: {name} is {header[name]['dtype']}, F32 is wanted")
        values = array.array("f")
        file.seek(start)
        shape = header[name]["shape"]
        count = 1
        for size in shape:
            count *= size
        values.fromfile(file, count)
    return shape, values


def to_planes(pixels):
    """RGB bytes -> three planes in -1..1."""
    return array.array("f", [pixels[i] / 127.5 - 1 for c in range(3) for i in range(c, len(pixels), 3)])


def to_bytes(planes):
    side = len(planes) // 3
    result = bytearray(len(planes))
    for c in range(3):
        for i in range(side):
            result[3 * i + c] = min(255, max(0, round((planes[c * side + i] + 1) * 127.5)))
    return bytes(result)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--t2i", required=True)
    args = parser.parse_args()
    with open(os.path.join(args.data, "metadata.jsonl"), encoding="utf-8") as file:
        answers = [json.loads(line)["output_image"] for line in file]
    pixels = array.array("f")
    for name in answers:
        pixels.extend(to_planes(read_png(os.path.join(args.data, name))[2]))
    os.makedirs(args.output, exist_ok=True)
    step = [os.path.join(args.output, f"{name}.safetensors") for name in ("pixels", "latents", "decoded")]
    write_tensor(step[0], "pixels", [len(answers), 3, SIZE, SIZE], pixels)
    for what, before, after in (("encode", step[0], step[1]), ("decode", step[1], step[2])):
        done = subprocess.run([args.t2i, "probe", what, "--model", args.model, "--inputs", before, "--outputs", after])
        if done.returncode:
            sys.exit(done.returncode)
    _, decoded = read_tensor(step[2], "pixels")
    each = 3 * SIZE * SIZE
    for i in range(len(answers)):
        write_png(os.path.join(args.output, f"{i:05d}.png"), SIZE, SIZE, to_bytes(decoded[i * each : (i + 1) * each]))
    for path in step:
        os.remove(path)


if __name__ == "__main__":
    main()
