"""The page of what a trained model was asked: what disturbing far context costs, and how far attention reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyprof.report.charts.intervals import Line, intervals_chart
from pyprof.report.page.document import simple_page
from pyprof.report.page.markup import Part, grid, tag
from pyprof.report.quality_questions import (
    interval,
    memory_sentence,
    signed,
    span_sentence,
    use_sentence,
    window_sentence,
)

if TYPE_CHECKING:
    from pyprof.quality.paired import Paired
    from pyprof.quality.questions import MemoryAnswer, Setting, SpanAnswer, UseAnswer
    from pyprof.report.charts.chart import Chart
    from pyprof.statistics.estimate import Estimate

_TINTS = {"shuffle": "series-0", "replace": "series-1", "drop": "series-2"}
_AXES = {"accuracy": "percentage points of right answers lost", "bits": "bits a token lost"}


def use_page(answer: UseAnswer) -> str:
    """The page of what each disturbance costs; raises UsageError where vl-convert is not installed."""
    figure = answer.uses[0].paired.figure
    lines = [
        _line(f"{each.region} {each.how}", each.paired, each.paired.loss, _TINTS[each.how]) for each in answer.uses
    ]
    chart = intervals_chart("use", "What is lost without far context", lines, f"{_AXES[figure]}, 95 % interval", at=0.0)
    said: list[Part] = [_what(answer.setting), *(tag("p", use_sentence(each)) for each in answer.uses)]
    return simple_page(f"pyprof: are long inputs used by {answer.setting.subject.model}?", said, [chart])


def span_page(answer: SpanAnswer) -> str:
    """The page of how far attention reaches; raises UsageError where vl-convert is not installed."""
    span = answer.span
    lines = [
        Line(
            f"layer {layer}, head {head}",
            each.value,
            each.low,
            each.high,
            f"{each.value:.1f} tokens",
            f"series-{(layer - 1) % 8}",
        )
        for layer, heads in enumerate(span.heads, 1)
        for head, each in enumerate(heads, 1)
    ]
    charts: list[Chart] = [
        intervals_chart("span", "How far each head looks", lines, "tokens, 95 % interval", at=span.uniform,
                        caption="The dashed rule is attention to all tokens alike.")
    ]  # fmt: skip
    said: list[Part] = [_what(answer.setting), tag("p", span_sentence(span))]
    if answer.windows:
        first = answer.windows[0]
        scale = 100 if first.paired.figure == "accuracy" else 1
        lost = [_line(f"window {each.window:,}", each.paired, each.paired.loss) for each in answer.windows]
        charts.append(
            intervals_chart("windows", "What a local model loses", lost, f"{_AXES[first.paired.figure]}, 95 % interval",
                            at=scale * first.margin, caption="The dashed rule is what it may lose.")
        )  # fmt: skip
        rows = [
            [f"{each.window:,}", signed(each.paired, each.paired.loss.value), interval(each.paired, each.paired.loss)]
            for each in answer.windows
        ]
        said += [tag("p", window_sentence(answer)), grid(["window", "loss", "95 % interval"], rows, caption="Windows")]
    return simple_page(f"pyprof: how far the attention of {answer.setting.subject.model} reaches", said, charts)


def memory_page(answer: MemoryAnswer) -> str:
    """The page of what memory brings; raises UsageError where vl-convert is not installed."""
    lines = [
        Line(name, each.bits.value, each.bits.low, each.bits.high, f"{each.bits.value:.4f} bits a byte", tint)
        for name, each, tint in (
            ("windows alone", answer.without, "series-1"),
            ("with memory", answer.within, "series-0"),
        )
    ]
    chart = intervals_chart("memory", "What memory brings", lines, "bits a byte, 95 % interval")
    said = [_what(answer.setting), tag("p", memory_sentence(answer))]
    return simple_page(f"pyprof: what {answer.setting.subject.model} makes of its memory", said, [chart])


def _what(setting: Setting) -> Part:
    subject = setting.subject
    return tag("p", f"{subject.model} {subject.size}, {setting.task.title}, {setting.plan.steps:,} steps")


def _line(name: str, paired: Paired, loss: Estimate, tint: str = "series-0") -> Line:
    scale = 100 if paired.figure == "accuracy" else 1
    low, high = (None if each is None else scale * each for each in (loss.low, loss.high))
    said = f"{signed(paired, loss.value)} {interval(paired, loss)}".rstrip()
    return Line(name, scale * loss.value, low, high, said, tint)
