"""Weights in four bits are bitsandbytes' bit for bit: codes, the blocks' scales, the scales' own codes, and what comes back.

Broken by: a rounding the other way at a border between two codes, the last block of a tensor that does not fill it, halves of
a byte exchanged.
"""

import os
import subprocess

import bitsandbytes.functional as bnb
import numpy as np
import pytest
import torch

BUILD = os.environ.get("T2I_BUILD", os.path.join(os.path.dirname(__file__), "..", "build"))
PROBE = os.path.join(BUILD, "bin", "nf4_probe")


def weights(kind, count):
    generator = torch.Generator().manual_seed(count)
    x = torch.randn(count, generator=generator) * 0.02
    if kind == "bfloat16":  # as published weights are: many ties, many equal magnitudes
        x = x.bfloat16().float()
    if kind == "zeros":
        x[: count // 2] = 0
    if kind == "borders":  # on the middle between two values, one float below and one above
        values = bnb.get_4bit_type("nf4", device="cpu")
        middle = ((values[:-1] + values[1:]) / 2).numpy()
        x = torch.tensor(np.resize(np.concatenate([middle, np.nextafter(middle, 2), np.nextafter(middle, -2), [1.0]]), count), dtype=torch.float32)
    if kind == "far":
        x *= torch.logspace(-30, 30, count)
    return x


def ours(x, mean, folder):
    (folder / "x").write_bytes(x.numpy().tobytes())
    subprocess.run([PROBE, folder / "x", folder / "out", repr(float(mean))], check=True)
    data, at = (folder / "out").read_bytes(), 0

    def take(kind, count):
        nonlocal at
        part = np.frombuffer(data, kind, count, at)
        at += part.nbytes
        return part

    n = x.numel()
    blocks = -(-n // 64)
    made = {"packed": take("u1", (n + 1) // 2), "scales": take("f4", blocks), "codes": take("u1", blocks), "block_scales": take("f4", -(-blocks // 256)),
            "weights": take("f4", n), "dynamic": take("f4", 256)}
    assert at == len(data)
    return made


@pytest.mark.parametrize("count", [64 * 256 * 3, 64 * 1000, 64 * 5 + 30, 63, 1])
@pytest.mark.parametrize("kind", ["normal", "bfloat16", "zeros", "borders", "far"])
def test_codes_and_values(tmp_path, kind, count):
    x = weights(kind, count)
    packed, once = bnb.quantize_4bit(x, quant_type="nf4", blocksize=64)
    _, twice = bnb.quantize_4bit(x, quant_type="nf4", blocksize=64, compress_statistics=True)
    mine = ours(x, twice.offset, tmp_path)
    assert mine["packed"].tobytes() == packed.numpy().tobytes()
    assert mine["scales"].tobytes() == once.absmax.numpy().tobytes()
    assert mine["block_scales"].tobytes() == twice.state2.absmax.numpy().tobytes()
    if np.abs(once.absmax.numpy() - twice.offset.item()).max() > 0:  # a lone scale is its own mean: 0 / 0 there, and the codes do not matter
        assert mine["codes"].tobytes() == twice.absmax.numpy().tobytes()
    back = bnb.dequantize_4bit(packed, twice)
    assert mine["weights"].tobytes() == back.numpy().tobytes()


def test_the_scales_values(tmp_path):
    assert ours(torch.ones(64), 0.0, tmp_path)["dynamic"].tobytes() == bnb.create_dynamic_map().numpy().tobytes()
