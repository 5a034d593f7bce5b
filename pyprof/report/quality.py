"""What a model achieves on a task, in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pyprof.quality.outcome import interval_of, mean_of
from pyprof.quantity import format_seconds, plural

if TYPE_CHECKING:
    from pyprof.quality.outcome import Outcome, SeedOutcome
    from pyprof.quality.task import Metric


def outcome_blocks(outcome: Outcome, title: str, details: Sequence[str] = ()) -> Iterator[RenderableType]:
    """The quality with its interval, what it is held against, a row for each training, and the task's own lines."""
    head = Text.assemble(("pyprof", "bold bright_blue"), " · ", (title, "bold"))
    yield head.append(f", {outcome.model} {outcome.size}, {outcome.attention} on {outcome.device}")
    metric = outcome.metric
    yield Text.assemble((metric.name.replace("_", " "), "bold"), " ", (quality_words(outcome.seeds, metric), "bold"))
    yield Text(f"who never looks at the input: {outcome.baseline:.3f}", "dim")
    if outcome.control:
        yield Text(f"trained on shuffled labels: {quality_words(outcome.control, metric)}", "dim")
    published = outcome.published.get(outcome.model)
    if published is not None:
        yield Text(f"published: {published:.3f} ({outcome.source})", "dim")
    if outcome.rates:
        yield Text(rates_words(outcome), "dim")
    yield _grid([*outcome.seeds, *outcome.control], len(outcome.seeds), outcome)
    yield from (Text(line, "dim") for line in (*details, *_reasons((*outcome.seeds, *outcome.control))))


def rates_words(outcome: Outcome) -> str:
    """The learning rate that was taken, and what each that was tried led to on validation examples."""
    tried = ", ".join(
        f"{each.rate:g} {'diverged' if each.quality is None else f'{each.quality:.3f}'}" for each in outcome.rates
    )
    return f"learning rate {outcome.plan.learning_rate:g}, the best on validation examples: {tried}"


def quality_words(seeds: Sequence[SeedOutcome], metric: Metric) -> str:
    """The mean over trainings with its interval, or that some diverged."""
    mean, interval = mean_of(tuple(seeds)), interval_of(tuple(seeds), metric)
    if mean is None:
        return f"none: {sum(each.status == 'diverged' for each in seeds)} of {plural(len(seeds), 'training')} diverged"
    bounds = "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
    return f"{mean:.3f}{bounds} over {plural(len(seeds), 'seed')}"


def _grid(rows: Sequence[SeedOutcome], own: int, outcome: Outcome) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    grid.add_column("training")
    for name in (outcome.metric.name.replace("_", " "), "loss", "steps", "examples", "time", "energy", ""):
        grid.add_column(name, justify="left" if not name else "right", no_wrap=True)
    for number, each in enumerate(rows):
        grid.add_row(
            f"seed {each.seed}" if number < own else f"shuffled, seed {each.seed}",
            "-" if each.quality is None else f"{each.quality:.3f}",
            "-" if each.loss is None or each.quality is None else f"{each.loss:.3f}",
            f"{each.steps:,}",
            f"{each.examples:,}",
            format_seconds(each.seconds),
            "-" if each.joules is None else f"{each.joules:,.0f} J",
            "" if each.status == "done" else each.status,
        )
    return grid


def _reasons(rows: Sequence[SeedOutcome]) -> Iterator[str]:
    for each in rows:
        if each.reason is not None:
            yield f"seed {each.seed}: {each.status}, {each.reason}"
    missing = next((each.joules_reason for each in rows if each.joules is None and each.joules_reason), None)
    if missing is not None:
        yield f"no energy: {missing}"
