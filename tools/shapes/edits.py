"""The six kinds of edit, their instructions, and the one right answer to each."""

import zlib
from dataclasses import dataclass, replace

from scene import BACKGROUNDS, CELLS, COLOURS, SHAPES, Scene, random_scene, signature, with_article

KINDS = ("recolour", "replace", "move", "background", "border", "remove")
KNOWN_KINDS = ("recolour", "replace", "move")  # what the embedded model has been taught
NEW_KINDS = ("background", "border", "remove")  # what the quickstart teaches it


@dataclass(frozen=True)
class Edit:
    kind: str
    instruction: str
    result: Scene


def legal_edits(scene):
    """Every edit that makes sense for the scene, in a fixed order, grouped by kind."""
    edits = []
    for i, shape in enumerate(scene.shapes):

        def with_shape(**changes):
            return replace(scene, shapes=scene.shapes[:i] + (replace(shape, **changes),) + scene.shapes[i + 1 :])

        taken_kinds = {s.kind for s in scene.shapes}
        taken_cells = {s.cell for s in scene.shapes}
        for colour in COLOURS:
            if colour != shape.colour:
                edits.append(Edit("recolour", f"make the {shape.kind} {colour}", with_shape(colour=colour)))
        for kind in SHAPES:
            if kind not in taken_kinds:
                edits.append(Edit("replace", f"turn the {shape.kind} into a {kind}", with_shape(kind=kind)))
        for cell in CELLS:
            if cell not in taken_cells:
                edits.append(Edit("move", f"move the {shape.kind} to the {cell}", with_shape(cell=cell)))
        without = scene.shapes[:i] + scene.shapes[i + 1 :]
        edits.append(Edit("remove", f"remove the {shape.kind}", replace(scene, shapes=without)))
    for colour in BACKGROUNDS:
        if colour != scene.background:
            edits.append(Edit("background", f"make the background {colour}", replace(scene, background=colour)))
    for colour in COLOURS:
        edits.append(Edit("border", f"add {with_article(colour)} border", replace(scene, border=colour)))
    return edits


def is_held_out(scene):
    """An eighth of all scenes (shifts aside) is never used for training, whatever the seed."""
    return zlib.crc32(signature(scene).encode()) % 8 == 0


def random_scene_of(rng, held_out):
    while True:
        scene = random_scene(rng)
        if is_held_out(scene) == held_out:
            return scene


def random_edit(rng, scene, kinds):
    """An edit of a kind drawn evenly from `kinds`, then drawn evenly within the kind."""
    kind = rng.choice(kinds)
    return rng.choice([edit for edit in legal_edits(scene) if edit.kind == kind])
