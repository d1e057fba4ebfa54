"""The generator and the check of the quickstart: exact truth passes, everything else fails, and the same seed gives the
same bytes. The PNG files are compared with Pillow, which we did not write."""

import io
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from PIL import Image

SHAPES_DIR = Path(__file__).resolve().parent.parent / "tools" / "shapes"
sys.path.insert(0, str(SHAPES_DIR))

import check
import contact_sheet
import edits
import font
import generate
import png
import scene as scenes


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    """60 held-out triplets, ten of each kind, as the command line writes them."""
    folder = tmp_path_factory.mktemp("held_out")
    command = [sys.executable, SHAPES_DIR / "generate.py", "triplets", folder, "--count", "60", "--seed", "9", "--held-out"]
    subprocess.run(command, check=True)
    return folder


def folder_of(pictures, folder):
    """Writes the pictures as a generator would number them."""
    folder.mkdir()
    for i, pixels in enumerate(pictures):
        png.write_png(folder / f"{i:05d}.png", scenes.SIZE, scenes.SIZE, pixels)
    return folder


def truth_pictures(truth):
    for _, instruction, scene in truth:
        yield scenes.render(next(e for e in edits.legal_edits(scene) if e.instruction == instruction).result)


def test_same_seed_same_bytes(held_out, tmp_path):
    generate.write_triplets(tmp_path / "again", generate.triplets(60, 9, edits.KINDS, True))
    assert files_of(tmp_path / "again") == files_of(held_out)
    generate.write_triplets(tmp_path / "other", generate.triplets(60, 10, edits.KINDS, True))
    assert files_of(tmp_path / "other") != files_of(held_out)


def test_training_never_sees_a_held_out_scene():
    train = {scenes.signature(scene) for scene, _ in generate.triplets(3000, 1, edits.KINDS, False)}
    train |= {scenes.signature(scene) for scene, _ in generate.captioned(3000, 1, False)}
    held = {scenes.signature(scene) for scene, _ in generate.triplets(300, 1, edits.KINDS, True)}
    assert len(train) > 3000 and len(held) > 200 and not train & held


def test_pictures_are_what_pillow_reads(held_out):
    rows = [json.loads(line) for line in open(held_out / "metadata.jsonl")]
    truth = check.read_truth(held_out)
    assert len(rows) == 60 and {row["kind"] for row in rows} == set(edits.KINDS)
    for row, (kind, instruction, scene), result in zip(rows, truth, truth_pictures(truth)):
        assert (row["kind"], row["instruction"]) == (kind, instruction)
        for name, pixels in ((row["input_image"], scenes.render(scene)), (row["output_image"], result)):
            picture = Image.open(held_out / name)
            assert picture.mode == "RGB" and picture.size == (32, 32) and picture.tobytes() == pixels


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
def test_reader_agrees_with_pillow_on_every_row_filter(mode, tmp_path):
    """Pillow chooses filters row by row; noise, ramps and flat rows together make it use all five."""
    rng = numpy.random.default_rng(4)
    used = set()
    for i in range(12):
        size = (7 + i, 23)
        bands = []
        for _ in mode:
            ramp = numpy.add.outer(numpy.arange(size[1]) * 5, numpy.arange(size[0]) * (3 + i))
            noise = rng.integers(0, 1 + 20 * (i % 4), ramp.shape) * (rng.random((size[1], 1)) < 0.6)
            bands.append(Image.fromarray(((ramp * (i % 3) + noise) % 256).astype("uint8")))
        picture = bands[0] if len(bands) == 1 else Image.merge(mode, bands)
        path = tmp_path / f"{mode}{i}.png"
        picture.save(path, optimize=bool(i % 2))
        used |= row_filters(path, len(mode))
        width, height, pixels = png.read_png(path)
        expected = picture.convert("L" if mode in ("L", "LA") else "RGB").convert("RGB")
        if mode == "RGBA":
            expected = Image.merge("RGB", picture.split()[:3])
        assert (width, height) == size and pixels == expected.tobytes()
    assert used == {0, 1, 2, 3, 4}


def row_filters(path, channels):
    """The filter of every row, read from the file by Pillow's own chunk reader."""
    import zlib

    from PIL.PngImagePlugin import ChunkStream

    stream, packed, width = ChunkStream(open(path, "rb")), b"", 0
    stream.fp.seek(8)
    while True:
        kind, _, length = stream.read()
        body = stream.fp.read(length)
        stream.crc(kind, body)
        if kind == b"IHDR":
            width = int.from_bytes(body[:4], "big")
        if kind == b"IDAT":
            packed += body
        if kind == b"IEND":
            break
    return set(zlib.decompress(packed)[:: width * channels + 1])


def test_damaged_pictures_are_refused_by_name(tmp_path):
    path = tmp_path / "cut.png"
    png.write_png(path, 4, 4, bytes(48))
    data = bytearray(path.read_bytes())
    data[45] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="cut.png"):
        png.read_png(path)
    path.write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match="cut.png.*not a PNG"):
        png.read_png(path)


