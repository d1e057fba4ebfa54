"""What the documentation names is there: files, links, options, configuration keys, error ids, kill points.

Broken by: a file renamed, an option or key dropped, while a page still tells people to use it.
"""

import json
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
T2I = pathlib.Path(os.environ.get("T2I_BUILD", ROOT / "build")) / "bin" / "t2i"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "sdk").glob("*.md")])
TRACKED = [pathlib.Path(line) for line in
           subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()] if (ROOT / ".git").exists() else \
          [path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file()]
TOP = {path.parts[0] for path in TRACKED if len(path.parts) > 1}
NAMES = {path.name for path in TRACKED}
pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def quoted(text):
    """What stands in backticks, outside of fenced blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S))


def command_lines(text):
    """Lines of code blocks and quoted texts; a backslash joins two lines."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.S | re.M) + re.findall(r"^    .*$", text, flags=re.M)
    joined = "\n".join(blocks).replace("\\\n", " ")
    return [line.split("  #")[0] for line in joined.splitlines()] + quoted(text)


def help_of(command):
    done = subprocess.run([T2I, command, "--help"], capture_output=True, text=True)
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", done.stdout.split("\nKeys of ")[0])) if done.returncode == 0 else None


COMMANDS = re.findall(r"^  (\w+) ", subprocess.run([T2I, "--help"], capture_output=True, text=True).stdout, re.M)
OPTIONS = {command: help_of(command) for command in COMMANDS if command != "t2i"}
SCHEMA = json.loads(subprocess.run([T2I, "schema"], capture_output=True, text=True).stdout)["properties"]
KEYS = {name: set(entry["properties"]) for name, entry in SCHEMA.items() if entry.get("additionalProperties") is False}


def test_the_programs_own_words_were_read():
    assert {"run", "generate", "probe", "plugins", "schema"} <= set(OPTIONS) and {"--set", "--output"} <= OPTIONS["run"]
    assert {"train", "data", "checkpoint", "validation"} <= set(KEYS) and len(PAGES) > 15 and len(TOP) > 5


@pages
def test_links(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target.split("#")[0]).exists(), target


@pages
def test_paths(page):
    """A quoted word, or one of a command line, below a folder of this repository; or a bare name with a source file's ending."""
    missing = []
    text = page.read_text()
    words = {word.strip(",;:()'\"") for line in command_lines(text) for word in line.split()}
    for word in words:
        word = word.removeprefix("./").split(":")[0]
        if re.fullmatch(r"[\w.*/+-]+", word) and word.split("/")[0] in TOP and "/" in word:
            if not any(ROOT.glob(word.rstrip("/"))):
                missing.append(word)
        elif re.fullmatch(r"[\w*-]+\.(cpp|h|hpp|cu|py|sh|cmake|md)", word) and "*" not in word and word not in NAMES:
            missing.append(word)
    assert not missing, missing


@pages
def test_options(page):
    text = page.read_text()
    known = set().union(*OPTIONS.values())
    for line in command_lines(text):
        called = re.search(r"\bt2i (\w+)\b(.*)", line)
        if called and called[1] in OPTIONS:
            used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", called[2]))
            assert used <= OPTIONS[called[1]], (line, used - OPTIONS[called[1]])
    for phrase in quoted(text):
        if re.fullmatch(r"--[a-z][a-z-]*( .*|=.*)?", phrase):
            assert re.match(r"--[a-z-]*[a-z]", phrase)[0] in known, phrase


@pages
def test_keys(page):
    text = page.read_text()
    for phrase in quoted(text) + re.findall(r"--set ([\w.]+)=", text):
        for section, key in re.findall(r"(?<![\w./])([a-z_]+)\.([a-z_]+)\b(?!\.|\()", phrase):
            if section in KEYS and key not in ("cpp", "h", "py", "md", "safetensors", "yaml", "json", "jsonl", "describe"):
                assert key in KEYS[section], phrase


@pages
def test_error_ids(page):
    documented = {i for path in (ROOT / "docs" / "ERRORS.d").glob("*.md") for i in re.findall(r"T2I-(E\d{4})", path.read_text())}
    assert set(re.findall(r"\bE\d{4}\b", page.read_text())) <= documented


def test_the_configuration_shown_is_one(tmp_path):
    """It is refused for the model that is not there, not for what it says."""
    shown = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "format-config.md").read_text(), flags=re.S | re.M)
    assert shown
    for i, text in enumerate(shown):
        (tmp_path / f"{i}.yaml").write_text(text)
        done = subprocess.run([T2I, "run", f"{i}.yaml"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 66 and "[T2I-E2011]" in done.stderr and "E10" not in done.stderr, done.stderr


def test_kill_points():
    page = (ROOT / "docs" / "format-checkpoint.md").read_text()
    listed = set(re.findall(r"`([a-z-]+)`", page[page.index("the points in order"):]))
    passed = {name for room in ("base", "checkpoint") for path in (ROOT / "core" / room).glob("*.cpp") if not path.name.endswith("_test.cpp")
              for name in re.findall(r'kill_point\("([a-z-]+)"\)', path.read_text())}
    assert listed == passed
