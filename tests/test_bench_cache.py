"""bench/cache in small: it reads what it wrote at the rate that it was asked for. What it says of speed is not looked at here."""

import os
import pathlib
import re
import subprocess

BUILD = pathlib.Path(os.environ.get("T2I_BUILD", pathlib.Path(__file__).resolve().parent.parent / "build"))


def test_it_runs(tmp_path):
    done = subprocess.run([str(BUILD / "bin" / "t2i_cache"), str(tmp_path / "cache"), "40", "200", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^200 images/s asked, \d+ given: a step of [\d.]+ ms waits [\d.]+ ms, [\d.]+ % of its time$", done.stdout, re.M), done.stdout
    assert "each entry's hash checked (read)" in done.stdout
