"""Processes of one run: what they compute together, and what each says and returns when another dies, hangs or differs.

Breaks: collectives, the store, elastic restarts, exit codes, torchrun's error file.
"""

import os
import pathlib
import re
import socket
import subprocess
import sys
import time

import pytest

EXERCISE = pathlib.Path(os.environ["T2I_BUILD"]) / "bin" / "group_exercise"
SLACK = 45  # seconds for two processes to start and meet on a loaded machine with two cores; not part of what is measured


def stretch():
    """By how much this machine is slower than one with a core for every process that wants one."""
    return max(1.0, os.getloadavg()[0] / os.cpu_count())


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def clean_environment():
    drop = ("RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "TORCHELASTIC", "SLURM_", "OMPI_", "PET_", "GROUP_")
    return {k: v for k, v in os.environ.items() if not k.startswith(drop)} | {"OMP_NUM_THREADS": "1"}


class World:
    """Processes started by hand, as a scheduler without an agent would: rank 0 serves the store."""

    def __init__(self, size, what, timeout, argument=""):
        self.ended = {}
        port = str(free_port())
        self.processes = []
        for rank in range(size):
            env = clean_environment() | {
                "RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
            }
            self.processes.append(subprocess.Popen([EXERCISE, what, str(timeout), argument], env=env, text=True,
                                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT))

    def end(self, ranks, within):
        """Output and exit code of these ranks; the others are killed. `within` seconds for all of them."""
        limit = time.monotonic() + within
        try:
            result = {}
            for rank in ranks:
                out, _ = self.processes[rank].communicate(timeout=max(0.1, limit - time.monotonic()))
                result[rank] = (self.processes[rank].returncode, out)
            return result
        finally:
            for p in self.processes:
                if p.poll() is None:
                    p.kill()
                    p.wait()


def wait_for_line(process, start):
    for line in process.stdout:
        if line.startswith(start):
            return line
    raise AssertionError(f"no line begins with {start!r}")


def torchrun(tmp_path, *arguments, processes=2, restarts=0):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}",
               f"--max-restarts={restarts}", "--no-python", f"--log-dir={tmp_path}", "--redirects=0", str(EXERCISE), *arguments]
    return subprocess.run(command, env=clean_environment(), text=True, capture_output=True, timeout=240)


@pytest.mark.parametrize("size", [2, 3])
def test_collectives_without_an_agent(size):
    for rank, (code, out) in World(size, "collectives", 60).end(range(size), 60 + SLACK).items():
        assert code == 0, out
        assert f"rank {rank}: collectives ok" in out


def test_collectives_under_torchrun(tmp_path):
    done = torchrun(tmp_path, "collectives", "60")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rank 0: collectives ok" in done.stdout and "rank 1: collectives ok" in done.stdout


def test_reduced_gradients_train_as_one_process():
    alone, pair = World(1, "gradients", 60), World(2, "gradients", 60)
    (code, one), = alone.end([0], 60 + SLACK).values()
    assert code == 0, one
    result = pair.end([0, 1], 60 + SLACK)
    assert [result[r][0] for r in (0, 1)] == [0, 0], result
    one = [float(v) for v in one.split()]
    two = [float(v) for v in result[0][1].split()]
    assert len(one) == len(two) == 6 * 16 + 16 * 16 + 16 * 2
    # The mean over eight samples and the mean of two means over four round differently: 1e-6 is a few units in the
    # last place of weights below 1, over 20 steps.
    assert max(abs(a - b) for a, b in zip(one, two)) < 1e-6
    assert max(abs(a) for a in one) > 0.1


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_killed_peer_ends_the_others_within_5_s(victim):
    world = World(3, "killed", 60, str(victim))
    pid = wait_for_line(world.processes[victim], f"rank {victim}: pid ").split()[-1]
    died = time.monotonic()
    others = [r for r in range(3) if r != victim]
    limit = 5 * stretch()
    result = world.end(others, limit)
    assert time.monotonic() - died < limit
    for rank in others:
        code, out = result[rank]
        assert code == 76, out
        assert "T2I-E5001" in out and f"on rank {rank} of 3" in out, out
        assert "all_reduce #" in out and "'gradients'" in out, out
        assert f"rank {victim} (host " in out and f"pid {pid})" in out, out
        assert "frame #" not in out and "/pytorch/" not in out, "a stack trace is no message"


