#!/usr/bin/env python3
"""Makes one picture of held-out edits: input, instruction, before training, after training and truth, an edit a row.

    tools/shapes/contact_sheet.py --data HELD_OUT --before FOLDER --after FOLDER --output SHEET.png [--rows 12]

The rows are spread evenly over the folder, so they are chosen without looking at the results; a green bar under an
answer says that the check calls it right, a red bar that it does not.
"""

import argparse
import sys

from check import judge, pictures_in, read_picture, read_truth
from edits import legal_edits
from font import HEIGHT_PX, text_dots, text_width
from png import write_png
from scene import SIZE, render

ZOOM, GAP_PX, BAR_PX, HEADER_PX = 3, 10, 4, 24
CELL_PX = SIZE * ZOOM
PAPER, INK, RIGHT, WRONG = b"\xff\xff\xff", b"\x22\x22\x22", b"\x28\xa0\x3c", b"\xdc\x28\x28"


class Canvas:
    def __init__(self, width, height):
        self.width, self.height = width, height
        self.pixels = bytearray(PAPER * (width * height))

    def dot(self, x, y, colour, width=1):
        at = 3 * (y * self.width + x)
        self.pixels[at : at + 3 * width] = colour * width

    def picture(self, left, top, pixels):
        """Draws a scene's pixels ZOOM times enlarged."""
        for y in range(SIZE):
            row = b"".join(pixels[3 * (y * SIZE + x) : 3 * (y * SIZE + x) + 3] * ZOOM for x in range(SIZE))
            for k in range(ZOOM):
                at = 3 * ((top + y * ZOOM + k) * self.width + left)
                self.pixels[at : at + len(row)] = row

    def bar(self, left, top, colour):
        for y in range(BAR_PX):
            self.dot(left, top + y, colour, CELL_PX)

    def text(self, left, top, text, scale=1):
        for x, y in text_dots(text):
            for k in range(scale):
                self.dot(left + x * scale, top + y * scale + k, INK, scale)


def rows_of(count, rows):
    """Row numbers spread evenly over `count`."""
    rows = min(rows, count)
    return [i * count // rows for i in range(rows)]


def draw_sheet(truth, before, after, chosen):
    """`before` and `after` are lists of picture files, one per triplet."""
    longest = max(2 * text_width(truth[i][1]) for i in chosen)
    columns = ["input", "instruction", "before training", "after training", "truth"]
    widths = [CELL_PX, longest, CELL_PX, CELL_PX, CELL_PX]
    lefts = [GAP_PX + sum(widths[:i]) + i * GAP_PX for i in range(len(widths))]
    height = HEADER_PX + len(chosen) * (CELL_PX + BAR_PX + GAP_PX)
    canvas = Canvas(lefts[-1] + widths[-1] + GAP_PX, height)
    for left, name in zip(lefts, columns):
        canvas.text(left, (HEADER_PX - HEIGHT_PX) // 2, name)
    for row, i in enumerate(chosen):
        kind, instruction, scene = truth[i]
        top = HEADER_PX + row * (CELL_PX + BAR_PX + GAP_PX)
        result = next(e for e in legal_edits(scene) if e.instruction == instruction).result
        canvas.picture(lefts[0], top, render(scene))
        canvas.text(lefts[1], top + CELL_PX // 2 - HEIGHT_PX, instruction, scale=2)
        for left, path in ((lefts[2], before[i]), (lefts[3], after[i])):
            pixels = read_picture(path)
            canvas.picture(left, top, pixels)
            canvas.bar(left, top + CELL_PX, RIGHT if judge(pixels, scene, instruction).right else WRONG)
        canvas.picture(lefts[4], top, render(result))
    return canvas


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--before", required=True)
    parser.add_argument("--after", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--rows", type=int, default=12)
    args = parser.parse_args()
    try:
        truth, before, after = read_truth(args.data), pictures_in(args.before), pictures_in(args.after)
        for folder, found in ((args.before, before), (args.after, after)):
            if len(found) != len(truth):
                raise ValueError(f"{folder}: {len(found)} pictures for {len(truth)} triplets")
        sheet = draw_sheet(truth, before, after, rows_of(len(truth), args.rows))
        write_png(args.output, sheet.width, sheet.height, bytes(sheet.pixels))
    except (OSError, ValueError) as error:
        sys.exit(f"contact_sheet.py: {error}")


if __name__ == "__main__":
    main()
