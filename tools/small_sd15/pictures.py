"""Scenes as tensors in -1..1, and back to the bytes that the check reads."""

import random

import torch
from edits import KINDS, random_edit, random_scene_of
from scene import SIZE, render


def to_tensor(pictures):
    """A list of RGB byte strings to [n, 3, 32, 32] uint8."""
    flat = torch.frombuffer(bytearray(b"".join(pictures)), dtype=torch.uint8)
    return flat.view(len(pictures), SIZE, SIZE, 3).permute(0, 3, 1, 2).contiguous()


def to_pixels(bytes_BCHW):
    return bytes_BCHW.float() / 127.5 - 1


def to_bytes(pixels_BCHW):
    """[n, 3, 32, 32] in -1..1 to a list of RGB byte strings, rounded as pictures are saved."""
    values = ((pixels_BCHW.detach() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return [bytes(v.permute(1, 2, 0).contiguous().view(-1).tolist()) for v in values]


def scenes_for_vae(count, seed):
    """Half plain scenes, half results of all six edits: the VAE must be able to show everything."""
    rng = random.Random(f"vae {seed}")
    pictures = []
    for i in range(count):
        scene = random_scene_of(rng, held_out=False)
        pictures.append(render(random_edit(rng, scene, KINDS).result if i % 2 else scene))
    return to_tensor(pictures)
