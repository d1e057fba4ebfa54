"""Training at full size on a machine without a GPU: a LoRA beside frozen weights, packed or not, and full fine-tuning with
eight-bit moments, at 512 pixels, and what memory it took. Labelled slow: FLUX.1 needs 33 GB of disk and 24 GB of memory.

Random weights (make_full_size_pipeline.py): that losses are right is shown on small models; here it is that the steps are made,
within the memory that people have.
"""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tiny import AS_CAPTIONS, T2I, metrics, settings, triplet_data

HERE = os.path.dirname(os.path.abspath(__file__))
COMMON = dict(data__resolution=512, data__num_workers=1, train__train_batch_size=1, train__gradient_accumulation_steps=1, train__max_train_steps=2,
              train__mixed_precision="bf16", validation__every_steps=0, checkpoint__every_steps=0)
FROZEN = dict(model__dtype="bfloat16", train__dtype="float32")
# Name, settings, the most that may be resident in bytes, what the folder takes on the disk.
RUNS = {
    "sdxl": (FROZEN | dict(lora__rank=4), 8.5e9, 7e9),
    "sd15": (FROZEN | dict(optimizer__name="adamw8bit", optimizer__fused_backward="true", train__max_grad_norm=0), 7e9, 6e9),
    "sd35-large": (FROZEN | dict(lora__rank=32, model__quantization="nf4", model__text_encoder_quantization="nf4"), 24e9, 27e9),
    "flux-dev": (FROZEN | dict(lora__rank=16, model__quantization="nf4", model__text_encoder_quantization="nf4"), 24e9, 35e9),
}


@pytest.mark.parametrize("name", RUNS)
def test_training(tmp_path, name):
    chosen, most, disk = RUNS[name]
    if shutil.disk_usage(tmp_path).free < disk:
        pytest.skip(f"takes {disk / 1e9:.0f} GB of disk")
    subprocess.run([sys.executable, os.path.join(HERE, "make_full_size_pipeline.py"), name, tmp_path / "model"], check=True)
    triplet_data(tmp_path / "data", count=2, side=512)
    asked = ["--task", "text", "--model", tmp_path / "model", "--data", tmp_path / "data", "--output", tmp_path / "out", *AS_CAPTIONS,
             *settings(**(COMMON | chosen))]
    planned = json.loads(subprocess.run([T2I, "plan", *asked, "--json"], check=True, capture_output=True, text=True).stdout)
    process = subprocess.Popen([T2I, "run", *map(str, asked)])
    _, status, used = os.wait4(process.pid, 0)
    resident = used.ru_maxrss * 1024
    print(f"{name}: at most {resident / 1e9:.2f} GB resident, planned {json.dumps(planned.get('memory', planned))[:400]}")
    assert status == 0
    lines = metrics(tmp_path / "out")
    print([(m["loss"], m["step_seconds"]) for m in lines])
    assert len(lines) == 2 and np.isfinite([m["loss"] for m in lines]).all()
    shutil.rmtree(tmp_path)
    assert resident < most
