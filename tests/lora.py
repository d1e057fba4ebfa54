"""What the tests of adapters share: adapters that peft puts beside a diffusers model, and their files as diffusers writes
them."""

import numpy as np
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict


def denoiser_of(pipe):
    return pipe.unet if hasattr(pipe, "unet") else pipe.transformer


def part_of(pipe):
    return "unet" if hasattr(pipe, "unet") else "transformer"


def add_random_adapter(model, targets, rank=4, alpha=8, seed=5, **config):
    """Every factor is random: B too, which begins as zero, and of DoRA the lengths."""
    model.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, **config))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.requires_grad_(False)
            if ".lora_A." in name or ".lora_B." in name:
                p.copy_(torch.randn(p.shape, generator=generator) * 0.2)
            elif ".lora_magnitude_vector." in name:
                p.mul_(1 + 0.3 * torch.rand(p.shape, generator=generator))
            else:
                continue
            p.requires_grad_(True)
    return model


def save_by_diffusers(pipe, folder, with_metadata=True):
    """pytorch_lora_weights.safetensors of the denoiser's adapter; alpha is in its header."""
    model, part = denoiser_of(pipe), part_of(pipe)
    more = {}
    if with_metadata:
        config = model.peft_config["default"].to_dict()
        config["target_modules"] = sorted(config["target_modules"])
        more[f"{part}_lora_adapter_metadata"] = config
    pipe.save_lora_weights(str(folder), **{f"{part}_lora_layers": get_peft_model_state_dict(model)}, **more)
    return folder / "pytorch_lora_weights.safetensors"


def assert_differ(mine, base):
    """An adapter that does nothing would make every comparison hold."""
    assert np.abs(mine - base).max() > 20
