"""What a person reads when a page cannot be made, and when what should watch a run is not there; whole and byte for byte, as
tests/errors/report_NAME.txt has them. T2I_WRITE_EXPECTED=1 writes the texts anew, to be read before they are kept.
"""

import os
import pathlib
import re
import subprocess

import pytest
from made_runs import picture, run_folder
from tiny import T2I

EXPECTED = pathlib.Path(__file__).resolve().parent / "errors"
CASES = {}
RUN = ["run", "--task", "text", "--model", "no-model", "--data", "no-data", "--output", "out"]


def case(make):
    CASES[make.__name__] = make
    return make


def program(name, text):
    path = pathlib.Path("bin") / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@case
def folders_that_are_none():
    pathlib.Path("empty").mkdir()
    pathlib.Path("file").write_text("")
    return [["report"], ["report", "nowhere"], ["report", "empty"], ["report", "file"], ["report", "empty", "more"], ["compare"], ["compare", "nowhere"],
            ["compare", "nowhere", "elsewhere"], ["compare", "empty", "empty"]]


@case
def runs_and_pictures_do_not_mix():
    run_folder("a", steps=3, pictures=())
    picture("pictures/x.png", [[[1, 2, 3]]])
    picture("others/y.png", [[[1, 2, 3]]])
    return [["compare", "a", "pictures"], ["compare", "pictures", "others", "others"], ["compare", "pictures", "others"]]


@case
def a_file_is_in_the_way():
    run_folder("a", steps=3, pictures=())
    pathlib.Path("mine.html").write_text("<html>my own</html>")
    pathlib.Path("a/report.html").write_text("my own")
    return [["report", "a"], ["report", "a", "--output", "mine.html"], ["compare", "a", "a", "--output", "mine.html"], ["report", "a", "--output", "no/such/folder/x.html"]]


@case
def clients_that_are_not_installed():
    """Said before anything is looked at: neither the model nor the data is there."""
    return [[*RUN, "--set", "report_to=[wandb]", "--set", "hub.repo=me/model"], [*RUN, "--set", "hub.repo=me/my model"]]


@case
def clients_that_cannot_be_started():
    program("python3", "#!/no/such/interpreter\n")
    return [[*RUN, "--set", "report_to=[tensorboard, wandb]"]]


@case
def wandb_is_found_by_its_program():
    """python3 has no wandb; the program wandb says with which Python it runs. That one is then used, and gets as far as the model."""
    import sys

    program("wandb", f"#!{sys.executable}\nimport wandb\n")
    return [[*RUN, "--set", "report_to=[wandb]"]]


def said(commands, here):
    environment = {"PATH": f"{here}/bin:/nowhere", "HOME": str(here)}
    text = ""
    for command in commands:
        done = subprocess.run([T2I, *command], capture_output=True, text=True, timeout=120, env=environment)
        text += f"$ t2i {' '.join(command)}\n{done.stdout}{done.stderr}exit {done.returncode}\n"
    return text.replace(str(here), "HERE")


@pytest.mark.parametrize("name", CASES)
def test_message(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    got = said(CASES[name](), tmp_path)
    path = EXPECTED / f"report_{name}.txt"
    if os.environ.get("T2I_WRITE_EXPECTED"):
        path.write_text(got)
    assert got == path.read_text()


def test_every_expected_text_has_its_case():
    assert {path.stem[7:] for path in EXPECTED.glob("report_*.txt")} == set(CASES)


def test_every_id_is_shown():
    """Here, or in test_publish.py: E8011 and E8014 need a run."""
    documented = set(re.findall(r"T2I-(E\d{4})", (EXPECTED.parent.parent / "docs/ERRORS.d/report.md").read_text()))
    shown = {i for path in EXPECTED.glob("report_*.txt") for i in re.findall(r"T2I-(E\d{4})", path.read_text())}
    assert documented - shown == {"E8011", "E8014"}
