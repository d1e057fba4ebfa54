"""Calls tests/tools/optimizer_probe.cpp: what the optimizers make of given weights and gradients."""

import subprocess

import torch
from safetensors.torch import load_file, save_file
from tiny import BUILD

# Vectors, matrices, convolutions; below and above the 4096 weights from which moments are coded, in whole blocks of 256 and not.
SHAPES = {"bias": (7,), "norm": (96,), "small": (16, 24), "linear": (80, 64), "odd": (61, 83), "conv": (24, 20, 3, 3), "long": (4099,)}
STEPS = 20


def problem(seed=0, steps=STEPS, shapes=SHAPES, scale=1.0):
    """Weights, and gradients that agree from step to step as real ones do, of sizes that differ from weight to weight."""
    generator = torch.Generator().manual_seed(seed)

    def draw(shape):
        return torch.randn(shape, generator=generator)

    weights = {name: 0.1 * draw(shape) for name, shape in shapes.items()}
    size = {name: 10 ** draw(shape) * scale * 0.01 for name, shape in shapes.items()}
    usual = {name: draw(shape) for name, shape in shapes.items()}
    return weights, [{name: size[name] * (usual[name] + draw(shape)) for name, shape in shapes.items()} for _ in range(steps)]


def ours(folder, weights, grads, *keys, dtype="float32", options=(), code=0, **more):
    """All tensors that the probe writes; `more`: further tensors of its input."""
    tensors = {f"weights.{name}": tensor.clone() for name, tensor in weights.items()}
    for step, each in enumerate(grads):
        tensors |= {f"grads.{step}.{name}": tensor.clone() for name, tensor in each.items()}
    save_file(tensors | more, folder / "in.safetensors")
    done = subprocess.run([BUILD / "bin" / "optimizer_probe", folder / "in.safetensors", folder / "out.safetensors", dtype, *options, *keys],
                          capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return load_file(folder / "out.safetensors") if code == 0 else done.stderr


def theirs(make, weights, grads, after=lambda optimizer: None):
    """The weights after each step of torch's optimizer that `make` makes of parameters; and it."""
    parameters = {name: torch.nn.Parameter(tensor.clone()) for name, tensor in weights.items()}
    optimizer = make(list(parameters.values()))
    if hasattr(optimizer, "train"):
        optimizer.train()
    steps = []
    for each in grads:
        for name, parameter in parameters.items():
            parameter.grad = each[name].clone().to(parameter.dtype)
        optimizer.step()
        steps.append({name: parameter.detach().clone() for name, parameter in parameters.items()})
    after(optimizer)
    return steps, {name: parameter.detach().clone() for name, parameter in parameters.items()}, {name: optimizer.state[p] for name, p in parameters.items()}
