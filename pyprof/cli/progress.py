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


# Seconds between two lines of what takes long, where lines stay.
ADVANCE_SECONDS = 30.0


@contextmanager
def progress(console: Console | None = None) -> Iterator[Callable[[Event], None]]:
    """What to call with each event of a run while the context is entered."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console)
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
            if event.kind in ("started", "advanced"):
                running[event.case] = event.place
            else:
                running.pop(event.case, None)
            _line(console, event)
            times = f"{format_seconds(event.elapsed)}, about {format_seconds(event.left)} left"
            what = f"{event.case}: {event.what}" if event.what else _together(running)
            bar.update(task, completed=event.done, total=event.total, description=what, times=times)
            bar.refresh()

        yield tell


class _Lines:
    """A line for each case that is finished, and now and then one for what takes long."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        if event.kind != "advanced":
            self._last = event.elapsed
            _line(self._console, event)
        elif event.elapsed - self._last >= ADVANCE_SECONDS:
            self._last = event.elapsed
            _print(self._console, event, event.what)


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
    _print(console, event, "; ".join(_figures(event)) if record.status == "ok" else f"{record.status}: {record.reason}")


def _print(console: Console, event: Event, what: str) -> None:
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
