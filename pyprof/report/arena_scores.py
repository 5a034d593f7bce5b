"""The arena's tasks in a terminal: scores beside the published ones, with speed and memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType

from pyprof.analysis.arena_scores import ArenaScores, Score, ScoreRow
from pyprof.quantity import format_bytes
from pyprof.report.model_columns import model_columns
from pyprof.report.percent import bounds, percent

_TITLES = {
    "listops": "ListOps",
    "text": "Text",
    "retrieval": "Retrieval",
    "image": "Image",
    "pathfinder": "Pathfinder",
    "pathx": "Path-X",
}


def score_blocks(tables: Sequence[ArenaScores], width: int) -> Iterator[RenderableType]:
    """For each setting a column for each model, as many beside one another as fit, then what is not shown to learn."""
    for table in tables:
        rows = [cells(table, row) for row in table.rows]
        yield from model_columns(setting_words(table), heads(table), rows, remarks(table), width=width)


def setting_words(table: ArenaScores) -> str:
    """What the figures of a table are, and how ours were taken."""
    setting = table.setting
    where = f"{setting.size}, {setting.dtype} on {setting.device}"
    return f"accuracy in percent [95 % interval over seeds], ours / published ({table.source}); {where}"


def heads(table: ArenaScores) -> list[str]:
    """The titles of the columns."""
    costs = (f"steps/s at {table.length:,}", "peak memory")
    return ["model", *(_TITLES[task] for task in table.tasks), "average", *costs]


def cells(table: ArenaScores, row: ScoreRow) -> list[str]:
    """The cells of a model's row."""
    average = f"{percent(row.average, 1)}{bounds(row.low, row.high, 1)} / {percent(row.published_average, 1)}"
    speed = "-" if row.speed is None else f"{row.speed:.3g}"
    memory = "-" if row.memory is None else format_bytes(row.memory)
    return [row.model, *(_cell(row.scores.get(task)) for task in table.tasks), average, speed, memory]


def remarks(table: ArenaScores) -> Iterator[str]:
    """The scores that are not shown to be above the most frequent class, and those that there are not."""
    for task in table.tasks:
        unlearnt = [row.model for row in table.rows if _is_unlearnt(row.scores.get(task))]
        if unlearnt:
            yield f"{_TITLES[task]}: not shown to be above the most frequent class: {', '.join(unlearnt)}"
        for row in table.rows:
            score = row.scores.get(task)
            if score is not None and score.reason is not None:
                yield f"{_TITLES[task]}, {row.model}: {score.reason}"


def _is_unlearnt(score: Score | None) -> bool:
    return score is not None and score.low is not None and score.baseline is not None and score.low <= score.baseline


def _cell(score: Score | None) -> str:
    if score is None:
        return "-"
    return f"{percent(score.value, 1)}{bounds(score.low, score.high, 1)} / {percent(score.published, 1)}"