@pytest.mark.parametrize("victim", [0, 1])
def test_hung_peer_ends_the_other_after_the_timeout(victim):
    timeout = 6
    world = World(2, "stopped", timeout, str(victim))
    pid = wait_for_line(world.processes[victim], f"rank {victim}: pid ").split()[-1]
    stopped = time.monotonic()
    try:
        limit = timeout + 5 * stretch()
        code, out = world.end([1 - victim], limit)[1 - victim]
    finally:
        world.processes[victim].kill()
    assert time.monotonic() - stopped < limit
    assert time.monotonic() - stopped > timeout - 1, "a slow step within the limit is no failure"
    assert code == 76, out
    assert f"rank {victim} (host " in out and f"pid {pid})" in out and "T2I-E5001" in out, out
    assert "all_reduce #5 'gradients'" in out, out


@pytest.mark.parametrize("where", ["barrier", "collective"])
def test_own_error_of_a_rank_ends_the_others(where):
    result = World(2, "leaves", 60, where).end([0, 1], 10 + SLACK)
    assert result[1][0] == 70 and "the loss is NaN" in result[1][1], result
    assert result[0][0] == 76 and "T2I-E5001" in result[0][1], result
    assert re.search(r"rank 1 \(host .*, pid \d+\) stopped with an error", result[0][1]), result


def test_a_barrier_outlasts_the_collectives_limit():
    for code, out in World(2, "late", 2).end([0, 1], 60 + SLACK).values():
        assert code == 0 and "late ok" in out, out


def test_mismatched_ranks_are_refused_with_both_values():
    for code, out in World(2, "differ", 60).end([0, 1], 60 + SLACK).values():
        assert code == 76, out
        assert "data fingerprint differs between processes; rank 0: 'd0'; rank 1: 'd1'" in out, out
        assert "T2I-E5003" in out and "configuration" not in out.split("→")[0], out


def test_a_world_that_does_not_come_is_named():
    env = clean_environment() | {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    done = subprocess.run([EXERCISE, "collectives", "5"], env=env, text=True, capture_output=True, timeout=60)
    assert done.returncode == 78 and "MASTER_PORT is not set" in done.stderr and "T2I-E5002" in done.stderr, done.stderr


def test_taken_port_is_said():
    with socket.socket() as s:
        s.bind(("0.0.0.0", 0))
        s.listen()
        env = clean_environment() | {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(s.getsockname()[1])}
        done = subprocess.run([EXERCISE, "collectives", "5"], env=env, text=True, capture_output=True, timeout=60)
    assert done.returncode == 76 and "T2I-E5004" in done.stderr and "free port" in done.stderr, done.stderr


def test_torchrun_shows_our_message_and_restarts(tmp_path):
    failed = torchrun(tmp_path / "a", "leaves", "60", "barrier")
    assert failed.returncode != 0
    # torchrun's summary of the root cause prints what the rank left in TORCHELASTIC_ERROR_FILE.
    summary = failed.stderr[failed.stderr.index("Root Cause"):]
    assert "the loss is NaN" in summary and "T2I-E4201" in summary and re.search(r"exitcode\s*: 70", summary), failed.stderr
    again = torchrun(tmp_path / "b", "restart", "60", restarts=1)
    assert again.returncode == 0, again.stdout + again.stderr
    for rank in (0, 1):
        assert f"rank {rank}: restart ok in attempt 1" in again.stdout, again.stdout + again.stderr


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q"]))
