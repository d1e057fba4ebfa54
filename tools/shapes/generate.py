#!/usr/bin/env python3
"""Writes pictures of coloured shapes with captions, or triplets of instruction edits with exact ground truth.

    tools/shapes/generate.py triplets --count 4000 --seed 1 --kinds background,border,remove OUTPUT
    tools/shapes/generate.py triplets --count 200 --seed 2 --held-out OUTPUT
    tools/shapes/generate.py captions --count 4000 --seed 3 OUTPUT
    tools/shapes/generate.py lessons --count 4000 --seed 4 OUTPUT

Lessons are what the embedded model was made from: three quarters are edits of the kinds it knows, one quarter are
captions to draw on a blank picture. The same arguments write the same bytes. Triplets are `metadata.jsonl` with `input_image`, `instruction`, `output_image`
and `kind`; captions are `metadata.jsonl` with `file_name` and `text`. `truth.jsonl` beside it holds each line's scene,
which the check reads. Needs Python's standard library alone.
"""

import argparse
import contextlib
import json
import os
import random
import sys

from edits import KINDS, KNOWN_KINDS, random_edit, random_scene_of
from png import write_png
from scene import BLANK, SIZE, caption, render, scene_to_json


def triplets(count, seed, kinds, held_out):
    """[(scene, edit)]: a pure function of its arguments. Held-out sets hold every kind in equal numbers."""
    rng = random.Random(f"triplets {seed} {held_out}")
    result = []
    for i in range(count):
        scene = random_scene_of(rng, held_out)
        wanted = (kinds[i % len(kinds)],) if held_out else kinds
        result.append((scene, random_edit(rng, scene, wanted)))
    return result


def captioned(count, seed, held_out):
    """[(scene, caption)]; half of the captions say where the shapes are."""
    rng = random.Random(f"captions {seed} {held_out}")
    scenes = (random_scene_of(rng, held_out) for _ in range(count))
    return [(scene, caption(scene, rng.random() < 0.5)) for scene in scenes]


def write_triplets(folder, pairs):
    os.makedirs(os.path.join(folder, "images"), exist_ok=True)
    with open_lines(folder, "metadata.jsonl") as metadata, open_lines(folder, "truth.jsonl") as truth:
        for i, (scene, edit) in enumerate(pairs):
            before, after = f"images/{i:05d}-input.png", f"images/{i:05d}-output.png"
            write_png(os.path.join(folder, before), SIZE, SIZE, render(scene))
            write_png(os.path.join(folder, after), SIZE, SIZE, render(edit.result))
            row = {"input_image": before, "instruction": edit.instruction, "output_image": after, "kind": edit.kind}
            metadata.write(json.dumps(row) + "\n")
            row = {"kind": edit.kind, "instruction": edit.instruction, "scene": scene_to_json(scene)}
            truth.write(json.dumps(row) + "\n")


def write_captions(folder, pairs):
    os.makedirs(os.path.join(folder, "images"), exist_ok=True)
    with open_lines(folder, "metadata.jsonl") as metadata, open_lines(folder, "truth.jsonl") as truth:
        for i, (scene, text) in enumerate(pairs):
            name = f"images/{i:05d}.png"
            write_png(os.path.join(folder, name), SIZE, SIZE, render(scene))
            metadata.write(json.dumps({"file_name": name, "text": text}) + "\n")
            truth.write(json.dumps({"text": text, "scene": scene_to_json(scene)}) + "\n")


def write_lessons(folder, count, seed):
    os.makedirs(os.path.join(folder, "images"), exist_ok=True)
    write_png(os.path.join(folder, "images", "blank.png"), SIZE, SIZE, BLANK)
    edits, drawings = triplets(count - count // 4, seed, KNOWN_KINDS, False), captioned(count // 4, seed, False)
    with open_lines(folder, "metadata.jsonl") as metadata:
        for i, (scene, edit) in enumerate(edits):
            before, after = f"images/edit-{i:05d}-input.png", f"images/edit-{i:05d}-output.png"
            write_png(os.path.join(folder, before), SIZE, SIZE, render(scene))
            write_png(os.path.join(folder, after), SIZE, SIZE, render(edit.result))
            metadata.write(json.dumps({"input_image": before, "instruction": edit.instruction, "output_image": after}) + "\n")
        for i, (scene, text) in enumerate(drawings):
            name = f"images/drawing-{i:05d}.png"
            write_png(os.path.join(folder, name), SIZE, SIZE, render(scene))
            metadata.write(json.dumps({"input_image": "images/blank.png", "instruction": text, "output_image": name}) + "\n")


@contextlib.contextmanager
def open_lines(folder, name):
    """The file appears when all its lines are written: whoever sees it may take it for whole."""
    path = os.path.join(folder, name)
    with open(path + ".part", "w", encoding="utf-8", newline="\n") as file:
        yield file
    os.replace(path + ".part", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("triplets", "captions", "lessons"))
    parser.add_argument("folder")
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", default=",".join(KINDS), help="kinds of edit, comma separated (default: all six)")
    parser.add_argument("--held-out", action="store_true", help="scenes that training never sees")
    args = parser.parse_args()
    kinds = tuple(args.kinds.split(","))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        sys.exit(f"generate.py: --kinds: {', '.join(unknown)} is not one of {', '.join(KINDS)}")
    if args.what == "triplets":
        write_triplets(args.folder, triplets(args.count, args.seed, kinds, args.held_out))
    elif args.what == "lessons":
        write_lessons(args.folder, args.count, args.seed)
    else:
        write_captions(args.folder, captioned(args.count, args.seed, args.held_out))


if __name__ == "__main__":
    main()