def test_truth_is_right_and_no_edit_is_not(held_out, tmp_path):
    truth = check.read_truth(held_out)
    after = folder_of(truth_pictures(truth), tmp_path / "after")
    before = folder_of((scenes.render(scene) for _, _, scene in truth), tmp_path / "before")
    command = [sys.executable, SHAPES_DIR / "check.py", "--data", held_out, "--after", after, "--before", before]
    command += ["--ceiling", after, "--json", tmp_path / "numbers.json", "--at-least", "100"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    numbers = json.load(open(tmp_path / "numbers.json"))
    assert list(numbers) == ["no edit", "before training", "after training", "VAE ceiling"]
    assert all(numbers["after training"][kind]["right"] == 100 for kind in (*edits.KINDS, "all"))
    assert all(numbers["no edit"][kind]["right"] == 0 for kind in (*edits.KINDS, "all"))
    assert numbers["before training"] == numbers["no edit"]
    assert all(kind in printed for kind in edits.KINDS)
    failing = subprocess.run([*command[:5], before, "--at-least", "80"], capture_output=True, text=True)
    assert failing.returncode == 1 and "0.0 % of the edits are right" in failing.stderr


def test_every_other_edit_is_wrong():
    """Both rules see through the closest wrong answers: other legal edits, and no answer at all."""
    rng = random.Random(5)
    for _ in range(30):
        scene = edits.random_scene_of(rng, True)
        legal = edits.legal_edits(scene)
        right, wrong = rng.sample(legal, 2)
        assert check.judge(scenes.render(right.result), scene, right.instruction).right
        verdict = check.judge(scenes.render(wrong.result), scene, right.instruction)
        assert not verdict.right and not verdict.nearest
        grey = check.judge(bytes([128]) * (3 * 32 * 32), scene, right.instruction)
        assert not grey.right


def test_rules_at_their_limits():
    """A picture passes with just enough pixels right and fails with one fewer."""
    scene = scenes.Scene("white", (scenes.Shape("square", "red", "top left", (0, 0)),))
    edit = next(e for e in edits.legal_edits(scene) if e.instruction == "make the square blue")
    square = next(places for name, _, places in scenes.regions(edit.result) if name == "square")
    allowed = int(len(square) * 0.10)
    for spoilt, expected in ((allowed, True), (allowed + 1, False)):
        pixels = bytearray(scenes.render(edit.result))
        for at in square[:spoilt]:
            pixels[3 * at : 3 * at + 3] = bytes(scenes.COLOURS["green"])
        verdict = check.judge(bytes(pixels), scene, edit.instruction)
        assert verdict.region == expected and verdict.nearest


def test_removing_needs_the_changed_pixels():
    """97 % of the background alone would forgive a shape that stays as a sliver: the changed pixels must be right too."""
    scene = scenes.Scene("black", (scenes.Shape("cross", "orange", "bottom right", (1, 0)),))
    edit = next(e for e in edits.legal_edits(scene) if e.kind == "remove")
    cross = [at for at, part in scenes.coverage("cross", "bottom right", (1, 0)).items() if part == 1]
    pixels = bytearray(scenes.render(edit.result))
    for at in cross[: len(cross) // 2]:
        pixels[3 * at : 3 * at + 3] = bytes(scenes.COLOURS["orange"])
    assert len(cross) // 2 < 0.03 * 32 * 32
    assert not check.judge(bytes(pixels), scene, edit.instruction).region


def test_wrong_number_or_size_of_pictures_is_said(held_out, tmp_path):
    truth = check.read_truth(held_out)
    few = folder_of(list(truth_pictures(truth))[:59], tmp_path / "few")
    with pytest.raises(ValueError, match="59 pictures for 60 triplets"):
        check.judge_folder(few, truth)
    png.write_png(few / "00059.png", 8, 8, bytes(192))
    with pytest.raises(ValueError, match="00059.png: 8 x 8 pixels"):
        check.judge_folder(few, truth)


def test_contact_sheet_shows_inputs_answers_and_truth(held_out, tmp_path):
    truth = check.read_truth(held_out)
    results = list(truth_pictures(truth))
    after = folder_of(results, tmp_path / "after")
    before = folder_of((scenes.render(scene) for _, _, scene in truth), tmp_path / "before")
    sheet = tmp_path / "sheet.png"
    command = [sys.executable, SHAPES_DIR / "contact_sheet.py", "--data", held_out, "--before", before, "--after", after]
    subprocess.run([*command, "--output", sheet, "--rows", "6"], check=True)
    picture = Image.open(io.BytesIO(sheet.read_bytes())).convert("RGB")
    zoom, left = contact_sheet.ZOOM, contact_sheet.GAP_PX
    for row, i in enumerate(contact_sheet.rows_of(60, 6)):
        top = contact_sheet.HEADER_PX + row * (contact_sheet.CELL_PX + contact_sheet.BAR_PX + contact_sheet.GAP_PX)

        def cell_at(x):
            cell = picture.crop((x, top, x + contact_sheet.CELL_PX, top + contact_sheet.CELL_PX))
            return cell.resize((32, 32), Image.NEAREST).tobytes()

        right_edge = picture.width - contact_sheet.GAP_PX - contact_sheet.CELL_PX
        step = contact_sheet.CELL_PX + contact_sheet.GAP_PX
        scene = scenes.render(truth[i][2])
        assert cell_at(left) == scene and cell_at(right_edge) == results[i]
        assert cell_at(right_edge - step) == results[i] and cell_at(right_edge - 2 * step) == scene
        under = top + contact_sheet.CELL_PX + 1
        assert picture.getpixel((right_edge - step + 5, under)) == tuple(contact_sheet.RIGHT)
        assert picture.getpixel((right_edge - 2 * step + 5, under)) == tuple(contact_sheet.WRONG)


def test_every_letter_has_a_drawing():
    words = " ".join(e.instruction for e in edits.legal_edits(edits.random_scene_of(random.Random(1), False)))
    assert set(words) <= set(font.LETTERS)
    for letter, rows in font.LETTERS.items():
        assert [len(row) for row in rows.split()] == [font.WIDTH_PX] * font.HEIGHT_PX, letter


def test_unknown_kind_is_refused(tmp_path):
    command = [sys.executable, SHAPES_DIR / "generate.py", "triplets", tmp_path, "--kinds", "border,frame"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1 and "frame" in result.stderr and "border" in result.stderr
    assert os.listdir(tmp_path) == []
