"""What a step keeps for backward: every block, none, every n-th or as many as a budget allows. The bits that are trained are the same;
what is resident is not.

Broken by: a block whose second run sees another input, gradients summed in another order, a choice that is announced and not made.
"""

import json
import re

import pytest
from tiny import AS_CAPTIONS, metrics, settings, sha256, t2i, triplet_data

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


# ---- by a budget ----


def planned(place, family, **changes):
    done = t2i("plan", "--json", "--task", "text", "--model", place / family, "--data", place / "data", *TRAIN, *AS_CAPTIONS, *settings(**changes))
    return json.loads(done.stdout)["memory"]


@pytest.mark.parametrize("family", MAKE)
def test_a_budget_chooses_as_few_blocks_as_fit(place, all_again, family):
    kept, again = (planned(place, family, train__gradient_checkpointing=word)["step_bytes"] for word in ("false", "true"))
    assert again < kept
    budget = (kept + again) / 2 / 1e9
    within = planned(place, family, train__activation_memory_gb=budget)
    chosen = sum(block["again"] for block in within["blocks"])
    assert 0 < chosen <= len(within["blocks"]) and within["step_bytes"] <= budget * 1e9
    out = place / f"{family}-budget"
    done = t2i("run", "--task", "text", "--model", place / family, "--data", place / "data", "--output", out, *TRAIN, *AS_CAPTIONS,
               *settings(train__activation_memory_gb=budget))
    said = re.search(r"(\d+) of (\d+) blocks (?:is|are) computed again in backward: activations take", done.stderr)
    assert (int(said[1]), int(said[2])) == (chosen, len(within["blocks"]))
    assert ([m["loss"] for m in metrics(out)], sha256(out / "checkpoint-2" / "state.safetensors")) == all_again[family]


def test_a_large_budget_keeps_everything(place):
    assert not any(block["again"] for block in planned(place, "sd15", train__activation_memory_gb=100)["blocks"])


def test_a_budget_that_cannot_be_kept(place):
    done = t2i("run", "--task", "text", "--model", place / "sd15", "--data", place / "data", "--output", place / "none", *TRAIN, *AS_CAPTIONS,
               *settings(train__activation_memory_gb=1e-6), code=78)
    assert "even when every block is computed again" in done.stderr and "[T2I-E7251]" in done.stderr


@pytest.mark.parametrize("other", [dict(train__gradient_checkpointing="false"), dict(train__checkpoint_every_n_blocks=2)])
def test_a_budget_and_another_choice_contradict_each_other(place, other):
    done = t2i("run", "--task", "text", "--model", place / "sd15", "--data", place / "data", "--output", place / "none", *TRAIN, *AS_CAPTIONS,
               *settings(train__activation_memory_gb=1, **other), code=78)
    assert "[T2I-E1011]" in done.stderr
