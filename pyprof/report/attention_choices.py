"""The table of CUDA kernels of window attention in a terminal: for which problem each of them is taken, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group
from rich.table import Table as Grid
from rich.text import Text

from pyprof.report.style import glyphs

if TYPE_CHECKING:
    from pyprof.attention import Line, Verdict

_READING = (
    "The first line that fits is taken. Width: neighbours of both sides together; (8): each side counts as the next "
    "multiple of 8; global keys: they may be asked for. Figures: us on an H100, bfloat16; of Hopper's kernels and "
    "mma_wide those of prototypes.",
    "Hopper's kernels (compute capability 9.0, rows aligned to 16 bytes) are taken where they pass a trial on the very "
    "card, before the first problem that they are to run for; PYPROF_CUDA_KERNELS=hopper takes them without one, =mma "
    "never, and =mma_one_pass is what asks for that one. pyprof.window_attention_choice tells which kernel a problem "
    "takes.",
)


def write(lines: Sequence[Line], tried: Sequence[tuple[str, Verdict | None]], console: Console) -> None:
    """Write the table, and the verdict on each card that is here, to a console, in its width, colours and encoding."""
    marks = glyphs(console.encoding)
    title = Text.assemble(("pyprof", "bold bright_blue"), f" {marks.dot} ", ("kernels of window attention", "bold"))
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, pad_edge=False)
    for heading in ("kernel", "direction", "dtype", "head_dim", "width", "card", "also", "why"):
        grid.add_column(heading, overflow="fold")
    for line in lines:
        grid.add_row(
            Text(line.kernel, "cyan"),
            line.direction,
            "16 bits" if line.is_16_bit else "float32",
            "32, 64, 128" if line.head_dim is None else str(line.head_dim),
            _width(line),
            "9.0, tried" if line.hopper else "8.0 on",
            ", ".join(_conditions(line)),
            Text(line.why),
        )
    console.print(Group(title, Text(""), grid, Text(""), *map(Text, _READING), *(_told(*one) for one in tried)))


def _told(card: str, verdict: Verdict | None) -> Text:
    if verdict is None:
        return Text(f"{card}: Hopper's kernels have not been tried on it with this build")
    said = ("passed their trial", "green") if verdict.passed else (f"are not taken: {verdict.reason}", "red")
    return Text.assemble(f"{card}: Hopper's kernels ", said)


def _width(line: Line) -> str:
    least = f"from {line.narrowest}" if line.narrowest else ""
    most = "" if line.widest is None else f"to {line.widest}"
    return f"{least} {most}".strip() + (" (8)" if line.in_eights else "") or "any"


def _conditions(line: Line) -> list[str]:
    asked = ["only if asked for"] * line.asked_for
    return ["own keys"] * line.own_keys + ["no dropout"] * line.no_dropout + ["global keys"] * line.global_keys + asked
