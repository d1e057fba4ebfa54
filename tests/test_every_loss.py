"""Every loss trains every family; what is then left says what the model predicts now, draws, and opens in diffusers.

Broken by: a loss that reads what a family's scheduler does not have, a final/ whose scheduler still speaks of what was
predicted before, a change of what is predicted that nobody is told of.
"""

import json

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from tiny import AS_CAPTIONS, metrics, settings, t2i, triplet_data

from make_folders import make_flux, make_sd15, make_sd3, make_sdxl

MAKE = {"sd15": make_sd15, "sdxl": make_sdxl, "sd3": make_sd3, "flux": make_flux}
LOSSES = {"epsilon": "epsilon", "min_snr": "epsilon", "v_prediction": "v_prediction", "rectified_flow": "flow_prediction"}
BEFORE = {"sd15": "epsilon", "sdxl": "epsilon", "sd3": "flow_prediction", "flux": "flow_prediction"}
TRAIN = settings(data__resolution=16, data__num_workers=1, train__train_batch_size=2, train__gradient_accumulation_steps=1, train__mixed_precision="fp32",
                 train__max_train_steps=2, optimizer__learning_rate=1e-3, validation__every_steps=0, checkpoint__every_steps=0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("losses")
    for family, make in MAKE.items():
        make(str(root / family))
    triplet_data(root / "data", count=4)
    return root


def opened(folder):
    """diffusers asks to be told again of parts that the folder's index says are none."""
    index = json.loads((folder / "model_index.json").read_text())
    return diffusers.DiffusionPipeline.from_pretrained(folder, **{name: None for name in ("text_encoder_3", "tokenizer_3") if index.get(name, [None])[0] is None and name in index})


def predicts(scheduler):
    """What a model with this scheduler_config.json predicts, by diffusers' reading of it."""
    return "flow_prediction" if scheduler["_class_name"].startswith("FlowMatch") else scheduler["prediction_type"]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("family", MAKE)
def test_a_loss_on_a_family(place, family, loss):
    out = place / f"{family}-{loss}"
    done = t2i("run", "--plugin", family, "--task", "text", "--loss", loss, "--model", place / family, "--data", place / "data", "--output", out, *TRAIN, *AS_CAPTIONS)
    assert len(metrics(out)) == 2 and all(np.isfinite(m["loss"]) and m["loss"] > 0 for m in metrics(out))
    change = f'the model was trained to predict "{BEFORE[family]}"', f"loss '{loss}' teaches it to predict \"{LOSSES[loss]}\""
    assert all((text in done.stdout + done.stderr) == (BEFORE[family] != LOSSES[loss]) for text in change), done.stderr
    scheduler = json.loads((out / "final" / "scheduler" / "scheduler_config.json").read_text())
    assert predicts(scheduler) == LOSSES[loss]
    pipe = opened(out / "final")
    assert type(pipe.scheduler).__name__ == scheduler["_class_name"]
    t2i("generate", "--model", out / "final", "--prompt", "a red ball", "--steps", 3, "--size", "16x16", "--output", out / "one.png")
    assert np.array(Image.open(out / "one.png")).shape == (16, 16, 3)


@pytest.mark.parametrize("loss", ["epsilon", "v_prediction"])
def test_a_flow_retrained_draws_as_its_scheduler_says(place, loss, tmp_path):
    """diffusers' pipeline of this family draws flows only (it gives its scheduler sigmas), so the loop is written out: the family's transformer
    and text of the pipeline, the scheduler of final/."""
    from safetensors.torch import load_file

    out = place / f"sd3-{loss}"
    if not (out / "final").exists():
        t2i("run", "--plugin", "sd3", "--task", "text", "--loss", loss, "--model", place / "sd3", "--data", place / "data", "--output", out, *TRAIN, *AS_CAPTIONS)
    pipe = opened(out / "final")
    with torch.no_grad():
        texts = [t.float() for t in pipe.encode_prompt("a red ball", None, None, negative_prompt="", do_classifier_free_guidance=True)]
        embeds, pooled = torch.cat([texts[1], texts[0]]), torch.cat([texts[3], texts[2]])
        t2i("generate", "--model", out / "final", "--prompt", "a red ball", "--steps", 4, "--guidance", 3, "--size", "16x16", "--output", tmp_path / "a.png",
            "--save-latents", tmp_path / "mine.safetensors")
        saved = load_file(tmp_path / "mine.safetensors")
        x = saved["latents"] * pipe.scheduler.init_noise_sigma
        pipe.scheduler.set_timesteps(4)
        for t in pipe.scheduler.timesteps:
            both = pipe.scheduler.scale_model_input(torch.cat([x, x]), t)
            none, full = pipe.transformer(both, timestep=t.expand(2), encoder_hidden_states=embeds, pooled_projections=pooled).sample.chunk(2)
            x = pipe.scheduler.step(none + 3 * (full - none), t, x).prev_sample
    error = (saved["final_latents"] - x).abs().max() / x.abs().max()
    assert error <= 1e-4, error  # sums in another order, over four steps with a guidance of 3
