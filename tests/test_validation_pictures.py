"""Validation pictures are what `t2i generate` draws from the same weights with the same noise, at step 0 too.

Broken by: noise that follows the training's draws, guidance or sampler of another place, pictures of the weights where the
average is kept, a first picture that is drawn after the first step.
"""

import numpy as np
import pytest
from PIL import Image
from tiny import AS_CAPTIONS, sd_folder, settings, sha256, t2i, triplet_data

# Threads as `t2i generate` has them: all, in both.
COMMON = settings(data__resolution=16, data__num_workers=1, train__gradient_accumulation_steps=1, train__mixed_precision="fp32", train__train_batch_size=2,
                  train__max_train_steps=4, checkpoint__every_steps=0, validation__every_steps=2, validation__prompts="[edit number 3, a red square]",
                  validation__negative_prompt="a blue one", validation__steps=3, validation__seed=11, validation__num_images=2, validation__guidance_scale=4.5)
# The same, said to generate: as many at once too, since a matrix product rounds by the number of its rows.
DRAW = ["--prompt", "edit number 3", "--prompt", "a red square", "--negative", "a blue one", "--steps", 3, "--seed", 11, "--count", 2, "--guidance", 4.5,
        "--batch", 2, "--size", "16x16"]
NAMES = ["000-0.png", "000-1.png", "001-0.png", "001-1.png"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("validation")
    sd_folder(root / "model")
    triplet_data(root / "data", count=8)
    return root


def run(place, output, task="text", **changes):
    columns = AS_CAPTIONS if task == "text" else []
    t2i("run", "--task", task, "--model", place / "model", "--data", place / "data", "--output", place / output, *COMMON, *columns, *settings(**changes))
    return place / output / "validation_images"


def pixels(paths):
    pictures = np.stack([np.asarray(Image.open(path)).astype(int) for path in paths])
    assert pictures.shape == (4, 16, 16, 3)
    for i in range(4):  # a random network paints something, and something else from other noise and for another prompt
        assert pictures[i].std() > 1 and all((pictures[i] != pictures[j]).any() for j in range(i))
    return pictures


def drawn(place, model, *more):
    output = place / f"drawn-{model.replace('/', '-')}-{len(more)}"
    t2i("generate", "--model", place / model, "--output", output, *DRAW, *more)
    return pixels(sorted(output.glob("*.png")))


def at_step(folder, step):
    return pixels([folder / f"step-{step:07}" / name for name in NAMES])


def test_every_so_many_steps_and_before_the_first(place):
    folder = run(place, "learning", optimizer__learning_rate=1e-2)
    assert sorted(path.name for path in folder.iterdir()) == ["step-0000000", "step-0000002", "step-0000004"]
    assert sorted(path.name for path in (folder / "step-0000002").iterdir()) == NAMES
    assert (at_step(folder, 0) == drawn(place, "model")).all()
    assert (at_step(folder, 4) == drawn(place, "learning/final")).all()
    assert (at_step(folder, 0) != at_step(folder, 2)).any() and (at_step(folder, 2) != at_step(folder, 4)).any()


def test_the_noise_is_the_same_at_every_validation(place):
    folder = run(place, "resting", optimizer__learning_rate=0)
    for name in NAMES:
        pictures = [Image.open(folder / f"step-{step:07}" / name) for step in (0, 2, 4)]
        assert len({picture.tobytes() for picture in pictures}) == 1
        # ... and what else the file says is the same but for the step.
        assert [picture.text.pop("step") for picture in pictures] == ["0", "2", "4"]
        assert pictures[0].text == pictures[1].text == pictures[2].text and pictures[0].text["prompt"] in DRAW
    again = run(place, "other-seed", optimizer__learning_rate=0, train__seed=7)
    for name in NAMES:
        assert sha256(again / "step-0000000" / name) == sha256(folder / "step-0000000" / name), "the training's seed has no part in it"


def test_drawing_changes_no_training(place):
    for every in (0, 1):
        run(place, f"drawing-{every}", validation__every_steps=every, train__use_ema="true")
    assert not (place / "drawing-0" / "validation_images").exists()
    states = [sha256(place / f"drawing-{every}" / "checkpoint-4" / "state.safetensors") for every in (0, 1)]
    assert states[0] == states[1]


def test_pictures_come_from_the_average(place):
    """final/ holds the average then. The same run without one shows what the weights themselves would have drawn."""
    folder = run(place, "average", optimizer__learning_rate=1e-2, train__use_ema="true")
    assert (at_step(folder, 4) == drawn(place, "average/final")).all()
    run(place, "no-average", optimizer__learning_rate=1e-2, validation__every_steps=0)
    assert (at_step(folder, 4) != drawn(place, "no-average/final")).any()


def test_pictures_of_a_task_that_edits(place):
    """The source's part of the guidance too; before the first step the added channels see nothing."""
    source = place / "data" / "5-in.png"
    folder = run(place, "edits", task="ip2p", optimizer__learning_rate=1e-2, validation__images=f"[{source}]", validation__image_guidance_scale=1.2)
    edit = ["--task", "ip2p", "--image", source, "--image-guidance", 1.2]
    assert (at_step(folder, 0) == drawn(place, "model", *edit)).all()
    assert (at_step(folder, 4) == drawn(place, "edits/final", *edit)).all()
