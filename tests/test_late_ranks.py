"""Processes of one run that are not started together: who is there says once whom it waits for, and the run begins when all
have come.

Breaks: minutes without a word when one machine of a job did not start.
"""

import re
import subprocess
import threading
import time

import pytest
from test_two_processes_train import COMMON, PATIENCE, clean_environment
from tiny import T2I, sd_folder, settings, triplet_data


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("late")
    sd_folder(root / "model")
    triplet_data(root / "data", count=8)
    return root


class Job:
    def __init__(self, place, output, size, port):
        self.arguments = ["run", "--task", "ip2p", "--model", place / "model", "--data", place / "data", "--output", place / output, *COMMON,
                          *settings(train__train_batch_size=1, train__max_train_steps=2)]
        self.size, self.port, self.processes, self.said, self.readers = size, port, {}, {}, []

    def start(self, rank):
        env = clean_environment() | {"RANK": str(rank), "WORLD_SIZE": str(self.size), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(self.size),
                                     "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": self.port}
        process = subprocess.Popen([str(T2I), *map(str, self.arguments)], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.processes[rank], self.said[rank] = process, []
        self.readers.append(threading.Thread(target=lambda: self.said[rank].extend(iter(process.stdout.readline, ""))))
        self.readers[-1].start()

    def wait_for(self, rank, text):
        """The line with `text`, and the seconds until it came."""
        began = time.monotonic()
        while time.monotonic() - began < PATIENCE:
            for line in list(self.said[rank]):
                if text in line:
                    return line, time.monotonic() - began
            assert self.processes[rank].poll() is None, self.said[rank]
            time.sleep(0.05)
        raise AssertionError(self.said[rank])

    def end(self):
        """Everything said, by rank, once all have ended well."""
        codes = {rank: process.wait(timeout=PATIENCE) for rank, process in self.processes.items()}
        for reader in self.readers:
            reader.join()
        assert set(codes.values()) == {0}, self.said
        return {rank: "".join(lines) for rank, lines in self.said.items()}

    def kill(self):
        for process in self.processes.values():
            process.kill()
            process.wait()
        for reader in self.readers:
            reader.join()


@pytest.fixture
def job(place, request):
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    made = Job(place, f"out-{port}", request.param, port)
    yield made
    made.kill()


@pytest.mark.parametrize("job", [3], indirect=True)
def test_ranks_that_have_not_come_are_named_once(job):
    job.start(0)
    job.start(1)
    line, seconds = job.wait_for(0, "E5006")
    assert re.fullmatch(r"notice: launch by environment: rank 0 of 3 has waited 10 s for rank 2\. It will wait 590 s more\. "
                        r"→ see that every rank was started and that none stopped with an error  \[T2I-E5006\]\n", line), line
    assert seconds > 9
    time.sleep(12)
    job.start(2)
    said = job.end()
    assert said[0].count("E5006") == 1 and "E5006" not in said[1] + said[2]
    assert "done: " in said[0]


@pytest.mark.parametrize("job", [2], indirect=True)
def test_a_store_that_is_not_served_yet_is_named(job):
    job.start(1)
    line, seconds = job.wait_for(1, "E5006")
    assert f"rank 1 of 2 has waited 10 s for rank 0, which is to serve the store at 127.0.0.1:{job.port} and cannot be reached there. It will wait 590 s more." in line
    assert seconds > 9
    job.start(0)
    said = job.end()
    assert said[1].count("E5006") == 1 and "E5006" not in said[0]


@pytest.mark.parametrize("job", [2], indirect=True)
def test_ranks_that_come_in_time_say_nothing(job):
    job.start(0)
    time.sleep(3)
    job.start(1)
    assert "E5006" not in "".join(job.end().values())
