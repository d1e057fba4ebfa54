"""Long jobs tell how long they will take, and `t2i generate` goes on after Ctrl-C where it was.

Broken by: pictures that are drawn twice, or kept although they would be others; annotations that lack the pictures of the first half; a time
left that is not shown, or shown where nobody reads it.
"""

import hashlib
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import time

import pytest
from tiny import T2I, louder, sd_folder, t2i

COUNT, STEPS = 6, 60
SLOW = ["--prompt", "a red ball", "--count", COUNT, "--steps", STEPS, "--size", "128x128", "--sampler", "euler"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs") / "model"
    sd_folder(folder, seed=5)
    louder(folder)
    return folder


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(pathlib.Path(folder).rglob("*.png"))}


def test_generate_goes_on_after_a_signal(model, tmp_path):
    whole, half = tmp_path / "whole", tmp_path / "half"
    command = ["generate", "--model", model, *SLOW, "--format", "coco"]
    t2i(*command, "--output", whole)
    process = subprocess.Popen([T2I, *map(str, command), "--output", half], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    drawn = 1 + len(out.splitlines())
    assert first.strip().endswith("000000000001.png") and 1 <= drawn < COUNT
    assert err == f"t2i generate: stopped by a signal after {drawn} of {COUNT} pictures. → the same command with --resume draws the others  [T2I-E8060]\n"
    assert len(digests(half)) == drawn and not (half / "annotations.json").exists()
    before = {path: path.stat().st_mtime_ns for path in half.rglob("*.png")}

    done = t2i(*command, "--output", half, "--resume")
    assert len(done.stdout.splitlines()) == COUNT - drawn and f"notice: {drawn} pictures were there already" in done.stderr
    assert digests(half) == digests(whole)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert json.loads((half / "annotations.json").read_text()) == json.loads((whole / "annotations.json").read_text())


def test_only_the_same_pictures_stay(model, tmp_path):
    def draw(prompt, *more):
        return t2i("generate", "--model", model, "--prompt", prompt, "--count", 3, "--steps", 2, "--output", tmp_path / "out", *more)

    draw("one")
    first = digests(tmp_path / "out")
    (tmp_path / "out" / "00001.png").unlink()
    assert [line[-9:] for line in draw("one", "--resume", "--batch", 3).stdout.splitlines()] == ["00001.png"]
    assert digests(tmp_path / "out").keys() == first.keys() and digests(tmp_path / "out")["00000.png"] == first["00000.png"]
    for change in (["two"], ["one", "--seed", 9], ["one", "--guidance", 3], ["one", "--size", "24x16"], ["one", "--sampler", "ddim", "--negative", "dark"]):
        assert len(draw(*change, "--resume").stdout.splitlines()) == 3, change
    done = t2i("generate", "--model", model, "--prompt", "a", "--resume", "--save-latents", tmp_path / "l.safetensors", "--output", tmp_path / "b.png", code=64)
    assert done.stderr.startswith("--resume: --save-latents needs every picture to be drawn")


def on_a_terminal(*command, until, seconds=120):
    """What a command writes to a pseudo-terminal, until it ends or `until` was seen."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(COLUMNS="100", TERM="xterm")
        os.execv(command[0], [str(c) for c in command])
    text, end = "", time.time() + seconds
    while time.time() < end:
        if select.select([fd], [], [], 0.2)[0]:
            try:
                more = os.read(fd, 4096).decode(errors="replace")
            except OSError:
                break
            text += more
            if not more:
                break
            if until and re.search(until, text):
                os.kill(pid, signal.SIGINT)
                until = None
    os.close(fd)
    return text, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_terminal_shows_how_long_it_will_take(model, tmp_path):
    line = r"drawing \d/24 \d+% \| step \d+ of 200 \| [\d.]+(/s| s each) \| ETA \d+:\d\d"
    text, code = on_a_terminal(T2I, "generate", "--model", model, "--prompt", "a", "--count", 24, "--steps", 200, "--size", "128x128", "--output", tmp_path / "o", until=line)
    assert re.search(line, text), text
    assert code == 75 and "stopped by a signal" in text


def test_a_pipe_is_not_filled_with_lines(model, tmp_path):
    done = t2i("generate", "--model", model, *SLOW[:4], "--steps", 3, "--output", tmp_path / "o")
    assert done.stderr == "" and len(done.stdout.splitlines()) == COUNT


# A disk that takes a twentieth of a second for every large write.
SLOW_DISK = """
#include <dlfcn.h>
#include <unistd.h>
extern "C" ssize_t write(int fd, const void* bytes, size_t n) {
  static auto* real = reinterpret_cast<ssize_t (*)(int, const void*, size_t)>(dlsym(RTLD_NEXT, "write"));
  if (n > 500000) usleep(50000);
  return real(fd, bytes, n);
}
"""


def test_export_tells_of_large_files(tmp_path, model):
    """A text encoder with a vocabulary of 100 MB, most of it a hole in the file, onto a slow disk."""
    (tmp_path / "slow.cpp").write_text(SLOW_DISK)
    subprocess.run(["c++", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", tmp_path / "slow.so", tmp_path / "slow.cpp"], check=True)
    large = tmp_path / "large"
    shutil.copytree(model, large)
    rows = 800_000
    config = json.loads((large / "text_encoder" / "config.json").read_text())
    (large / "text_encoder" / "config.json").write_text(json.dumps({**config, "vocab_size": rows}))
    path = large / "text_encoder" / "model.safetensors"
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header, data = json.loads(raw[8:8 + size]), raw[8 + size:]
    name = next(n for n in header if n.endswith("token_embedding.weight"))
    at = len(data)
    kept = {n: t for n, t in header.items() if n not in (name, "__metadata__")}
    packed, offset = b"", 0
    for tensor in kept.values():
        begin, end = tensor["data_offsets"]
        packed += data[begin:end]
        tensor["data_offsets"] = [offset, offset + end - begin]
        offset += end - begin
    kept[name] = {"dtype": "F32", "shape": [rows, config["hidden_size"]], "data_offsets": [offset, offset + 4 * rows * config["hidden_size"]]}
    text = json.dumps(kept).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + packed)
        f.truncate(8 + len(text) + kept[name]["data_offsets"][1])
    assert at and path.stat().st_size > 100e6
    text, code = on_a_terminal("/usr/bin/env", f"LD_PRELOAD={tmp_path / 'slow.so'}", T2I, "export", "--model", large, "--output", tmp_path / "copy", until=None)
    assert code == 0 and re.search(r"copying model\.safetensors [\d.]+ MB of [\d.]+ MB \d+% \| [\d.]+ MB/s \| ETA 0:\d\d", text), text
