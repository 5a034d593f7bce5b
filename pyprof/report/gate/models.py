"""The comparison of two models' steps, in a terminal and as one JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from pyprof.analysis.gate.compare import Outcome
from pyprof.quantity import format_seconds
from pyprof.records.disturbance import MOST_LOST
from pyprof.report.gate.words import percent
from pyprof.report.style import Glyphs, glyphs
from pyprof.report.trust import trust_line
from pyprof.statistics.estimate import Estimate
from pyprof.timing.compare import PairedComparison

_STYLES = {"faster": "bold green", "slower": "bold red"}


@dataclass(frozen=True)
class ModelComparison:
    """Two models in one setting: `paired` judges the head against the baseline."""

    baseline: str
    head: str
    setting: Mapping[str, Any]
    fail_over: float | None
    paired: PairedComparison
    notes: tuple[str, ...] = ()

    @property
    def is_too_disturbed(self) -> bool:
        """Whether other processes held up the threads of one of the two so much that the ratio says nothing of them."""
        return any(share is not None and share > MOST_LOST for share in self.paired.held_up)

    @property
    def outcome(self) -> Outcome | None:
        """What the gate says: failed where the head is shown to be slower by more than it lets pass; None without."""
        if self.fail_over is None:
            return None
        if self.is_too_disturbed:
            return "too disturbed"
        low = self.paired.ratio.low
        return "failed" if low is not None and low > 1 + self.fail_over else "passed"

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        paired = self.paired
        if self.is_too_disturbed:
            return f"{self.head} and {self.baseline}: too disturbed to tell apart"
        if paired.ratio.low is None or paired.ratio.high is None:
            return f"{paired.pairs} rounds are too few to tell {self.head} from {self.baseline}"
        bounds = sorted(abs(bound - 1) for bound in (paired.ratio.low, paired.ratio.high))
        if paired.verdict == "no difference shown":
            return f"{self.head} and {self.baseline}: no difference shown"
        words = " to ".join(f"{100 * bound:.2g}" if bound < 0.1 else f"{100 * bound:.1f}" for bound in bounds)
        return (
            f"{self.head} takes {words} % {'more' if paired.verdict == 'slower' else 'less'} time than {self.baseline}"
        )


def write(comparison: ModelComparison, console: Console) -> None:
    """Write the comparison to a console."""
    marks, paired, setting = glyphs(console.encoding), comparison.paired, comparison.setting
    what = f"{setting['length']:,} {setting['unit']}s, batch {setting['batch']}, {setting['mode']}, {setting['dtype']}"
    console.print(Text.assemble(("pyprof", "bold bright_blue"), f" {marks.dot} {setting['size']}, {what}"))
    grid = Grid.grid(padding=(0, 3, 0, 0))
    for name, seconds in ((comparison.baseline, paired.seconds_a), (comparison.head, paired.seconds_b)):
        grid.add_row(Text(name, "bold"), _seconds(seconds, marks))
    grid.add_row(Text("ratio", "bold"), _ratio(paired, marks))
    console.print(grid)
    style = "bold yellow" if comparison.is_too_disturbed else _STYLES.get(paired.verdict, "bold")
    console.print(Text(f"{comparison.sentence}.", style))
    if paired.trust is not None:
        console.print(trust_line(paired.trust))
    console.print(Text(_data(paired), "dim"))
    for note in comparison.notes:
        console.print(Text(note, "dim"))


def _seconds(estimate: Estimate, marks: Glyphs) -> str:
    if estimate.low is None or estimate.high is None:
        return format_seconds(estimate.value)
    value, low, high = (format_seconds(seconds) for seconds in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low} {marks.dash} {high}]"


def _ratio(paired: PairedComparison, marks: Glyphs) -> str:
    ratio = paired.ratio
    if ratio.low is None or ratio.high is None:
        return f"{ratio.value:.4f} (no interval)"
    return f"{ratio.value:.4f} [{ratio.low:.4f}{marks.dash}{ratio.high:.4f}] at {100 * paired.confidence:.3g} %"


def _data(paired: PairedComparison) -> str:
    """How much data there was, and what it could have shown."""
    until = _ENDS[paired.stopped_by]
    text = f"{paired.pairs} pairs in random order in {format_seconds(paired.elapsed_seconds)}, until {until}"
    if paired.detectable is None:
        return f"{text}; no difference could have been shown"
    return f"{text}; a difference of {percent(1 + paired.detectable).removeprefix('+')} would have been shown"


_ENDS = {"precision": "the ratio was known well enough", "time": "the time was up", "samples": "there were enough"}


def document(comparison: ModelComparison) -> dict[str, Any]:
    """The comparison in plain objects."""
    return {
        "baseline": comparison.baseline,
        "head": comparison.head,
        **comparison.setting,
        "fail_over": comparison.fail_over,
        "outcome": comparison.outcome,
        "failed": comparison.outcome == "failed",
        "too_disturbed": comparison.is_too_disturbed,
        "sentence": comparison.sentence,
        "notes": list(comparison.notes),
        **comparison.paired.to_json(),
    }
