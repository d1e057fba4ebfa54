"""A run that is killed, stopped or restarted ends with the bits of the run that nobody touched."""

import random
import signal
import subprocess
import time

import pytest
from tiny import AS_CAPTIONS, T2I, metrics, sd_folder, settings, sha256, t2i, triplet_data

STEPS = 30
COMMON = settings(data__resolution=16, data__num_workers=1, train__num_threads=1, train__gradient_accumulation_steps=1, train__max_train_steps=STEPS, train__mixed_precision="fp32", train__train_batch_size=2,
                  train__use_ema="true", checkpoint__every_steps=4, checkpoint__keep=2, validation__every_steps=0, optimizer__lr_scheduler="cosine",
                  optimizer__lr_warmup_steps=5)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    sd_folder(root / "model")
    triplet_data(root / "data")
    return root


def command(place, output, task, *extra):
    columns = AS_CAPTIONS if task == "text" else []
    return ["run", "--task", task, "--model", place / "model", "--data", place / "data", "--output", place / output, *COMMON, *columns, *extra]


def state_of(place, output):
    return sha256(place / output / f"checkpoint-{STEPS}" / "state.safetensors")


@pytest.fixture(scope="module")
def untouched(place):
    t2i(*command(place, "untouched", "ip2p"))
    return state_of(place, "untouched"), [(m["step"], m["loss"], m["grad_norm"], m["lr"]) for m in metrics(place / "untouched")]


