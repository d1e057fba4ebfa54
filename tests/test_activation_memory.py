"""What a step keeps for backward: every block, none, every n-th or as many as a budget allows. The bits that are trained are the same;
what is resident is not.

Broken by: a block whose second run sees another input, gradients summed in another order, a choice that is announced and not made.
"""

import os
import subprocess

import pytest
from tiny import AS_CAPTIONS, T2I, metrics, settings, sha256, t2i, triplet_data

from make_folders import make_flux, make_sd15, make_sd3, make_sdxl

MAKE = {"sd15": make_sd15, "sdxl": make_sdxl, "sd3": lambda folder: make_sd3(folder, t5={}), "flux": make_flux}
# Half precision too: what backward computes again must be rounded as it was.
TRAIN = settings(data__resolution=16, data__num_workers=1, train__train_batch_size=2, train__gradient_accumulation_steps=2,
                 train__max_train_steps=2, optimizer__learning_rate=1e-3, validation__every_steps=0)
KEPT = {"none again": dict(train__gradient_checkpointing="false"),
        "every second": dict(train__checkpoint_every_n_blocks=2),
        "every third": dict(train__checkpoint_every_n_blocks=3)}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("activations")
    for family, make in MAKE.items():
        make(str(root / family))
    triplet_data(root / "data", count=8)
    return root


def trained(place, family, name, *more, **changes):
    out = place / f"{family}-{name.replace(' ', '-')}"
    t2i("run", "--task", "text", "--model", place / family, "--data", place / "data", "--output", out, *TRAIN, *AS_CAPTIONS, *more, *settings(**changes))
    return [m["loss"] for m in metrics(out)], sha256(out / "checkpoint-2" / "state.safetensors")


@pytest.fixture(scope="module")
def all_again(place):
    """Weights and moments with every block computed again."""
    return {family: trained(place, family, "all again") for family in MAKE}


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("family", MAKE)
def test_what_is_kept_does_not_change_what_is_trained(place, all_again, family, name):
    assert trained(place, family, name, **KEPT[name]) == all_again[family]


def test_a_run_may_go_on_with_another_choice(place, all_again):
    """A run that ran out of memory need not begin anew."""
    out = place / "sd15-goes-on"
    for steps, again in ((1, "false"), (2, "true")):
        t2i("run", "--task", "text", "--model", place / "sd15", "--data", place / "data", "--output", out, *TRAIN, *AS_CAPTIONS,
            *settings(train__max_train_steps=steps, train__gradient_checkpointing=again))
    assert sha256(out / "checkpoint-2" / "state.safetensors") == all_again["sd15"][1]
