"""What a person reads when the data is wrong: each message whole, byte for byte, as tests/errors/data_NAME.txt has it,
with its exit code in the last line. T2I_WRITE_EXPECTED=1 writes those files anew, to be read before they are kept.

Broken by: a message that loses its file, line, reason or advice; problems told one at a time.
"""
import json
import os
import re
import subprocess

import numpy as np
import pytest
from PIL import Image

PROBE = os.path.abspath(os.path.join(os.environ.get("T2I_BUILD", "build"), "bin", "data_probe"))
EXPECTED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "errors")
CAPTIONED = "image:image,text:text"
TRIPLETS = "input_image:image,instruction:text,output_image:image"
CASES = {}


def case(make):
    CASES[make.__name__] = make
    return make


def picture(path, size=(64, 48), **options):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    y, x = np.indices(size[::-1])
    noise = np.random.default_rng(1).integers(0, 32, (*size[::-1], 1))
    pixels = np.stack([x * 3 % 256, y * 4 % 256, (x + y) * 2 % 256], axis=2) // 2 + noise
    Image.fromarray(pixels.astype(np.uint8)).save(path, **options)


def write(path, text):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())


def rows(path, *lines):
    write(path, "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))


def cut(path, share):
    with open(path, "rb") as file:
        data = file.read()
    write(path, data[:int(share * len(data))])


@case
def cut_image_of_a_row():
    for name in ("a", "b"):
        picture(f"set/{name}.jpg", (640, 480), quality=95)
    cut("set/b.jpg", 0.75)
    rows("set/metadata.jsonl", {"file_name": "a.jpg", "text": "whole"}, {"file_name": "b.jpg", "text": "cut"})
    return ["load", "set", CAPTIONED]


@case
def cut_images_skipped():
    for i in range(6):
        picture(f"set/{i}.png", (320, 240))
        write(f"set/{i}.txt", f"number {i}")
    cut("set/2.png", 0.5)
    write("set/5.png", "<!DOCTYPE html><html>log in</html>")
    return ["load", "set", CAPTIONED, "skip=1", "size=16"]


@case
def nothing_good_to_skip_to():
    for i in range(3):
        write(f"set/{i}.png", b"")
        write(f"set/{i}.txt", "empty")
    return ["load", "set", CAPTIONED, "skip=1"]


@case
def names_that_lie_and_conversions_are_said():
    picture("set/a.png", format="jpeg", quality=95)
    picture("set/b.png", format="jpeg", quality=95)
    Image.open("set/a.png").convert("CMYK").save("set/c.jpg")
    Image.open("set/a.png").convert("L").save("set/d.png")
    Image.open("set/a.png").convert("RGBA").save("set/e.png")
    Image.fromarray(np.full((64, 64), 40000, np.uint16)).save("set/f.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open("set/a.png").save("set/g.jpg", exif=exif)
    return ["load", "set", CAPTIONED, "caption_missing=filename", "size=16"]


@case
def what_is_ignored_is_said():
    picture("set/a.png", (4, 4))
    for name in ("._a.png", "._b.png", "__MACOSX/set/a.png", "h.heic", "i.heic", "j.gif"):
        write(f"set/{name}", "")
    os.makedirs("elsewhere")
    os.symlink("../elsewhere", "set/more")
    return ["dataset", "set", CAPTIONED, "caption_missing=empty"]


@case
def missing_captions():
    for i in range(76):
        picture(f"set/img_{i:03}.png", (4, 4))
        if i < 7 or i > 44:
            write(f"set/img_{i:03}.txt", "here")
    return ["dataset", "set", CAPTIONED]


@case
def missing_texts_in_rows():
    picture("set/a.png", (4, 4))
    rows("set/metadata.jsonl", *[{"file_name": "a.png", **({"text": "x"} if i % 2 else {"text": None})} for i in range(9)])
    return ["dataset", "set", CAPTIONED]


@case
def rows_of_every_wrong_kind():
    picture("set/a.png", (4, 4))
    rows("set/metadata.jsonl", {"file_name": "a.png", "text": "good"}, "{'file_name': 'a.png', 'text': 'a Python dict'}",
         '{"file_name": "a.png" "text": "no comma"}', '{"file_name": "a.png", "text": "one", "text": "two"}',
         {"filename": "a.png", "text": "a slip"}, {"file_name": ["a.png"], "text": "a list"}, {"file_name": "a.png", "text": 7},
         [1, 2], "[" * 100 + "]" * 100, '{"file_name": "a.png", "text": "cut')
    return ["dataset", "set", CAPTIONED]


@case
def metadata_that_is_a_link_out():
    """As an archive from somewhere may hold it; the same file named by its user is read."""
    picture("elsewhere/a.png")
    rows("elsewhere/list.jsonl", {"file_name": "a.png", "text": "not for this data set"})
    os.mkdir("set")
    os.symlink("../elsewhere/list.jsonl", "set/metadata.jsonl")
    return ["dataset", "set", CAPTIONED]


@case
def paths_that_leave():
    write("outside.png", "x")
    picture("set/a.png", (4, 4))
    os.makedirs("set/sub")
    os.symlink("../outside.png", "set/link.png")
    rows("set/metadata.jsonl", *[{"file_name": name, "text": ""} for name in (
        "a.png", "../outside.png", "/etc/passwd", "sub/../../outside.png", "link.png", "nul\0.png")])
    return ["dataset", "set", CAPTIONED]


@case
def files_that_are_not_there():
    picture("set/a.png", (4, 4))
    os.symlink("gone.png", "set/link.png")
    rows("set/metadata.jsonl", *[{"file_name": name, "text": ""} for name in (
        "a.png", "gone.png", "images\\a.png", "link.png", "\x1b[31mred.png")])
    return ["dataset", "set", CAPTIONED]


@case
def many_files_that_are_not_there():
    rows("set/metadata.jsonl", *[{"file_name": f"{i}.png", "text": ""} for i in range(5000)])
    return ["dataset", "set", CAPTIONED]


@case
def not_regular_files():
    picture("set/a.png", (4, 4))
    os.mkfifo("set/pipe.png")
    os.makedirs("set/folder.png")
    rows("set/metadata.jsonl", *[{"file_name": name, "text": ""} for name in ("pipe.png", "folder.png", "/dev/zero")])
    return ["dataset", "set", CAPTIONED, "allow_outside=1"]


@case
def columns_of_another_name():
    picture("set/a.png", (4, 4))
    rows("set/metadata.jsonl", *[{"input_image": "a.png", "edit_instruction": "x", "output_image": "a.png"}] * 300)
    return ["dataset", "set", TRIPLETS]


@case
def images_alone_for_pairs():
    picture("set/a.png", (4, 4))
    return ["dataset", "set", TRIPLETS]


@case
def pair_of_unequal_sizes():
    picture("set/a.jpg", (51, 76))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture("set/b.jpg", (51, 76), exif=exif)
    rows("set/rows.jsonl", {"input_image": "a.jpg", "instruction": "turn it", "output_image": "b.jpg"})
    return ["load", "set/rows.jsonl", TRIPLETS]


@case
def empty_folder():
    os.makedirs("set")
    return ["dataset", "set", CAPTIONED]


@case
def other_kinds_of_files():
    for i in range(5):
        write(f"set/{i}.heic", "")
    write("set/notes.txt", "")
    write("set/sub/readme", "")
    write("set/._0.png", "")
    return ["dataset", "set", CAPTIONED]


@case
def a_table_instead():
    picture("set/train/a.png", (4, 4))
    write("set/train/metadata.csv", "file_name,text\na.png,x\n")
    return ["dataset", "set", CAPTIONED]


@case
def several_jsonl_files():
    for name in ("train", "test"):
        rows(f"set/{name}.jsonl", {"file_name": "a.png", "text": ""})
    return ["dataset", "set", CAPTIONED]


@case
def no_rows():
    write("set/metadata.jsonl", "\n\n")
    return ["dataset", "set", CAPTIONED]


@case
def no_such_folder():
    os.makedirs("my_data")
    return ["dataset", "my_dta", CAPTIONED]


@case
def a_hub_name():
    return ["dataset", "someone/some-set", CAPTIONED]


@case
def a_file_of_no_use():
    write("set.zip", "PK")
    return ["dataset", "set.zip", CAPTIONED]


@case
def captions_not_utf8():
    for name in ("a", "b"):
        picture(f"set/{name}.png", (4, 4))
    write("set/a.txt", "café".encode("latin-1"))
    write("set/b.txt", "wide".encode("utf-16"))
    return ["dataset", "set", CAPTIONED]


@case
def other_picture_formats():
    image = Image.new("RGB", (8, 8))
    for i, format_ in enumerate(["gif", "bmp", "tiff"]):
        image.save(f"{i}.png", format=format_)
    write("3.png", b"\0\0\0\x1cftypheic\0\0\0\0mif1heic")
    write("4.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12345\n")
    write("5.png", bytes(4096))
    write("6.png", b"hello")
    image.save("7.webp", save_all=True, append_images=[Image.new("RGB", (8, 8), "red")], duration=100)
    os.makedirs("set")
    for i in range(8):
        name = f"{i}.webp" if i == 7 else f"{i}.png"
        os.rename(name, f"set/{name}")
        write(f"set/{i}.txt", "x")
    return ["load", "set", CAPTIONED, "batch=8"]


@pytest.mark.parametrize("name", CASES)
def test_message(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = subprocess.run([PROBE, *CASES[name]()], capture_output=True, timeout=60)
    lines = done.stdout.decode().splitlines()
    # Of rows that load, the hash is not a message.
    said = [line for line in lines if " | " not in line and not line.startswith("fingerprint")]
    got = "\n".join(said + [f"exit {done.returncode}"]) + "\n"
    got = re.sub(r"after \d+ %", "after N %", got)  # depends on how well another version of an encoder packs
    path = os.path.join(EXPECTED, f"data_{name}.txt")
    if os.environ.get("T2I_WRITE_EXPECTED"):
        write(path, got)
    with open(path, encoding="utf-8") as file:
        assert got == file.read()
    assert done.stderr == b""


def test_every_expected_text_has_its_case():
    files = {name[5:-4] for name in os.listdir(EXPECTED) if name.startswith("data_")}
    assert files == set(CASES)


def test_every_data_error_is_documented_and_reached():
    """Each id in core/data is in docs/ERRORS.d/data.md and, but for those that need a failing disk, in a text here."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    room = os.path.join(root, "core", "data")
    used = set()
    for name in os.listdir(room):
        if name.endswith((".cpp", ".h")) and not name.endswith("_test.cpp"):
            with open(os.path.join(room, name), encoding="utf-8") as file:
                used |= set(re.findall(r'"(E3\d\d\d)"', file.read()))
    with open(os.path.join(root, "docs", "ERRORS.d", "data.md"), encoding="utf-8") as file:
        documented = set(re.findall(r"T2I-(E3\d\d\d)", file.read()))
    assert used == documented
    reached = set()
    for name in (n for n in os.listdir(EXPECTED) if n.startswith("data_")):
        with open(os.path.join(EXPECTED, name), encoding="utf-8") as file:
            reached |= set(re.findall(r"T2I-(E3\d\d\d)", file.read()))
    # E3007 is reached by the bombs of test_pixels_equal_pil.py, E3014 by png_write_test.cpp.
    assert used - reached == {"E3007", "E3014"}
