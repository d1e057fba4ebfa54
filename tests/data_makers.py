"""Pictures and data sets for the tests of layouts, validate and convert: real photographs from packages, and made ones."""

import json
import os
import pathlib
import shutil

import numpy as np
import skimage
import sklearn
from PIL import Image

SKIMAGE = pathlib.Path(skimage.__file__).parent / "data"
SKLEARN = pathlib.Path(sklearn.__file__).parent / "datasets" / "images"
# A JPEG of a camera, PNGs with and without alpha, grey of 8 and of 16 bits, a palette.
PHOTOGRAPHS = [SKLEARN / "china.jpg", SKLEARN / "flower.jpg", SKIMAGE / "coffee.png", SKIMAGE / "logo.png", SKIMAGE / "camera.png",
               SKIMAGE / "chessboard_GRAY_U16B.tif", SKIMAGE / "horse.png", SKIMAGE / "rocket.jpg"]


def photographs():
    """Those of them that are there and in a format that is read."""
    found = [p for p in PHOTOGRAPHS if p.exists() and p.suffix in (".png", ".jpg")]
    assert len(found) >= 5, found
    return found


def picture(path, size=(16, 16), seed=0, **options):
    """Random pixels, so that no two files are the same."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def write(path, text):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def rows(path, *lines):
    write(path, "".join((line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)) + "\n" for line in lines))


def cut(path, share):
    data = pathlib.Path(path).read_bytes()
    write(path, data[: int(share * len(data))])


def captioned_tree(folder, count=8, side=16):
    """0000.png with 0000.txt, and so on; every third in a subfolder."""
    for i in range(count):
        stem = pathlib.Path(folder) / ("sub/" if i % 3 == 2 else "") / f"{i:04}"
        picture(stem.with_suffix(".png"), (side, side), seed=i)
        write(stem.with_suffix(".txt"), f"caption number {i}")
    return str(folder)


def triplets(folder, count=6, side=16):
    """The triplets of the requirement: inputs/, outputs/ and a metadata.jsonl with plain paths."""
    lines = []
    for i in range(count):
        for j, place in enumerate(("inputs", "outputs")):
            picture(pathlib.Path(folder) / place / f"{i:03}.png", (side, side), seed=100 * j + i)
        lines.append({"input_image": f"inputs/{i:03}.png", "instruction": f"edit {i}: größer, «旅»", "output_image": f"outputs/{i:03}.png"})
    rows(pathlib.Path(folder) / "metadata.jsonl", *lines)
    return str(folder)


def photo_tree(folder):
    """The real photographs, each with a caption."""
    for i, photo in enumerate(photographs()):
        write(pathlib.Path(folder) / f"{i}-{photo.stem}.txt", f"a photograph called {photo.stem}")
        shutil.copy(photo, pathlib.Path(folder) / f"{i}-{photo.name}")
    return str(folder)


def golden(name, got):
    """Compared with tests/errors/NAME.txt, which T2I_WRITE_EXPECTED=1 writes."""
    path = pathlib.Path(__file__).resolve().parent / "errors" / f"{name}.txt"
    if os.environ.get("T2I_WRITE_EXPECTED"):
        path.write_text(got, encoding="utf-8")
    assert got == path.read_text(encoding="utf-8")
