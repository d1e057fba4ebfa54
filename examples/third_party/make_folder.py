"""Makes a model folder for tiny.cpp, with random weights to start from: python make_folder.py FOLDER [WIDTH DEPTH HEADS]"""

import json
import os
import sys

import numpy as np
from safetensors.numpy import save_file

folder, *numbers = sys.argv[1:]
dim, depth, heads = map(int, numbers or (64, 2, 4))
random = np.random.default_rng(0)
tensors = {}


def add(name, *shape):  # fan-in uniform, biases zero
    bound = 1 / np.sqrt(np.prod(shape[1:]))
    tensors[name + ".weight"] = random.uniform(-bound, bound, shape).astype(np.float32)
    tensors[name + ".bias"] = np.zeros(shape[0], np.float32)


def write(path, value):
    os.makedirs(os.path.dirname(os.path.join(folder, path)), exist_ok=True)
    with open(os.path.join(folder, path), "w") as f:
        json.dump(value, f, indent=2)


add("in", dim, 48, 3, 3)
add("time", dim, dim)
for i in range(depth):
    for name, rows, columns in (("qkv", 3 * dim, dim), ("out", dim, dim), ("up", 4 * dim, dim), ("down", dim, 4 * dim)):
        add(f"blocks.{i}.{name}", rows, columns)
add("head", 48, dim)
write("model_index.json", {"_class_name": "TinyPipeline", "transformer": ["tiny", "Tiny"], "text_encoder": ["tiny", "TinyText"],
                           "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]})
write("transformer/config.json", {"_class_name": "Tiny", "dim": dim, "depth": depth, "heads": heads, "in_channels": 48})
write("text_encoder/config.json", {"_class_name": "TinyText", "dim": dim})
write("scheduler/scheduler_config.json", {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.0})
save_file(tensors, os.path.join(folder, "transformer", "diffusion_pytorch_model.safetensors"))
embedding = random.normal(0, 0.02, (256, dim)).astype(np.float32)
save_file({"embedding": embedding}, os.path.join(folder, "text_encoder", "model.safetensors"))
