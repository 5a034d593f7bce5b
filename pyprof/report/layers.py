"""The layer table of one profile in a terminal."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from pyprof.analysis.device_lines import DeviceLine, device_lines
from pyprof.analysis.layer_tree import KindLine, LayerLine, fused, kind_lines, layer_lines, uncalled, unprobed
from pyprof.quantity import format_count, format_seconds
from pyprof.report.console import Console
from pyprof.report.device_time import device_columns, device_footer, device_sentence
from pyprof.report.style import ASCII, KIND_STYLES, Glyphs, glyphs, scale, spread
from pyprof.report.trust import trust_line

if TYPE_CHECKING:
    from pyprof.layers.profile import Profile

WIDE = 140
BAR, WIDE_BAR = 6, 16
MOST_BAR = 50
LEAST_NAME = 16
SHOWN_PATHS = 3


def write(profile: Profile, console: Console, *, title: str, expand: bool = False) -> None:
    """Write a profile's layer table to a console, in its width, colours and encoding; `expand` folds no blocks."""
    console.print(render(profile, console.width, glyphs(console.encoding), title=title, fold=not expand))


def text(profile: Profile) -> str:
    """A profile's layer table without colours, as wide as the terminal, in characters that it can show."""
    terminal = Console()
    file = io.StringIO()
    marks = glyphs(terminal.encoding)
    title = profile.layers[0].type
    Console(file=file, width=terminal.width, color_system=None).print(
        render(profile, terminal.width, marks, title=title)
    )
    written = "\n".join(line.rstrip() for line in file.getvalue().splitlines())
    if marks is ASCII:
        written = written.replace("µ", "u").replace("─", ASCII.line)
    return written.encode(terminal.encoding, "replace").decode(terminal.encoding)


def render(profile: Profile, width: int, marks: Glyphs, *, title: str, fold: bool = True) -> Group:
    """What each kind takes, and the table of all layers, root first: a line each, or one for equal neighbours where
    `fold` is set.
    """
    lines = layer_lines(profile, fold=fold)
    head = Text.assemble(("pyprof", "bold bright_blue"), f" {marks.dot} ", (title, "bold"))
    step = Text(f"one step takes {_step(profile, marks)}")
    on_device = device_lines(profile, lines)
    if profile.device_time:
        step.append("; ").append(device_sentence(profile.device_time))
    notes = (Text(note, "dim") for note in profile.notes)
    judged = profile.plain.trust if profile.plain else None
    trust = [] if judged is None or judged.level == "trust" else [trust_line(judged)]
    kinds = _kind_bars(kind_lines(profile), width, marks)
    return Group(
        head,
        step,
        *trust,
        kinds,
        Text(),
        _table(lines, on_device, width, marks),
        *_footer(profile, lines, width, marks),
        *notes,
    )


def _kind_bars(lines: Sequence[KindLine], width: int, marks: Glyphs) -> Grid:
    """The share of each kind in a step, which is also what each filling stands for."""
    grid = Grid.grid(padding=(0, 2, 0, 0))
    for justify in ("left", "right", "right", "left"):
        grid.add_column(justify=justify, no_wrap=True)
    names = max(len(line.kind) for line in lines) + 3
    room = min(width - names - 7 - 9 - 6, MOST_BAR)
    for line in lines:
        style = KIND_STYLES.get(line.kind, "white")
        name = Text.assemble((marks.filling(line.kind) * 2, style), f" {line.kind}")
        bar = Text(marks.filling(line.kind) * round(min(line.share, 1.0) * room), style)
        took = Text(format_seconds(line.seconds) if line.seconds else "", "dim")
        grid.add_row(name, f"{100 * line.share:.1f} %" if line.seconds else "", took, bar)
    return grid


@dataclass(frozen=True)
class _Column:
    """A column of a layer table: its heading in two lines and what stands in it."""

    title: str
    text: Callable[[LayerLine], Text]
    right: bool = True


