"""Planted bugs: a test of the tests. Each is one change of a kernel's source, and the cases must find it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from building import PLAIN, ROOT, Variant, Workshop, holds, run


@dataclass(frozen=True)
class Bug:
    """One place of one file of csrc/window_attention, and who finds what is wrong with `new` there."""

    name: str
    file: str
    old: str
    new: str
    variant: Variant = PLAIN

    def plant(self, folder: Path) -> Path:
        """A copy of csrc/ with the bug in it. Raises AssertionError where the source no longer has the place, once."""
        csrc = folder / "csrc"
        shutil.copytree(ROOT / "csrc/window_attention", csrc / "window_attention")
        path = csrc / "window_attention" / self.file
        text = path.read_text()
        assert text.count(self.old) == 1, f"{self.name}: the place occurs {text.count(self.old)} times in {self.file}"
        path.write_text(text.replace(self.old, self.new))
        return csrc


def survives(bug: Bug, workshop: Workshop, implementation: str, cases: Iterable[str], folder: Path) -> bool:
    """Whether all cases hold in spite of the bug, with the threads run in either order."""
    program = workshop.changed_program(implementation, bug.variant, bug.plant(folder), folder / "planted")
    cases = list(cases)
    return all(holds(run(program, cases, *order)) for order in ((), ("--reversed",)))
