"""What the system took of the steps, in a terminal: handing out memory, by kind of layer, and how dear that was."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from pyprof.analysis.system_time import DEAR, SystemShare, SystemSummary
from pyprof.quantity import plural
from pyprof.report.style import short_case

_SHOWN = 3
_LEAST_PART = 0.01


def system_lines(system: SystemSummary) -> Iterator[Text]:
    """A line for the cases that the system took most of, and one on the price of a page where it changed."""
    for share in system.shares[:_SHOWN]:
        yield _share(share)
    if len(system.shares) > _SHOWN:
        rest = system.shares[_SHOWN:]
        low, high = (f"{100 * share.part.share:.0f} %" for share in (rest[-1], rest[0]))
        yield Text(f"and {low} to {high} of {plural(len(rest), 'more case')}", "dim")
    if system.dear:
        shown = ", ".join(map(short_case, system.dear[:_SHOWN]))
        more = f", and {len(system.dear) - _SHOWN:,} more" if len(system.dear) > _SHOWN else ""
        text = Text(f"{len(system.dear):,} of {plural(system.measured, 'case')} ran while pages were dear", "yellow")
        text.append(f" (a page fault typically over {DEAR:g} times as long as at its cheapest): {shown}{more}")
        yield text


def _share(share: SystemShare) -> Text:
    amount, rest = str(share.part).split(" % ", 1)
    text = Text.assemble(short_case(share.case), ": ", (f"{amount} %", "bold yellow"), f" {rest}")
    if share.kinds:
        most = [(kind, part) for kind, part in share.kinds.items() if part >= _LEAST_PART][:_SHOWN]
        text.append(f": {', '.join(f'{100 * part:.0f} % in {kind}' for kind, part in most)}", "dim")
    if share.case.allocator == "default":
        text.append("; --allocator keep takes most of it away", "cyan")
    return text
