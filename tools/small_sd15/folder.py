"""Writes the small model as a diffusers folder in the form that SD1.5 is published in, weights in half precision."""

import json
import os

import torch
from diffusers import DDIMScheduler
from safetensors.torch import load_file, save_file

SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "trailing",
}
CLASSES = {
    "vae": ("diffusers", "AutoencoderKL", "diffusion_pytorch_model.safetensors"),
    "text_encoder": ("transformers", "CLIPTextModel", "model.safetensors"),
    "unet": ("diffusers", "UNet2DConditionModel", "diffusion_pytorch_model.safetensors"),
}


def write_index(folder):
    os.makedirs(folder, exist_ok=True)
    write_json(
        os.path.join(folder, "model_index.json"),
        {
            "_class_name": "StableDiffusionInstructPix2PixPipeline",
            "_diffusers_version": "0.42.1",
            "feature_extractor": [None, None],
            "image_encoder": [None, None],
            "requires_safety_checker": False,
            "safety_checker": [None, None],
            "scheduler": ["diffusers", "DDIMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
    )
    DDIMScheduler(**SCHEDULER).save_pretrained(os.path.join(folder, "scheduler"))


def write_part(folder, name, model):
    """One part's config.json and weights. The text encoder's names begin with `text_model.`, as published files have
    them; transformers 5 would leave the prefix out."""
    _, _, weights_file = CLASSES[name]
    model.save_pretrained(os.path.join(folder, name), safe_serialization=True)
    prefix = "text_model." if name == "text_encoder" else ""
    weights = {prefix + key.removeprefix(prefix): value for key, value in model.state_dict().items()}
    path = os.path.join(folder, name, weights_file)
    save_half(weights, path)
    config_path = os.path.join(folder, name, "config.json")
    with open(config_path, encoding="utf-8") as file:
        config = json.load(file)
    config.pop("_name_or_path", None)
    if name == "text_encoder":
        config["dtype"] = "float32"  # what to compute in: diffusers opens the other parts so
    write_json(config_path, config)


def save_half(weights, path):
    half = {key: value.detach().to(torch.float16).contiguous() for key, value in weights.items()}
    save_file(half, path, metadata={"format": "pt"})
    os.chmod(path, 0o644)


def halve_unet(trained_folder, folder):
    """Copies the UNet of a folder that t2i has written, in half precision."""
    path = os.path.join("unet", CLASSES["unet"][2])
    save_half(load_file(os.path.join(trained_folder, path)), os.path.join(folder, path))


def folder_bytes(folder):
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names)


def write_json(path, value):
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