def _table(lines: Sequence[LayerLine], on_device: Sequence[DeviceLine], width: int, marks: Glyphs) -> Grid:
    """The columns of numbers are as wide as what is in them; the names and the bars share the rest.

    Where a device's own times are known, the shares are of these, and where there is little room they stand in the
    place of the host's own times.
    """
    wide = width >= WIDE
    columns = [*_kinds(wide, marks), *_numbers(lines, own=wide or not on_device)]
    texts = [[column.text(line) for line in lines] for column in columns]
    titles = [column.title for column in columns]
    for title, text_of in device_columns(on_device, wide) if on_device else ():
        titles.append(title)
        texts.append([text_of(number) for number in range(len(lines))])
    shares = [(line.share, line.own_share) for line in on_device or lines]
    titles.append("share\n(%)")
    shown = [line.reason is None or share > 0 for line, (share, _) in zip(lines, shares, strict=True)]
    texts.append([Text(f"{100 * share:.1f}" if show else "") for (share, _), show in zip(shares, shown, strict=True)])
    right = [column.right for column in columns] + [True] * (len(titles) - len(columns))
    widths = [
        max([text.cell_len for text in some] + [len(part) for part in title.split("\n")])
        for title, some in zip(titles, texts, strict=True)
    ]
    room = width - sum(widths) - len(widths) - 1
    labels = [_label(line, 2 if wide else 1, marks) for line in lines]
    bars = min(max(room - max(label.cell_len for label in labels), BAR), WIDE_BAR)
    names = max(room - bars, LEAST_NAME)
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 0), show_edge=False, pad_edge=False)
    grid.add_column("\nlayer", no_wrap=True, max_width=names)
    for title, to_right, needed in zip(titles, right, widths, strict=True):
        grid.add_column(title, justify="right" if to_right else "left", no_wrap=True, min_width=needed)
    grid.add_column("\n", no_wrap=True, min_width=bars)
    for number, (line, label) in enumerate(zip(lines, labels, strict=True)):
        grid.add_row(
            _shortened(label, names, marks),
            *(some[number] for some in texts),
            _bar(line.kind, *shares[number], bars, marks),
        )
    return grid


def _kinds(wide: bool, marks: Glyphs) -> list[_Column]:
    """The columns that say what a layer is; where there is no room for words, its kind's filling."""
    if not wide:
        return [_Column("\n", lambda line: _kind(line, marks), right=False)]
    return [
        _Column("\ntype", lambda line: Text(line.type, "dim"), right=False),
        _Column("\nkind", lambda line: Text(line.kind, KIND_STYLES.get(line.kind, "white")), right=False),
    ]


def _numbers(lines: Sequence[LayerLine], own: bool) -> list[_Column]:
    """The columns of the host's numbers, with or without own times; what no layer has is left out."""
    longest = max(
        max(line.forward_seconds or 0.0, line.backward_seconds or 0.0, line.beside_seconds or 0.0) for line in lines
    )
    unit = scale([longest / 100], "time")
    decimals = 1 if longest >= 100 * unit.factor else 2

    def time(seconds: float | None, style: str = "") -> Text:
        return Text(f"{seconds / unit.factor:,.{decimals}f}" if seconds else "", style)

    def count(number: int) -> Text:
        return Text(format_count(number) if number else "", "dim")

    def calls(number: float) -> Text:
        # Means over steps: half a call is not none.
        return Text(f"{number:.3g}", "dim") if number != int(number) and number < 100 else count(round(number))

    own_title = f"own\n({unit.unit})"
    columns = [
        _Column("\ncalls", lambda line: calls(line.calls)),
        _Column("para-\nmeters", lambda line: count(line.parameters)),
        _Column(f"forward\n({unit.unit})", lambda line: time(line.forward_seconds)),
    ]
    if own:
        columns.append(_Column(own_title, lambda line: time(line.own_forward_seconds, "bold")))
    if any(line.backward_seconds is not None for line in lines):
        columns.append(_Column(f"backw.\n({unit.unit})", lambda line: time(line.backward_seconds)))
        if own:
            columns.append(_Column(own_title, lambda line: time(line.own_backward_seconds, "bold")))
    if any(line.recompute_seconds is not None for line in lines):
        columns.append(_Column(f"again\n({unit.unit})", lambda line: time(line.recompute_seconds)))
    if any(line.second_order_seconds is not None for line in lines):
        columns.append(_Column(f"2nd\n({unit.unit})", lambda line: time(line.second_order_seconds)))
    if any(line.beside_seconds is not None for line in lines):
        columns.append(_Column(f"beside\n({unit.unit})", lambda line: time(line.beside_seconds)))
    return columns


