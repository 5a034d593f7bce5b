"""Progress of a run on standard error: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from pyprof.indicators import registry
from pyprof.quantity import format_seconds, plural
from pyprof.report.console import Console
from pyprof.report.style import figure

if TYPE_CHECKING:
    from pyprof.records.case import Case
    from pyprof.records.place import Place
    from pyprof.study.run import Event


@contextmanager
def progress(console: Console | None = None) -> Iterator[Callable[[Event], None]]:
    """What to call with each event of a run while the context is entered."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield lambda event: _line(console, event)
        return
    columns = (
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[times]}  {task.description}", markup=False),
    )
    # The display must not spin while a case is being timed: it is drawn when something has happened, never by itself.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("starting", total=None, times="")
        bar.refresh()
        running: dict[Case, Place | None] = {}

        def tell(event: Event) -> None:
            if event.kind == "started":
                running[event.case] = event.place
            else:
                running.pop(event.case, None)
            _line(console, event)
            times = f"{format_seconds(event.elapsed)}, about {format_seconds(event.left)} left"
            bar.update(task, completed=event.done, total=event.total, description=_together(running), times=times)
            bar.refresh()

        yield tell


def _together(running: Mapping[Case, Place | None]) -> str:
    """What is being measured, in one line: how many cases together, where there is more than one, and the first."""
    first = "".join(str(case) for case in list(running)[:1])
    places = set(running.values()) - {None}
    if places:
        return f"{len(running)} on {plural(len(places), 'worker')}: {first}"
    return first if len(running) < 2 else f"{len(running)} together: {first}"


def _line(console: Console, event: Event) -> None:
    record = event.record
    if event.kind != "finished" or record is None:
        return
    what = "; ".join(_figures(event)) if record.status == "ok" else f"{record.status}: {record.reason}"
    count = f"{event.done}/{event.total}"
    left = f"about {format_seconds(event.left)} left"
    where = "" if event.place is None else f" on {event.place}"
    console.print(f"[{count}, {left}] {event.case}{where}: {what}", markup=False, highlight=False, soft_wrap=True)


def _figures(event: Event) -> Iterator[str]:
    assert event.record is not None
    for indicator in registry.every():
        reading = event.record.indicators.get(indicator.name)
        if reading is None or reading.value is None or indicator.exact:
            continue
        at = f" at batch {reading.batch}" if indicator.batch == "largest" else ""
        # A share has no unit that would tell what it is of.
        name = f"{indicator.title.lower()} " if indicator.unit == "1" else ""
        yield f"{name}{figure(indicator, reading.value)}{at}"
