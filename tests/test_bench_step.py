"""bench/ in small, few steps: both sides train alike, and a table with both comes out. What the table says of speed is not
looked at here."""

import os
import re
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("T2I_BUILD", os.path.join(HERE, "..", "build"))
STEP = os.path.join(HERE, "..", "bench", "step")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    work = tmp_path_factory.mktemp("bench")
    command = [sys.executable, os.path.join(STEP, "run.py"), "--model", "small", "--pairs", "1", "--steps", "3", "--warmup", "1",
               "--threads", "1", "--build", BUILD, "--work", work]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_losses_agree_and_both_sides_are_in_the_table(table):
    head, _, row = ([cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()[:3])
    cells = dict(zip(head, row, strict=True))
    assert cells["model"] == "small" and cells["dtype"] == "float32" and cells["pairs"] == "1 of 1"
    for name in ("step t2i, s", "step diffusers, s", "peak t2i, MiB", "peak diffusers, MiB", "first step t2i, s", "first step diffusers, s"):
        assert float(cells[name]) > 0, name
    first, over_run = map(float, re.search(r"differ by (\S+) at step 1, by (\S+) at most", table).groups())
    assert first < 1e-5 and over_run < 1e-4


def test_losses_that_differ_stop_the_comparison():
    sys.path.insert(0, STEP)
    from run import disagreement

    def side(name, *losses):
        return {"side": name, "losses": losses, "parameters": 10}

    assert disagreement(side("t2i", 1.0, 0.90005), side("diffusers", 1.000001, 0.9), "float32") is None
    assert "step 1" in disagreement(side("t2i", 1.0, 0.9), side("diffusers", 1.0001, 0.9), "float32")
    assert "step 2" in disagreement(side("t2i", 1.0, 0.91), side("diffusers", 1.0, 0.9), "float32")
    assert "step 1" in disagreement(side("t2i", float("nan")), side("diffusers", 1.0), "bfloat16")
    assert "parameters" in disagreement(side("t2i", 1.0), {**side("diffusers", 1.0), "parameters": 11}, "float32")


def test_the_reducers_agree_and_a_line_with_both_comes_out():
    """bench/reduce: the gradients of t2i's reducer are those of torch's DistributedDataParallel."""
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--no-python",
                           os.path.join(BUILD, "bin", "t2i_reduce"), "6", "96", "8", "3"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"2 ranks, .* t2i [\d.]+, c10d [\d.]+; c10d / t2i [\d.]+", done.stdout), done.stdout