def test_thirty_kills_change_no_bit(place, untouched):
    """Kills fall anywhere in a process's life: loading, encoding, stepping, saving. Whoever survives starts a new folder."""
    hash_untouched, lines_untouched = untouched
    began = time.monotonic()
    t2i(*command(place, "timed", "ip2p"))
    lifetime = time.monotonic() - began
    moments = random.Random(20261121)
    kills, folder, steps_seen = 0, 0, []
    for _ in range(90):
        output = f"killed-{folder}"
        process = subprocess.Popen([str(T2I), *map(str, command(place, output, "ip2p"))], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(0, lifetime))
        process.kill()
        if process.wait() == 0:  # it was done by then: a process that has ended stays ended
            folder += 1
        else:
            assert process.returncode == -signal.SIGKILL
            kills += 1
            lines = place / output / "metrics.jsonl"
            steps_seen.append(len(lines.read_text().splitlines()) if lines.exists() else 0)
        if kills == 30:
            break
    assert kills == 30
    assert len(set(steps_seen)) >= 5, f"kills fell on too few different steps: {steps_seen}"
    for output in sorted(p.name for p in place.glob("killed-*")):
        t2i(*command(place, output, "ip2p"))
        assert state_of(place, output) == hash_untouched
        assert [(m["step"], m["loss"], m["grad_norm"], m["lr"]) for m in metrics(place / output)] == lines_untouched
        assert not list((place / output).glob(".tmp-*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_saves_the_current_step(place, untouched, number):
    output = f"signal-{number}"
    process = subprocess.Popen([str(T2I), *map(str, command(place, output, "ip2p", *settings(checkpoint__every_steps=1000)))], stderr=subprocess.PIPE, text=True)
    while " a step, " not in process.stderr.readline():  # said after the first step
        assert process.poll() is None
    process.send_signal(number)
    process.communicate(timeout=300)
    assert process.returncode == 75
    saved = [int(p.name.split("-")[1]) for p in (place / output).glob("checkpoint-*")]
    assert len(saved) == 1 and saved[0] == metrics(place / output)[-1]["step"], "the step that was done is the step that was saved"
    t2i(*command(place, output, "ip2p", *settings(checkpoint__every_steps=1000)))
    assert state_of(place, output) == untouched[0]


def delivered(process, number):
    """Waits until a signal that was sent is no longer pending: a second one would be lost in it."""
    waiting = 1 << (number - 1)
    while any(int(line.split()[1], 16) & waiting for line in open(f"/proc/{process.pid}/status") if line.startswith(("ShdPnd", "SigPnd"))):
        time.sleep(0.01)


def test_a_second_interrupt_ends_it_at_once(place):
    """In the middle of a step that would take minutes: the first waits for its end, to save; the second does not. What was
    there before is there afterwards, and the run goes on from it."""
    first = settings(train__max_train_steps=4, optimizer__lr_scheduler="constant")
    t2i(*command(place, "impatient", "ip2p", *first))
    before = sha256(place / "impatient" / "checkpoint-4" / "state.safetensors")
    longer = [*first, *settings(train__max_train_steps=6, train__gradient_accumulation_steps=20000), "--allow-change", "train.gradient_accumulation_steps"]
    process = subprocess.Popen([str(T2I), *map(str, command(place, "impatient", "ip2p", *longer))], stderr=subprocess.PIPE, text=True)
    try:
        while "going on from step 4" not in process.stderr.readline():  # the last that is said before the first step
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        delivered(process, signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
    finally:
        process.kill()
        process.wait()
    assert sorted(path.name for path in (place / "impatient").glob("checkpoint-*")) == ["checkpoint-4"]
    assert sha256(place / "impatient" / "checkpoint-4" / "state.safetensors") == before and metrics(place / "impatient")[-1]["step"] == 4
    assert "going on from step 4" in t2i(*command(place, "impatient", "ip2p", *first, *settings(train__max_train_steps=5))).stderr


def test_an_interrupt_after_another_signal_is_the_first_of_its_kind(place):
    """A scheduler's SIGTERM and then one Ctrl-C: the step is still finished and saved."""
    process = subprocess.Popen([str(T2I), *map(str, command(place, "two-kinds", "ip2p", *settings(train__gradient_accumulation_steps=10)))],
                               stderr=subprocess.PIPE, text=True)
    while " a step, " not in process.stderr.readline():
        assert process.poll() is None
    for number in (signal.SIGTERM, signal.SIGINT):
        process.send_signal(number)
        delivered(process, number)
    assert process.wait(timeout=300) == 75
    assert [path.name for path in (place / "two-kinds").glob("checkpoint-*")] == ["checkpoint-1"]


@pytest.mark.parametrize("change", [dict(train__gradient_checkpointing="false"), dict(data__num_workers=0), dict(data__num_workers=4)])
def test_what_must_not_matter_does_not(place, untouched, change):
    output = "other-" + "-".join(f"{k}{v}" for k, v in change.items())
    t2i(*command(place, output, "ip2p", *settings(**change)))
    assert state_of(place, output) == untouched[0]


def test_the_seed_matters(place, untouched):
    t2i(*command(place, "seed", "ip2p", *settings(train__seed=43)))
    assert state_of(place, "seed") != untouched[0]


def test_a_changed_setting_is_refused_by_name(place, untouched):
    done = t2i(*command(place, "untouched", "ip2p", *settings(optimizer__learning_rate=0.5)), code=78)
    assert "optimizer.learning_rate" in done.stderr and "E1030" in done.stderr
    assert state_of(place, "untouched") == untouched[0]


def test_a_longer_run_goes_on(place, untouched):
    t2i(*command(place, "longer", "text"))
    t2i(*command(place, "longer", "text", *settings(train__max_train_steps=STEPS + 4)))
    assert metrics(place / "longer")[-1]["step"] == STEPS + 4


def test_changed_data_is_refused(place, tmp_path):
    data = triplet_data(tmp_path / "data", count=12)
    arguments = [data if a == place / "data" else a for a in command(place, "data-changes", "ip2p", *settings(train__max_train_steps=4))]
    t2i(*arguments)
    triplet_data(tmp_path / "data", count=13)
    done = t2i(*arguments, code=78)
    assert "E4131" in done.stderr


def test_an_output_in_use_is_refused(place):
    first = subprocess.Popen([str(T2I), *map(str, command(place, "busy", "ip2p", *settings(train__max_train_steps=5000)))], stderr=subprocess.DEVNULL)
    try:
        while not (place / "busy" / "metrics.jsonl").exists():
            assert first.poll() is None
            time.sleep(0.01)
        done = t2i(*command(place, "busy", "ip2p"), code=73)
        assert str(first.pid) in done.stderr
    finally:
        first.kill()
        first.wait()
