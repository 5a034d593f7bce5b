"""Word error rates in a terminal: ours beside the published ones, with what hearing costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType

from pyprof.analysis.speech_rates import LEARNS, Rate, SpeechRates, SpeechRow
from pyprof.quantity import format_bytes, format_seconds
from pyprof.report.model_columns import model_columns
from pyprof.report.percent import bounds, percent


def rate_blocks(tables: Sequence[SpeechRates], width: int) -> Iterator[RenderableType]:
    """For each setting a column for each model, as many beside one another as fit."""
    for table in tables:
        rows = [cells(table, row) for row in table.rows]
        yield from model_columns(setting_words(table), heads(table), rows, remarks(table), width=width)


def setting_words(table: SpeechRates) -> str:
    """What the figures of a table are, and how ours were taken."""
    setting = table.setting
    where = f"{setting.size}, {setting.dtype} on {setting.device}"
    return f"word error rate in percent, ours / published ({table.source}); {where}"


def heads(table: SpeechRates) -> list[str]:
    """The titles of the columns."""
    seconds = next((f" of {row.seconds:.1f} s" for row in table.rows if row.seconds is not None), "")
    rates = [head for task in table.tasks for head in (LEARNS[task], f"above {table.rows[0].model}")]
    return ["model", *rates, f"utterance{seconds}", "of real time", "peak memory"]


def cells(table: SpeechRates, row: SpeechRow) -> list[str]:
    """The cells of a model's row."""
    return [
        row.model,
        *(cell for task in table.tasks for cell in (_cell(row.rates.get(task)), _above(row.rates.get(task)))),
        "-" if row.latency is None else format_seconds(row.latency),
        "-" if row.real_time_factor is None else f"{row.real_time_factor:.3g}",
        "-" if row.peak_memory is None else format_bytes(int(row.peak_memory)),
    ]


def remarks(table: SpeechRates) -> Iterator[str]:
    """What the intervals are over, and why there is no rate where there is none."""
    rates = [(row.model, task, row.rates[task]) for row in table.rows for task in table.tasks if task in row.rates]
    over = dict.fromkeys(rate.over for _, _, rate in rates if rate.over is not None)
    if over:
        yield f"intervals over {' or '.join(over)}"
    for model, task, rate in rates:
        if rate.reason is not None:
            yield f"{model}, {LEARNS[task]}: {rate.reason}"


def _cell(rate: Rate | None) -> str:
    if rate is None:
        return "-"
    return f"{percent(rate.value, 2)}{bounds(rate.low, rate.high, 2)} / {percent(rate.published, 2)}"


def _above(rate: Rate | None) -> str:
    """How much higher a rate is than the first model's, in percent of the words."""
    if rate is None or rate.above is None:
        return "-"
    low, high = rate.above.interval or (None, None)
    return f"{percent(rate.above.value, 2, '+')}{bounds(low, high, 2, '+')}"
