"""`t2i run` as several processes trains what it trains as one: the same weights, the same losses, also when the number of
processes changes on the way, when one of them is killed, and when one of them is asked to stop.

Breaks: the share of the batch that a rank takes, the reducer, resume, the restart under torchrun, agreement before step 1.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import T2I, metrics, sd_folder, settings, sha256, t2i, triplet_data

STEPS = 12
COMMON = settings(data__resolution=16, data__num_workers=1, train__num_threads=1, train__gradient_accumulation_steps=2,
                  train__max_train_steps=STEPS, train__mixed_precision="fp32", train__log_every_steps=1, checkpoint__every_steps=6,
                  checkpoint__keep=9, validation__every_steps=0, optimizer__lr_scheduler="cosine", train__gradient_checkpointing="true",
                  optimizer__adam_epsilon=1e-6)  # see test_adam_makes_large_what_is_nearly_zero
LAUNCH = ("RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "TORCHELASTIC", "SLURM_", "OMPI_", "PET_", "GROUP_")
PATIENCE = 600  # seconds; a loaded machine with two cores


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("processes")
    sd_folder(root / "model")
    triplet_data(root / "data")
    return root


def command(place, output, batch, *extra):
    return list(map(str, ["run", "--task", "ip2p", "--model", place / "model", "--data", place / "data", "--output", place / output,
                          *COMMON, *settings(train__train_batch_size=batch), *extra]))


def clean_environment():
    return {k: v for k, v in os.environ.items() if not k.startswith(LAUNCH)}


def start(size, arguments, per_rank=lambda rank: ([], {}), folder=lambda rank: None):
    """One process per rank, as srun starts them; per_rank gives a rank more arguments and variables, folder where it runs."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    processes = []
    for rank in range(size):
        extra, variables = per_rank(rank)
        env = clean_environment() | {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size),
                                     "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} | variables
        processes.append(subprocess.Popen([str(T2I), *arguments, *extra], env=env, cwd=folder(rank), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    return processes


def finish(processes, codes):
    outputs = [p.communicate(timeout=PATIENCE)[0] for p in processes]
    assert [p.returncode for p in processes] == codes, "\n---\n".join(outputs)
    return outputs


def state(place, output, step=STEPS):
    return place / output / f"checkpoint-{step}" / "state.safetensors"


@pytest.fixture(scope="module")
def alone(place):
    t2i(*command(place, "alone", 4), env=clean_environment())
    return load_file(state(place, "alone")), metrics(place / "alone")


@pytest.fixture(scope="module")
def pair(place):
    finish(start(2, command(place, "pair", 2)), [0, 0])
    return load_file(state(place, "pair")), metrics(place / "pair")


def assert_same_training(one, other):
    weights_one, lines_one = one
    weights_other, lines_other = other
    names = [n for n in weights_one if n.startswith("weights/")]
    assert len(names) > 50 and weights_one.keys() == weights_other.keys()
    worst = max((weights_one[n] - weights_other[n]).abs().max().item() for n in names)
    # Means over four samples and means of two means over two differ in the last bits; nothing else may.
    assert worst < 1e-6, worst
    assert [m["step"] for m in lines_one] == [m["step"] for m in lines_other] == list(range(1, STEPS + 1))
    for key in ("loss", "raw_loss", "grad_norm"):
        for a, b in zip(lines_one, lines_other):
            assert abs(a[key] - b[key]) <= 1e-5 * abs(a[key]), (key, a, b)


def test_two_processes_equal_one_with_twice_the_batch(place, alone, pair):
    assert_same_training(alone, pair)
    first = load_file(place / "model" / "unet" / "diffusion_pytorch_model.safetensors")
    moved = max((alone[0]["weights/" + n] - t).abs().max().item() for n, t in first.items() if t.shape == alone[0]["weights/" + n].shape)
    assert moved > 1e-4, "training moves the weights a hundred times further than the two runs may differ"


def test_adam_makes_large_what_is_nearly_zero(place):
    """With AdamW's usual epsilon of 1e-8 a gradient that is zero but for rounding (about 1e-9 here) still moves its weight
    by a good part of the learning rate, in a direction that the order of summation decides. So a few weights in a
    million differ by more than 1e-6 there; none by more than the steps it was moved by."""
    usual = settings(optimizer__adam_epsilon=1e-8)
    t2i(*command(place, "usual-alone", 4, *usual), env=clean_environment())
    finish(start(2, command(place, "usual-pair", 2, *usual)), [0, 0])
    one, other = load_file(state(place, "usual-alone")), load_file(state(place, "usual-pair"))
    apart = torch.cat([(one[n] - other[n]).abs().flatten() for n in one if n.startswith("weights/")])
    assert (apart > 1e-6).float().mean() < 1e-4 and apart.max() < 1e-4, (apart > 1e-6).sum()


def test_a_pair_repeats_its_bits(place, pair):
    finish(start(2, command(place, "pair-again", 2)), [0, 0])
    assert sha256(state(place, "pair-again")) == sha256(state(place, "pair"))


@pytest.mark.parametrize("before, after", [(1, 2), (2, 1), (2, 4)])
def test_the_number_of_processes_may_change(place, alone, before, after):
    output = f"from-{before}-to-{after}"
    until = settings(train__max_train_steps=6, optimizer__lr_scheduler="constant")
    on = settings(optimizer__lr_scheduler="constant")
    change = ["--allow-change", "train.train_batch_size"]

    def train(size, name, *extra):
        arguments = command(place, name, 4 // size, *extra)
        if size == 1:
            t2i(*arguments, env=clean_environment())
        else:
            finish(start(size, arguments), [0] * size)

    if not (place / "constant" / "final").exists():
        train(1, "constant", *on)
    train(before, output, *until)
    train(after, output, *on, *change)
    assert_same_training((load_file(state(place, "constant")), metrics(place / "constant")), (load_file(state(place, output)), metrics(place / output)))


def test_a_killed_rank_under_torchrun_changes_no_bit(place, pair):
    # Rank 1 of the first attempt dies in step 9, after checkpoint-6; torchrun starts both again.
    script = 'if [ "$RANK$TORCHELASTIC_RESTART_COUNT" = 10 ]; then export T2I_KILL_POINT=step:9; fi; exec "$0" "$@"'
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=2", "--no-python",
                           "bash", "-c", script, str(T2I), *command(place, "killed", 2)],
                          env=clean_environment(), text=True, capture_output=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "going on from step 6" in done.stdout + done.stderr
    assert sha256(state(place, "killed")) == sha256(state(place, "pair"))
    assert [m["loss"] for m in metrics(place / "killed")] == [m["loss"] for m in pair[1]]


def test_a_lost_rank_ends_the_other_with_76(place):
    started = start(2, command(place, "lost", 2), lambda rank: ([], {"T2I_KILL_POINT": "step:3"} if rank == 1 else {}))
    output, _ = finish(started, [76, -signal.SIGKILL])
    assert "T2I-E5001" in output and re.search(r"rank 1 \(host \S+, pid %d\)" % started[1].pid, output), output


def test_a_signal_to_one_rank_stops_all_after_the_same_step(place, pair):
    """At once, not at the next logging step: this run has none before its end."""
    processes = start(2, command(place, "signalled", 2, *settings(train__log_every_steps=100, checkpoint__every_steps=2)))
    while not state(place, "signalled", 2).exists():
        assert processes[0].poll() is None, processes[0].communicate()
        time.sleep(0.002)
    processes[1].send_signal(signal.SIGTERM)
    finish(processes, [75, 75])
    last = metrics(place / "signalled")[-1]["step"]
    assert last < STEPS and state(place, "signalled", last).exists()
    finish(start(2, command(place, "signalled", 2)), [0, 0])
    assert sha256(state(place, "signalled")) == sha256(state(place, "pair"))


def test_ranks_whose_weights_differ_do_not_train(place):
    """The same configuration and path, but one machine has an older copy of the model."""
    folder = place / "stale"
    for rank in range(2):
        (folder / f"machine{rank}").mkdir(parents=True)
        shutil.copytree(place / "model", folder / f"machine{rank}" / "model")
    weights = folder / "machine1" / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["conv_in.weight"][0, 0, 0, 0] += 1e-3
    save_file(tensors, weights, {"format": "pt"})
    arguments = command(place, "stale/out", 2)
    arguments[arguments.index(str(place / "model"))] = "model"
    outputs = finish(start(2, arguments, folder=lambda rank: folder / f"machine{rank}"), [76, 76])
    assert all("T2I-E5003" in o and "weights of unet" in o for o in outputs), outputs


def test_a_loss_that_is_no_number_names_the_samples_of_its_rank(place):
    """One rank's row is bad; both stop, and both name that rank's samples and not the others'."""
    folder = place / "poisoned"
    shutil.copytree(place / "model", folder / "model")
    shutil.copytree(place / "data", folder / "data")
    lines = [json.loads(line) for line in (folder / "data" / "metadata.jsonl").read_text().splitlines()]
    lines[7]["instruction"] = "z"
    (folder / "data" / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    encoder = folder / "model" / "text_encoder" / "model.safetensors"
    tensors = load_file(encoder)
    vocabulary = json.loads((folder / "model" / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]
    tensors[next(n for n in tensors if n.endswith("token_embedding.weight"))][vocabulary["z</w>"]] = float("nan")
    save_file(tensors, encoder, {"format": "pt"})
    arguments = command(folder, "out", 2)
    outputs = finish(start(2, arguments), [70, 70])
    for output in outputs:
        line = next(line for line in output.splitlines() if "T2I-E4201" in line)
        samples = re.search(r"Its samples: (rank \d): (.*?)\. →", line)
        assert samples and "metadata.jsonl:8" in samples[2] and line.count("rank ") == 1, line


@pytest.mark.parametrize("what", ["configuration", "data"])
def test_ranks_that_differ_do_not_train(place, tmp_path, what):
    arguments = command(place, f"differ-{what}", 2)
    if what == "configuration":
        other = settings(train__seed=43)
    else:  # the same path, seen as another folder by rank 1: what a stale copy on one machine looks like
        other = settings(data__path=triplet_data(tmp_path / "data", count=39))
        at = arguments.index("--data")
        arguments[at:at + 2] = settings(data__path=place / "data")
    outputs = finish(start(2, arguments, lambda rank: (other if rank else [], {})), [76, 76])
    for output in outputs:
        # A path of its own is a difference of the configuration as well; both are told at once.
        assert f"{what} differs between processes; rank " in output and "rank 0: '" in output and "rank 1: '" in output and "T2I-E5003" in output, output
    assert not list(pathlib.Path(place / f"differ-{what}").glob("checkpoint-*"))


def test_weights_that_change_within_backward_are_one_processs(place):
    """Each would move its weights by its own gradient, and they would drift apart."""
    alone = settings(optimizer__fused_backward="true", train__gradient_accumulation_steps=1, train__max_grad_norm=0)
    for output in finish(start(2, command(place, "fused", 2, *alone)), [78, 78]):
        assert "optimizer.fused_backward: does not go with 2 processes. They average their gradients before the weights change. → set it to false, or run one process" \
            in output and "[T2I-E7204]" in output, output
    assert not list((place / "fused").glob("checkpoint-*")) and not (place / "fused" / "final").exists()
