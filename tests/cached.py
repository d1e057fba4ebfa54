"""What the tests of caches share: small folders of four families, commands, and an entry's tensors as safetensors reads them."""

import json
import pathlib

from make_folders import make_flux, make_sd15, make_sd3, make_sdxl
from safetensors.torch import load
from tiny import AS_CAPTIONS, settings, t2i

MAKE = {"sd15": make_sd15, "sdxl": make_sdxl, "sd3": lambda folder: make_sd3(folder, t5={}), "flux": make_flux}
TRAIN = settings(data__resolution=16, data__num_workers=1, train__num_threads=1, train__train_batch_size=2, train__gradient_accumulation_steps=1,
                 train__mixed_precision="fp32", optimizer__learning_rate=1e-3, validation__every_steps=0)


def what(place, model="sd15", task="ip2p", data="data"):
    return ["--task", task, "--model", place / model, "--data", place / data, *TRAIN, *(AS_CAPTIONS if task == "text" else [])]


def cache(place, action, *extra, code=0, env=None):
    """Of `build`, whose configuration is a run's, and of the others, which need only the data."""
    own = what(place) if action == "build" else ["--data", place / "data"]
    return t2i("cache", action, *own, *extra, code=code, env=env)


def listed(folder, **wanted):
    lines = t2i("cache", "list", "--cache", folder, "--json").stdout.splitlines()
    return [e for e in map(json.loads, lines) if all(e[k] == v for k, v in wanted.items())]


def tensors(entry):
    bytes_ = pathlib.Path(entry["file"]).read_bytes()[entry["offset"]:entry["offset"] + entry["bytes"]]
    return load(bytes_)
