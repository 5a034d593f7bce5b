"""Advice in a terminal and as a document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table as Grid
from rich.text import Text

from pyprof.analysis.advise import Advice, Candidate
from pyprof.analysis.curves import describe, distinguishing
from pyprof.report.as_json import as_plain
from pyprof.report.console import Console
from pyprof.report.style import Glyphs, figure, glyphs


def document(advice: Sequence[Advice], unit: str) -> dict[str, Any]:
    """All of it in plain objects, each piece with the sentence that the terminal prints."""
    return {
        "unit": unit,
        "advice": [{**as_plain(each), "lengths": _lengths(each), "sentence": sentence(each, unit)} for each in advice],
    }


def _lengths(advice: Advice) -> dict[str, Any]:
    lengths = advice.lengths
    return {"source": lengths.source, "mean": lengths.mean, "different": len(lengths.values)}


def write(advice: Sequence[Advice], unit: str) -> None:
    """Print it on standard output."""
    console = Console()
    for block in render(advice, unit, glyphs(console.encoding)):
        console.print(block)


def render(advice: Sequence[Advice], unit: str, marks: Glyphs) -> Iterator[RenderableType]:
    """Each setting's table and its sentences."""
    naming = distinguishing(each.setting for each in advice)
    for number, each in enumerate(advice):
        if number:
            yield Text("")
        yield from _setting(each, unit, describe(each.setting, naming), marks)


def _setting(advice: Advice, unit: str, setting: str, marks: Glyphs) -> Iterator[RenderableType]:
    indicator, lengths = advice.indicator, advice.lengths
    head = Text.assemble(
        (f"{indicator.title} expected", "bold"), f" over {lengths.source}: {lengths.mean:,.0f} {unit}s on average"
    )
    tokens = advice.candidates[0].tokens
    if round(tokens) != round(lengths.mean):
        head.append(f", {tokens:,.0f} with padding ({100 * (tokens / lengths.mean - 1):.0f} % more)")
    yield head.append(f" ({advice.setting.mode}{f', {setting}' if setting else ''})")
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False, pad_edge=False)
    grid.add_column("model", no_wrap=True, style="bold")
    for title in ("an example", "to the choice", f"at {100 * advice.quantile:g} %", ""):
        grid.add_column(title, justify="right")
    for each in advice.candidates:
        grid.add_row(*_row(advice, each, marks))
    yield grid
    yield Text(sentence(advice, unit), "bold green" if advice.shown else "yellow")
    for change in advice.changes:
        how = "as long" if change.factor > 1 else "as short"
        times = change.factor if change.factor > 1 else 1 / change.factor
        yield Text(
            f"  {marks.dot} with inputs {times:.1f} times {how} (mean {change.mean:,.0f}) it would be {change.subject}"
        )
    beyond = max(each.beyond for each in advice.candidates)
    if beyond:
        yield Text(
            f"{100 * beyond:.1f} % of the examples are longer than what was measured: "
            "their cost goes on as it grew last",
            "yellow",
        )


def _row(advice: Advice, each: Candidate, marks: Glyphs) -> tuple[Text, ...]:
    ratio = Text("")
    if each.ratio is not None:
        bounds = "[?]" if each.low is None or each.high is None else f"[{each.low:.2f}{marks.dash}{each.high:.2f}]"
        ratio = Text(
            f"{each.ratio:.2f} {'' if advice.indicator.exact else bounds}".rstrip(),
            "" if each.low is not None and each.low > 1 else "yellow",
        )
    return (
        Text(str(each.subject), "bold green" if each.subject == advice.choice else ""),
        Text(figure(advice.indicator, each.expected)),
        ratio,
        Text(figure(advice.indicator, each.at_quantile)),
        Text(each.fit or "", {"fits": "green", "may fit": "yellow", "does not fit": "red"}.get(each.fit or "", "")),
    )


def sentence(advice: Advice, unit: str) -> str:
    """What to choose, how sure that is, and within which budget."""
    indicator = advice.indicator
    within = ""
    if advice.budget is not None:
        within = f" within {figure(indicator, advice.budget)} for {100 * advice.quantile:g} % of the examples"
    if advice.choice is None:
        needed = "" if advice.budget_for is None else f"; one would with {figure(indicator, advice.budget_for)}"
        return f"None surely stays{within}{needed}."
    rivals = [
        each for each in advice.candidates if each.subject != advice.choice and each.fit in (None, "fits", "may fit")
    ]
    chosen = f"Choose {advice.choice}{within}"
    if not rivals:
        return f"{chosen}: no other one does." if advice.budget is not None else f"{chosen}: there is no other."
    if advice.shown:
        nearest = min(rivals, key=lambda each: each.ratio or 1.0)
        return f"{chosen}: {nearest.subject} costs {nearest.ratio:.2f} times as much, and the difference is shown."
    unsure = [str(each.subject) for each in rivals if each.low is None or each.low <= 1]
    return f"{chosen}, but it is not shown to cost less than {' and '.join(unsure)}: measure longer to be sure."