def _label(line: LayerLine, indent: int, marks: Glyphs) -> Text:
    text = Text(" " * indent * line.depth + (line.name or line.type), "bold" if line.depth == 0 else "")
    if line.last is not None:
        text.append(f" {marks.fold} {line.last}").append(f" ({line.beside} x, mean)", "cyan")
    return text


def _shortened(text: Text, width: int, marks: Glyphs) -> Text:
    if text.cell_len <= width:
        return text
    text.truncate(width - len(marks.cut))
    return text.append(marks.cut)


def _kind(line: LayerLine, marks: Glyphs) -> Text:
    return Text(marks.filling(line.kind), KIND_STYLES.get(line.kind, "white"))


def _bar(kind: str, share: float, own_share: float, width: int, marks: Glyphs) -> Text:
    """The layer's share: its own part filled as its kind, what lies below it as a line."""
    whole = round(min(share, 1.0) * width)
    own = min(round(min(own_share, 1.0) * width), whole)
    text = Text(marks.filling(kind) * own, KIND_STYLES.get(kind, "white"))
    return text.append(marks.line * (whole - own), "dim")


def _step(profile: Profile, marks: Glyphs) -> str:
    if profile.plain is None:
        where = "in the trace" if profile.is_from_trace else "with the probes on"
        return f"{format_seconds(profile.step_seconds)} {where}"
    step = profile.plain.step
    return f"{format_seconds(step.value)} {spread(step.value, step.low, step.high, marks)} without probes"


def _overhead(profile: Profile) -> Text:
    """What looking has cost, or why that is not known."""
    if profile.is_from_trace:
        return Text("profiling overhead: these times hold what the tool that wrote the trace has cost", "dim")
    if profile.plain is None:
        return Text("profiling overhead: not measured, as no step was taken without probes (plain_step)", "yellow")
    return Text(
        f"profiling overhead: a step is {profile.plain}; the layers' times are those of the probed steps, "
        f"{format_seconds(profile.step_seconds)} each, with nothing subtracted",
        "dim",
    )


def _footer(profile: Profile, lines: Sequence[LayerLine], width: int, marks: Glyphs) -> list[RenderableType]:
    share = profile.outside_seconds / profile.step_seconds if profile.step_seconds else 0.0
    footer: list[RenderableType] = [
        Text(f"outside all layers: {format_seconds(profile.outside_seconds)} ({100 * share:.1f} %)"),
        _overhead(profile),
    ]
    judged = profile.plain.trust if profile.plain else None
    if judged is not None and judged.level == "trust":
        footer.append(trust_line(judged))
    if profile.device_time:
        footer += device_footer(profile.device_time, width >= WIDE)
    if any(line.beside > 1 for line in lines):
        footer.append(
            Text("times of repeated layers are means; their shares and bars are of all of them together", "dim")
        )
    if any(line.recompute_seconds is not None for line in lines):
        footer.append(Text("again: a layer's forward, run once more by activation checkpointing", "dim"))
    for name, kinds in fused(profile).items():
        inside = f"{', '.join(kinds[:-1])} and {kinds[-1]}"
        footer.append(Text(f"fused: {name} ran {inside} in one piece, whose times cannot be told apart", "yellow"))
    if any(line.second_order_seconds is not None for line in lines):
        footer.append(
            Text("2nd: the part of a layer's own backward that is the backward of its backward (create_graph)", "dim")
        )
    if profile.beside_seconds:
        footer.append(
            Text(
                f"beside: {format_seconds(profile.beside_seconds)} that layers took in other threads while the step "
                "ran; it is no part of the step's time",
                "dim",
            )
        )
    for reason, paths in (*unprobed(profile).items(), *uncalled(profile).items()):
        more = f" and {len(paths) - SHOWN_PATHS} more" if len(paths) > SHOWN_PATHS else ""
        footer.append(Text(f"{reason}: {', '.join(paths[:SHOWN_PATHS])}{more}", "yellow"))
    if profile.system and profile.system.is_much:
        footer.append(Text(str(profile.system), "yellow"))
    footer += [Text(omission, "bold red") for omission in profile.omissions()]
    return footer
