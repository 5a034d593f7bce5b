"""What a trained model was asked, in a terminal: whether it uses far context, and how far its attention reaches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich import box
from rich.console import RenderableType
from rich.table import Table as Grid
from rich.text import Text

from pyprof.report.console import Console
from pyprof.report.style import Glyphs, glyphs, plural

if TYPE_CHECKING:
    from pyprof.quality.paired import Paired
    from pyprof.quality.questions import MemoryAnswer, Setting, SpanAnswer, UseAnswer
    from pyprof.quality.span import Span
    from pyprof.quality.use import Use
    from pyprof.statistics.estimate import Estimate

_VERDICTS = {"used": "green", "ignored": "yellow", "no use shown": "yellow", "better without": "red"}
_UNITS = {"accuracy": "percentage points", "bits": "bits a token"}
_TITLES = {"accuracy": "right answers", "bits": "bits a token"}
_DOES = {"shuffle": "shuffled", "replace": "replaced by another example's", "drop": "dropped"}
_BAR = 8
# Of more rows than these the table alone is clearer.
_SENTENCES = 3


def write_use(answer: UseAnswer) -> None:
    """Print on standard output what disturbing far context does."""
    console = Console()
    for block in use_blocks(answer, glyphs(console.encoding)):
        console.print(block)


def write_span(answer: SpanAnswer) -> None:
    """Print on standard output how far attention reaches."""
    console = Console()
    for block in span_blocks(answer, glyphs(console.encoding)):
        console.print(block)


def write_memory(answer: MemoryAnswer) -> None:
    """Print on standard output what memory brings."""
    console = Console()
    for block in memory_blocks(answer, glyphs(console.encoding)):
        console.print(block)


def use_blocks(answer: UseAnswer, marks: Glyphs) -> Iterator[RenderableType]:
    """A row for each region and disturbance, with a bar of what it costs, and a sentence for each."""
    first = answer.uses[0].paired
    yield _title("are long inputs used?", answer.setting, len(answer.seeds), marks)
    plain = f"{_TITLES[first.figure]} over {plural(first.examples, 'test example')}"
    yield Text(f"undisturbed: {_figure(first, first.before)}, {plain}; losses in {_UNITS[first.figure]}", "dim")
    grid = _grid("region", "how", "loss", "95 % interval", "changed", "", "")
    longest = max(max(each.paired.loss.value for each in answer.uses), 0.0)
    for each in answer.uses:
        loss = each.paired.loss
        length = round(_BAR * max(loss.value, 0.0) / longest) if longest else 0
        grid.add_row(
            Text(each.region, "bold"),
            each.how,
            signed(each.paired, loss.value),
            bounds(each.paired, loss),
            f"{each.paired.changed:,}",
            Text(each.verdict, _VERDICTS[each.verdict]),
            Text(marks.filling("self-attention") * length, "bright_blue"),
        )
    yield grid
    if len(answer.uses) <= _SENTENCES:
        yield from (Text(use_sentence(each)) for each in answer.uses)


def use_sentence(each: Use) -> str:
    """What one disturbance says."""
    what = f"With the region {each.region} ({100 * each.share:.0f} % of an input) {_DOES[each.how]}"
    loss = each.paired.loss
    figures = f"{signed(each.paired, loss.value)} {_UNITS[each.paired.figure]} {interval(each.paired, loss)}".rstrip()
    if each.verdict == "ignored":
        return f"{what}, nothing changes: the model ignores it."
    if each.verdict == "used":
        return f"{what}, the model loses {figures}: it is used."
    if each.verdict == "better without":
        return f"{what}, the model is better ({figures})."
    return f"{what}, no loss is shown ({figures})."


def span_blocks(answer: SpanAnswer, marks: Glyphs) -> Iterator[RenderableType]:
    """The span of each layer and head, and what windows lose."""
    span = answer.span
    yield _title("how far attention reaches", answer.setting, len(answer.seeds), marks)
    yield Text(span_sentence(span))
    grid = _grid("layer", "tokens", "95 % interval", "heads")
    for number, (layer, heads) in enumerate(zip(span.layers, span.heads, strict=True), 1):
        between = "" if layer.low is None or layer.high is None else f"{layer.low:.1f} to {layer.high:.1f}"
        grid.add_row(str(number), f"{layer.value:.1f}", between, "  ".join(f"{head.value:.1f}" for head in heads))
    yield grid
    if answer.windows:
        yield Text("")
        yield from _windows(answer)


def _windows(answer: SpanAnswer) -> Iterator[RenderableType]:
    first = answer.windows[0]
    yield Text.assemble(("Local models beside it", "bold"), f", {_TITLES[first.paired.figure]}")
    grid = _grid("window", "quality", "loss", "95 % interval", "")
    for each in answer.windows:
        loss = each.paired.loss
        grid.add_row(
            f"{each.window:,}",
            _figure(each.paired, each.paired.after),
            signed(each.paired, loss.value),
            bounds(each.paired, loss),
            Text("keeps" if each.keeps else "not shown to keep", "green" if each.keeps else "yellow"),
        )
    yield grid
    yield Text(window_sentence(answer))


def memory_blocks(answer: MemoryAnswer, marks: Glyphs) -> Iterator[RenderableType]:
    """Bits and perplexity without and with memory, and what it brings."""
    yield _title("what memory brings", answer.setting, len(answer.seeds), marks)
    grid = _grid("read", "bits a byte", "95 % interval", "perplexity", "95 % interval")
    for name, each in (("windows alone", answer.without), ("with memory", answer.within)):
        grid.add_row(name, *_bounded(each.bits, 3), *_bounded(each.perplexity, 2))
    yield grid
    yield Text(memory_sentence(answer))


def memory_sentence(answer: MemoryAnswer) -> str:
    """What is gained by what is remembered."""
    paired = answer.paired
    low, high = paired.change.interval or (-1.0, 1.0)
    verdict = "it helps" if high < 0 else "it does harm" if low > 0 else "no difference is shown"
    return (
        f"What the model remembers of earlier windows changes its loss by {signed(paired, paired.change.value)} bits a "
        f"byte {interval(paired, paired.change)} over {plural(paired.examples, 'window')}: {verdict}."
    )


def _bounded(estimate: Estimate, digits: int) -> tuple[str, str]:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.{digits}f}", ""
    return f"{estimate.value:.{digits}f}", f"{estimate.low:.{digits}f} to {estimate.high:.{digits}f}"


def span_sentence(span: Span) -> str:
    """The span over all heads beside that of attention without any preference."""
    mean = span.mean
    between = "" if mean.low is None or mean.high is None else f" [{mean.low:.1f} to {mean.high:.1f}]"
    return (
        f"A query looks {mean.value:.1f}{between} tokens far on average, over "
        f"{plural(span.examples, 'validation example')} of {span.length:,.0f} tokens; attention to all alike would "
        f"reach {span.uniform:.1f}."
    )


def window_sentence(answer: SpanAnswer) -> str:
    """Which window does."""
    first = answer.windows[0]
    margin = f"{signed(first.paired, first.margin).lstrip('+')} {_UNITS[first.paired.figure]}"
    if answer.needed is None:
        return f"None of the windows is shown to lose less than {margin}: try wider ones, more examples or more seeds."
    return (
        f"From a window of {answer.needed:,} on a local model loses less than {margin}; "
        f"the vanilla model's attention reaches {answer.span.mean.value:.1f} tokens."
    )


def signed(paired: Paired, value: float) -> str:
    """A change of quality in the unit of its figure."""
    return f"{100 * value:+.1f}" if paired.figure == "accuracy" else f"{value:+.4f}"


def bounds(paired: Paired, change: Estimate) -> str:
    """From where to where a change may be; nothing where there is no interval."""
    if change.low is None or change.high is None:
        return ""
    return f"{signed(paired, change.low)} to {signed(paired, change.high)}"


def interval(paired: Paired, change: Estimate) -> str:
    """The same in brackets, for a sentence."""
    between = bounds(paired, change)
    return f"[{between}]" if between else ""


def _grid(*titles: str) -> Grid:
    """A table whose columns of figures are on the right: all but the first, the words and the last."""
    grid = Grid(box=box.SIMPLE_HEAD, padding=0, show_edge=False, pad_edge=False)
    for number, title in enumerate(titles):
        figures = title not in ("how", "heads", "") and number > 0
        grid.add_column(title, justify="right" if figures else "left", no_wrap=title != "heads")
    return grid


def _figure(paired: Paired, value: float) -> str:
    return f"{100 * value:.1f} %" if paired.figure == "accuracy" else f"{value:.4f}"


def _title(question: str, setting: Setting, trainings: int, marks: Glyphs) -> Text:
    subject = setting.subject
    title = Text.assemble(("pyprof", "bold bright_blue"), f" {marks.dot} ", (question, "bold"))
    return title.append(
        f" {subject.model} {subject.size}, {setting.task.title}, {plural(trainings, 'training')} "
        f"of {setting.plan.steps:,} steps"
    )
