"""How much memory loading takes: a part's weights once and little more, and in `generate` the text encoder before the
denoiser, not both at once.

Broken by: pages of the file that stay beside the copy, be it of one tensor, a second copy on the way to another type, a text encoder
that stays although every text is encoded, a single file that is read whole for one of its parts, weights that are all there before they
are packed, a checkpoint that is read whole before it is copied.
"""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import AS_CAPTIONS, T2I, own_peak_bytes, settings, triplet_data

from make_folders import make_flux, make_sd15

WIDE = dict(text=dict(vocab_size=300_000, hidden_size=256, intermediate_size=64, num_attention_heads=4),
            unet=dict(cross_attention_dim=256, block_out_channels=(32, 512), sample_size=8))
MARGIN = 1.15  # of the weights' size: the issue that the loader is held to
PROGRAM = 400e6  # bytes that the program takes without weights, its libraries' pages among them
PIECES = 60e6  # bytes: a few pieces of 16 MB on their way


def size_of(folder, part):
    return sum(path.stat().st_size for path in (folder / part).glob("*.safetensors"))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("memory")
    make_sd15(str(root / "small"), text=dict(hidden_size=256, intermediate_size=64, num_attention_heads=4), unet=dict(cross_attention_dim=256))
    make_sd15(str(root / "large"), **WIDE)
    weights = root / "large" / "text_encoder" / "model.safetensors"
    half = root / "half"
    make_sd15(str(half), **WIDE)
    save_file({k: v.half() for k, v in load_file(weights).items()}, half / "text_encoder" / "model.safetensors", {"format": "pt"})
    return root


@pytest.mark.parametrize("name", ["large", "half"])
def test_weights_are_in_memory_once(place, name):
    def peak(folder):
        return own_peak_bytes(T2I, "probe", "text", "--model", place / folder, "--prompt", "a red ball", "--outputs", place / "text.safetensors")

    held = size_of(place / "large", "text_encoder") - size_of(place / "small", "text_encoder")  # in float32
    assert held > 250e6
    most, least = peak(name), peak("small")
    print(f"{name}: {most / 1e6:.0f} MB with {held / 1e6:.0f} MB of weights, {least / 1e6:.0f} without")
    assert most - least <= MARGIN * held
    assert most <= MARGIN * size_of(place / "large", "text_encoder") + PROGRAM


def test_of_a_single_file_too(place):
    """Its parts are slices of the mapped file: those of others are not looked at. Writing takes a piece at a time."""
    def exported(folder):
        (place / f"{folder}.safetensors").unlink(missing_ok=True)
        return own_peak_bytes(T2I, "export", "--model", place / folder, "--output", place / f"{folder}.safetensors")

    def peak(folder):
        return own_peak_bytes(T2I, "probe", "text", "--model", place / f"{folder}.safetensors", "--set", f"model.base={place / folder}",
                          "--prompt", "a red ball", "--outputs", place / "text.safetensors")

    held = size_of(place / "large", "text_encoder") - size_of(place / "small", "text_encoder")
    assert exported("large") - exported("small") <= PIECES
    assert peak("large") - peak("small") <= MARGIN * held


def test_the_text_encoder_goes_before_the_denoiser_comes(place):
    def peak(folder, *more):
        return own_peak_bytes(T2I, "generate", "--model", place / folder, "--prompt", "a red ball", "--steps", 1, "--size", "16x16", "--guidance", 1,
                          "--output", place / "a.png", *more)

    text, unet = size_of(place / "large", "text_encoder"), size_of(place / "large", "unet")
    assert min(text, unet) > 60e6
    assert peak("large") - peak("small") <= MARGIN * max(text, unet) + 20e6  # the step's own tensors are wider, too


def test_a_checkpoint_is_not_there_twice(place):
    """A run that goes on takes what it took from its beginning, not the file of its weights and moments besides."""
    triplet_data(place / "data", count=4)

    def peak(steps):
        changes = settings(data__resolution=16, data__num_workers=1, train__num_threads=1, train__max_train_steps=steps, train__train_batch_size=1,
                           train__gradient_accumulation_steps=1, train__mixed_precision="fp32", validation__every_steps=0)
        return own_peak_bytes(T2I, "run", "--task", "text", "--model", place / "large", "--data", place / "data", "--output", place / "out",
                              *AS_CAPTIONS, *changes)

    first, on = peak(1), peak(2)
    assert (place / "out" / "checkpoint-1" / "state.safetensors").stat().st_size > 180e6 and (place / "out" / "checkpoint-2").exists()
    assert on - first <= PIECES


@pytest.mark.parametrize("form, bits", [("nf4", 4.13), ("int8", 8)])
def test_packed_weights_take_their_packed_size(place, form, bits):
    """While they are packed and while they are used: never more than one layer unpacked beside them."""
    largest = 6 * 1024 * 1024 * 4  # the modulation of a block, in float32
    given = {"latents": torch.randn(1, 16, 4, 4), "timesteps": torch.tensor([417.0]), "prompt_embeds": torch.randn(1, 5, 64),
             "pooled": torch.randn(1, 32), "guidance": torch.tensor([3.5])}
    save_file(given, place / "flux.safetensors")
    peaks, sizes = [], []
    for name, changes in {"narrow": {}, "wide": dict(num_attention_heads=16, attention_head_dim=64, axes_dims_rope=(16, 24, 24), num_layers=1, num_single_layers=6)}.items():
        if not (place / name).exists():
            make_flux(str(place / name), transformer=changes)
        peaks.append(own_peak_bytes(T2I, "probe", "forward", "--model", place / name, "--inputs", place / "flux.safetensors", "--outputs", place / "out.safetensors",
                                "--set", f"model.quantization={form}"))
        sizes.append(size_of(place / name, "transformer"))
    weights = (sizes[1] - sizes[0]) / 4
    assert weights > 100e6
    print(f"{form}: {(peaks[1] - peaks[0]) / 1e6:.0f} MB for {weights * bits / 8e6:.0f} MB packed")
    assert peaks[1] - peaks[0] <= MARGIN * weights * bits / 8 + 2 * largest  # as read from the file, and unpacked


def test_packing_into_a_folder_takes_a_layer_at_a_time(place):
    def exported(folder):
        shutil.rmtree(place / "packed", ignore_errors=True)
        return own_peak_bytes(T2I, "export", "--model", place / folder, "--output", place / "packed", "--quantization", "nf4")

    assert exported("wide") - exported("narrow") <= 3 * 6 * 1024 * 1024 * 4  # its bytes, its codes, what is packed at once
