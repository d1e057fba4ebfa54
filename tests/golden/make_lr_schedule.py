"""Writes lr_schedule.json: what diffusers multiplies the learning rate with, step by step.

python tests/golden/make_lr_schedule.py   (made with diffusers 0.42.1, torch 2.11.0)
"""
import itertools
import json
import pathlib

import torch
from diffusers.optimization import get_scheduler


def multipliers(name, warmup, total, cycles, power, learning_rate):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=learning_rate)
    schedule = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=total, num_cycles=cycles, power=power)
    return [float(schedule.lr_lambdas[0](step)) for step in range(total + 5)]


cases = []
for name, (warmup, total) in itertools.product(
        ["constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"],
        [(0, 10), (3, 17), (7, 61), (25, 20)]):
    if name == "polynomial" and warmup > total:
        continue  # diffusers leaves its own range there
    variants = [(1, 1.0, 1e-4)]
    if name == "cosine_with_restarts":
        variants += [(3, 1.0, 1e-4), (4, 1.0, 1e-4)]
    if name == "polynomial":
        variants += [(1, 2.0, 3e-5), (1, 0.7, 0.1)]
    for cycles, power, learning_rate in variants:
        cases.append(dict(name=name, warmup=warmup, total=total, cycles=cycles, power=power, learning_rate=learning_rate,
                          multipliers=multipliers(name, warmup, total, cycles, power, learning_rate)))
rows = ",\n".join(json.dumps(case) for case in cases)
pathlib.Path(__file__).with_name("lr_schedule.json").write_text("[\n" + rows + "\n]\n")
