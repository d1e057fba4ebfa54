"""Scenes of one or two coloured shapes on a plain background, drawn at 32 x 32 with antialiased edges.

A scene is data: everything else (caption, pixels, the exact region of every shape, the right answer to an edit) follows
from it. Coordinates are in pixels, y downwards. The picture is a 2 x 2 grid of cells; a shape sits in the centre of a
cell, moved by up to one pixel each way.
"""

import functools
from dataclasses import asdict, dataclass

SIZE = 32
BORDER_PX = 3
RADIUS_PX = 5.25
SUBSAMPLES = 4  # an edge pixel is the mean of 4 x 4 points
CELL_CENTRES = {"top left": (9.5, 9.5), "top right": (22.5, 9.5), "bottom left": (9.5, 22.5), "bottom right": (22.5, 22.5)}
CELLS = tuple(CELL_CENTRES)
SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (50, 80, 220),
    "yellow": (245, 220, 60),
    "purple": (150, 50, 170),
    "orange": (240, 135, 30),
}
BACKGROUNDS = {
    "white": (245, 245, 245),
    "grey": (140, 140, 140),
    "black": (25, 25, 25),
    "pink": (250, 180, 205),
    "teal": (90, 200, 200),
}
PALETTE = {**COLOURS, **BACKGROUNDS}
BLANK = bytes([128]) * (3 * SIZE * SIZE)  # the picture that stands for none, where a drawing begins with a caption alone


@dataclass(frozen=True)
class Shape:
    kind: str  # one of SHAPES
    colour: str  # one of COLOURS
    cell: str  # one of CELLS
    shift: tuple  # (dx, dy), each -1, 0 or 1 pixel


@dataclass(frozen=True)
class Scene:
    background: str  # one of BACKGROUNDS
    shapes: tuple  # one or two Shape of different kinds in different cells; none after a removal
    border: str = ""  # one of COLOURS, or empty


def scene_to_json(scene):
    return asdict(scene)


def scene_from_json(value):
    shapes = tuple(Shape(s["kind"], s["colour"], s["cell"], tuple(s["shift"])) for s in value["shapes"])
    return Scene(value["background"], shapes, value.get("border", ""))


def random_scene(rng):
    """A scene from a random.Random: one shape in a third of the cases, else two."""
    count = 1 if rng.random() < 1 / 3 else 2
    kinds, cells = rng.sample(SHAPES, count), rng.sample(CELLS, count)
    shapes = tuple(
        Shape(kind, rng.choice(tuple(COLOURS)), cell, (rng.randint(-1, 1), rng.randint(-1, 1)))
        for kind, cell in zip(kinds, cells)
    )
    return Scene(rng.choice(tuple(BACKGROUNDS)), shapes)


def signature(scene):
    """What the scene shows, without the one-pixel shifts: scenes with equal signatures look alike."""
    shapes = sorted(f"{s.colour} {s.kind} {s.cell}" for s in scene.shapes)
    return "; ".join([scene.background, scene.border, *shapes])


def with_article(words):
    return ("an " if words[0] in "aeiou" else "a ") + words


def caption(scene, with_places):
    """A sentence that describes the scene, such as `a red circle top left and a blue cross top right on white`."""
    parts = [with_article(f"{s.colour} {s.kind}") + (f" {s.cell}" if with_places else "") for s in scene.shapes]
    return " and ".join(parts) + f" on {scene.background}"


def inside(kind, x, y):
    """Whether the point, relative to the shape's centre, is in the shape."""
    r = RADIUS_PX
    if kind == "circle":
        return x * x + y * y <= r * r
    if kind == "square":
        return max(abs(x), abs(y)) <= 0.9 * r
    if kind == "triangle":
        return -r <= y <= 0.9 * r and abs(x) <= r * (y + r) / (1.9 * r)
    if kind == "cross":
        return (abs(x) <= 0.36 * r and abs(y) <= r) or (abs(y) <= 0.36 * r and abs(x) <= r)
    raise ValueError(f"unknown shape {kind!r}")


@functools.lru_cache(maxsize=None)
def coverage(kind, cell, shift):
    """{pixel index: covered part of the pixel in 0..1} for a shape, without the pixels it does not touch."""
    cx, cy = CELL_CENTRES[cell][0] + shift[0], CELL_CENTRES[cell][1] + shift[1]
    result = {}
    for py in range(int(cy - RADIUS_PX) - 1, int(cy + RADIUS_PX) + 2):
        for px in range(int(cx - RADIUS_PX) - 1, int(cx + RADIUS_PX) + 2):
            hits = sum(
                inside(kind, px + (i + 0.5) / SUBSAMPLES - cx, py + (j + 0.5) / SUBSAMPLES - cy)
                for j in range(SUBSAMPLES)
                for i in range(SUBSAMPLES)
            )
            if hits:
                result[py * SIZE + px] = hits / SUBSAMPLES**2
    return result


BORDER_PIXELS = tuple(
    y * SIZE + x
    for y in range(SIZE)
    for x in range(SIZE)
    if min(x, y, SIZE - 1 - x, SIZE - 1 - y) < BORDER_PX
)


def render(scene):
    """The scene's RGB pixels."""
    pixels = bytearray(bytes(BACKGROUNDS[scene.background]) * (SIZE * SIZE))
    for shape in scene.shapes:
        colour = COLOURS[shape.colour]
        for at, part in coverage(shape.kind, shape.cell, shape.shift).items():
            for c in range(3):
                below = pixels[3 * at + c]
                pixels[3 * at + c] = round(below + part * (colour[c] - below))
    if scene.border:
        for at in BORDER_PIXELS:
            pixels[3 * at : 3 * at + 3] = bytes(COLOURS[scene.border])
    return bytes(pixels)


def regions(scene):
    """[(name, colour name, pixel indices)] of the background, the border and every shape: only pixels of one pure
    colour, none that an edge crosses."""
    border = set(BORDER_PIXELS) if scene.border else set()
    covers = [coverage(s.kind, s.cell, s.shift) for s in scene.shapes]
    touched = border.union(*covers)
    result = [("background", scene.background, [at for at in range(SIZE * SIZE) if at not in touched])]
    if border:
        result.append(("border", scene.border, sorted(border)))
    for i, shape in enumerate(scene.shapes):
        others = border.union(*(covers[j] for j in range(len(covers)) if j != i))
        result.append((shape.kind, shape.colour, [at for at, part in covers[i].items() if part == 1 and at not in others]))
    return result
