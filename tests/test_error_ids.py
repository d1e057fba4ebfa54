"""Every error id in the sources is documented, and every documented id exists."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_ids_and_documentation_agree():
    used = set()
    for room in ("core", "apps"):
        for path in (ROOT / room).rglob("*"):
            if path.suffix in (".cpp", ".h") and not path.name.endswith("_test.cpp"):
                used |= set(re.findall(r'"(E\d{4})"', path.read_text()))
    documented = set()
    for path in (ROOT / "docs" / "ERRORS.d").glob("*.md"):
        documented |= set(re.findall(r"T2I-(E\d{4})", path.read_text()))
    assert len(used) > 50
    assert used == documented
