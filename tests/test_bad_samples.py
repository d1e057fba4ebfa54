"""bad_samples.jsonl under data.on_error: skip, written by several processes: every row that json or PIL cannot read or that
lacks a field, and no other.

Broken by: rows that only another process than the first has met being lost; a row listed twice; a list of an earlier attempt
that is not of this run.
"""

import json
import pathlib
import random

import pytest
from PIL import Image
from test_two_processes_train import COMMON, clean_environment, finish, start
from tiny import settings, sd_folder, t2i, triplet_data

ROWS = 24


@pytest.fixture
def place(tmp_path):
    sd_folder(tmp_path / "model")
    triplet_data(tmp_path / "data", count=ROWS)
    dice = random.Random(5)
    bad = dice.sample(range(ROWS), 13)
    metadata = tmp_path / "data" / "metadata.jsonl"
    lines = metadata.read_text().splitlines()
    for i, line in zip(bad[9:], ["{'input_image': 'a.png'}", '["a.png"]', '{"input_image": "0-in.png", "output_image": "0-out.png"}',
                                 '{"input_image": 7, "instruction": "x", "output_image": "0-out.png"}']):
        lines[i] = line
    metadata.write_text("\n".join(lines) + "\n")
    for i in bad[:9]:
        path = tmp_path / "data" / f"{i}-{dice.choice(['in', 'out'])}.png"
        how = dice.choice(["gone", "cut", "page", "folder"])
        whole = path.read_bytes()
        path.unlink()
        if how == "cut":
            path.write_bytes(whole[:len(whole) // 2])
        elif how == "page":
            path.write_text("<!DOCTYPE html>")
        elif how == "folder":
            path.mkdir()
    return tmp_path


def unreadable(data):
    rows = []
    for i, line in enumerate((data / "metadata.jsonl").read_text().splitlines()):
        try:
            row = json.loads(line)
            assert isinstance(row, dict) and isinstance(row["instruction"], str)
            for column in ("input_image", "output_image"):
                Image.open(data / row[column]).load()
        except (OSError, ValueError, KeyError, TypeError, AssertionError):
            rows.append(i)
    return rows


def command(place, output, *extra):
    return list(map(str, ["run", "--task", "ip2p", "--model", place / "model", "--data", place / "data", "--output", place / output, *COMMON,
                          *settings(train__train_batch_size=2, train__max_train_steps=12, checkpoint__every_steps=3, data__on_error="skip"), *extra]))


def listed(place, output):
    return [json.loads(line)["row"] for line in (place / output / "bad_samples.jsonl").read_text().splitlines()]


def test_what_any_process_met_is_listed_once(place):
    """Four epochs, so every row was asked for."""
    bad = unreadable(place / "data")
    assert len(bad) == 13
    stale = place / "two" / "bad_samples.jsonl"
    stale.parent.mkdir()
    stale.write_text('{"row": 3, "where": "%s", "error": "of a run that never saved", "id": "T2I-E3001"}\n' % (place / "data/metadata.jsonl:4"))
    said, silent = finish(start(2, command(place, "two")), [0, 0])
    assert listed(place, "two") == bad
    assert f"notice: 13 of {ROWS} samples are left out (first: " in said and str(stale) in said
    assert said.count("skipped: ") == len([line for line in stale.read_text().splitlines() if '"T2I-E3001"' in line or '"T2I-E3002"' in line])
    t2i(*command(place, "one", "--set", "train.train_batch_size=4"), env=clean_environment())
    assert pathlib.Path(place / "one" / "bad_samples.jsonl").read_text() == stale.read_text()


def test_a_stale_list_goes(place):
    """Of a run without bad rows in a folder where an attempt that never saved had some."""
    clean = triplet_data(place / "clean", count=4)
    (place / "fresh").mkdir()
    (place / "fresh" / "bad_samples.jsonl").write_text("{}\n")
    t2i(*command(place, "fresh", "--set", f"data.path={clean}", "--set", "train.max_train_steps=1"), env=clean_environment())
    assert not (place / "fresh" / "bad_samples.jsonl").exists()
