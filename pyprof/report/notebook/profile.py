"""A profile in a notebook: what each kind of layer takes, and the layers on a click."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyprof.analysis.device_lines import device_lines
from pyprof.analysis.layer_tree import LayerLine, kind_lines, layer_lines, unprobed
from pyprof.quantity import format_count, format_seconds
from pyprof.report.notebook.parts import bar, faint, folded, result, table
from pyprof.report.page.markup import Markup, Part, tag
from pyprof.report.style import plural

if TYPE_CHECKING:
    from pyprof.layers.profile import Profile

MOST_LINES = 200
_INDENT = 1.2


def html(profile: Profile) -> str:
    """A profile; more than 200 lines of layers are left to print(profile)."""
    title = profile.layers[0].type if profile.layers else "no layers"
    head = [tag("b", title), f": one step takes {_step(profile)}"]
    kinds = table(
        ("kind", "", "share", "time"),
        (
            (line.kind, bar(line.kind, line.share), f"{100 * line.share:.1f} %", format_seconds(line.seconds))
            for line in kind_lines(profile)
            if line.seconds
        ),
        text=2,
    )
    notes = [
        *profile.notes,
        *(f"{attached}: {plural(len(paths), 'layer')}" for attached, paths in unprobed(profile).items()),
    ]
    said = [faint(each) for each in (*_overhead(profile), *notes, *profile.omissions())]
    return result(head, kinds, _layers(profile), *said)


def _step(profile: Profile) -> str:
    if profile.plain is None:
        where = "in the trace" if profile.is_from_trace else "with the probes on"
        return f"{format_seconds(profile.step_seconds)} {where}"
    step = profile.plain.step
    bounds = (
        "" if step.interval is None else f" [{format_seconds(step.interval[0])} – {format_seconds(step.interval[1])}]"
    )
    return f"{format_seconds(step.value)}{bounds} without probes"


def _overhead(profile: Profile) -> list[str]:
    if profile.plain is None:
        return []
    return [f"profiling overhead: a step is {profile.plain}; the layers' times are those of the probed steps"]


def _layers(profile: Profile) -> Markup:
    lines = layer_lines(profile)
    on_device = device_lines(profile, lines)
    shares = [(line.share, line.own_share) for line in on_device or lines]
    backward = any(line.backward_seconds is not None for line in lines)
    heads = ["layer", "kind", "", "share", "calls", "parameters", "forward", *(["backward"] if backward else [])]
    if on_device:
        heads += ["device forward", "device backward"]
    rows = []
    for number, (line, (share, own)) in enumerate(zip(lines[:MOST_LINES], shares, strict=False)):
        row: list[Part] = [_name(line), line.kind, bar(line.kind, share, own), _percent(share, line)]
        row += [_count(line.calls), _count(line.parameters), _time(line.forward_seconds)]
        row += [_time(line.backward_seconds)] if backward else []
        row += (
            [_time(on_device[number].forward_seconds), _time(on_device[number].backward_seconds)] if on_device else []
        )
        rows.append(row)
    more = f"; {len(lines) - MOST_LINES:,} more lines are in print(profile)" if len(lines) > MOST_LINES else ""
    said = "times of the host, with all that a layer calls; of repeated layers the mean, with the share of all together"
    return folded(f"{plural(len(profile.layers), 'layer')}", table(heads, rows, text=3), faint(f"{said}{more}"))


def _name(line: LayerLine) -> Markup:
    name = line.name or line.type
    repeated = f" ⋯ {line.last} ({line.beside} ×, mean)" if line.last is not None else ""
    return tag("span", name, repeated, style=f"padding-left:{_INDENT * line.depth:.1f}em")


def _percent(share: float, line: LayerLine) -> str:
    return "" if line.reason is not None and not share else f"{100 * share:.1f} %"


def _count(number: float) -> str:
    """Means over steps: half a call is not none."""
    return "" if not number else f"{number:.3g}" if number != int(number) else format_count(int(number))


def _time(seconds: float | None) -> str:
    return format_seconds(seconds) if seconds else ""
