#!/usr/bin/env python3
"""Says how many edits are right, by two rules that must both hold, beside baselines measured in the same way.

    tools/shapes/check.py --data HELD_OUT --after FOLDER [--before FOLDER] [--ceiling FOLDER] [--json FILE]

HELD_OUT is a folder that `generate.py triplets --held-out` wrote; the other folders hold one PNG per triplet, matched in
sorted order. `--before` is the model before training, `--ceiling` the true answers after a round trip through the VAE.
The baseline "no edit" hands in the input unchanged.

Region: pixels take the nearest colour of the palette; only pixels of one pure colour in the truth count, none on an
edge. Right are at least 90 % of every shape and of the border, 97 % of the background, and 80 % of the pixels that the
edit changes. Nearest: the picture is closer (squared distance) to the truth than to the input and to the result of
every other legal edit of the input.
"""

import argparse
import functools
import json
import os
import sys
from dataclasses import dataclass

from edits import KINDS, legal_edits
from png import read_png
from scene import PALETTE, SIZE, regions, render, scene_from_json

SHAPE_SHARE, BACKGROUND_SHARE, CHANGED_SHARE = 0.90, 0.97, 0.80


@dataclass(frozen=True)
class Verdict:
    region: bool
    nearest: bool

    @property
    def right(self):
        return self.region and self.nearest


@functools.lru_cache(maxsize=1 << 18)
def nearest_colour(red, green, blue):
    """The palette's name of a colour."""
    return min(PALETTE, key=lambda name: distance((red, green, blue), PALETTE[name]))


def distance(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b))


def region_holds(pixels, source, truth_scene, truth):
    seen = [nearest_colour(*pixels[3 * at : 3 * at + 3]) for at in range(SIZE * SIZE)]
    changed_right = changed = 0
    for name, colour, places in regions(truth_scene):
        right = sum(seen[at] == colour for at in places)
        if places and right < (BACKGROUND_SHARE if name == "background" else SHAPE_SHARE) * len(places):
            return False
        for at in places:
            if source[3 * at : 3 * at + 3] != truth[3 * at : 3 * at + 3]:
                changed += 1
                changed_right += seen[at] == colour
    return changed_right >= CHANGED_SHARE * changed


def nearest_holds(pixels, source, truth, others):
    """Compares squared distances on the pixels where a rival differs from the truth, which gives the same answer."""
    for rival in [source, *others]:
        if rival == truth:
            continue
        to_truth = to_rival = 0
        for value, right, wrong in zip(pixels, truth, rival):
            if right != wrong:
                to_truth += (value - right) ** 2
                to_rival += (value - wrong) ** 2
        if to_truth >= to_rival:
            return False
    return True


def judge(pixels, scene, instruction):
    """The verdict on one picture as the answer to the instruction for the scene."""
    edits = legal_edits(scene)
    chosen = next(edit for edit in edits if edit.instruction == instruction)
    source, truth = render(scene), render(chosen.result)
    others = [render(edit.result) for edit in edits if edit.instruction != instruction]
    return Verdict(
        region_holds(pixels, source, chosen.result, truth), nearest_holds(pixels, source, truth, others)
    )


def read_truth(folder):
    """[(kind, instruction, scene)] of a folder of triplets."""
    with open(os.path.join(folder, "truth.jsonl"), encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [(row["kind"], row["instruction"], scene_from_json(row["scene"])) for row in rows]


def pictures_in(folder):
    """The PNG files under a folder, in sorted order."""
    found = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names if name.endswith(".png")]
    return sorted(found)


def read_picture(path):
    width, height, pixels = read_png(path)
    if (width, height) != (SIZE, SIZE):
        raise ValueError(f"{path}: {width} x {height} pixels, wanted {SIZE} x {SIZE}")
    return pixels


def judge_folder(folder, truth):
    """[(kind, Verdict)] of a folder's pictures; as many pictures as triplets are needed."""
    paths = pictures_in(folder)
    if len(paths) != len(truth):
        raise ValueError(f"{folder}: {len(paths)} pictures for {len(truth)} triplets")
    return [
        (kind, judge(read_picture(path), scene, instruction))
        for path, (kind, instruction, scene) in zip(paths, truth)
    ]


def judge_no_edit(truth):
    return [(kind, judge(render(scene), scene, instruction)) for kind, instruction, scene in truth]


def summarise(verdicts):
    """{kind or "all": {count, region, nearest, right}}, the last three in percent."""
    result = {}
    for kind in [k for k in KINDS if any(k == v for v, _ in verdicts)] + ["all"]:
        chosen = [verdict for name, verdict in verdicts if kind in (name, "all")]
        result[kind] = {"count": len(chosen)}
        for rule in ("region", "nearest", "right"):
            result[kind][rule] = 100.0 * sum(getattr(v, rule) for v in chosen) / len(chosen)
    return result


def table(summaries):
    """Text with a row per kind and a column per summary: percent right by both rules (by region, by nearest)."""
    first = next(iter(summaries.values()))
    lines = [f"{'kind':<12}{'n':>5}" + "".join(f"{name:>22}" for name in summaries)]
    for kind in first:
        cells = (s[kind] for s in summaries.values())
        texts = (f"{c['right']:5.1f} % ({c['region']:3.0f}, {c['nearest']:3.0f})" for c in cells)
        lines.append(f"{kind:<12}{first[kind]['count']:>5}" + "".join(f"{text:>22}" for text in texts))
    lines.append("percent right by both rules; in brackets by the region rule alone and by the nearest rule alone")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--after", required=True)
    parser.add_argument("--before")
    parser.add_argument("--ceiling")
    parser.add_argument("--json", help="also write the numbers to this file")
    parser.add_argument("--at-least", type=float, help="exit 1 unless this percentage of `after` is right")
    args = parser.parse_args()
    try:
        truth = read_truth(args.data)
        summaries = {"no edit": summarise(judge_no_edit(truth))}
        for name, folder in (
            ("before training", args.before),
            ("after training", args.after),
            ("VAE ceiling", args.ceiling),
        ):
            if folder:
                summaries[name] = summarise(judge_folder(folder, truth))
    except (OSError, ValueError) as error:
        sys.exit(f"check.py: {error}")
    print(table(summaries))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(summaries, file, indent=1)
    right = summaries["after training"]["all"]["right"]
    if args.at_least is not None and right < args.at_least:
        sys.exit(f"check.py: {right:.1f} % of the edits are right, wanted at least {args.at_least:g} %")


if __name__ == "__main__":
    main()
