"""The page of one profile: what the kinds of layers take, the layers as a tree, and one step over time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pyprof.analysis.layer_tree import kind_lines, unprobed
from pyprof.analysis.ranks import RankedCase
from pyprof.analysis.shares import OUTSIDE
from pyprof.quantity import format_bytes, format_seconds, plural
from pyprof.report.charts.chart import Columns, Key
from pyprof.report.charts.theme import kind_colours
from pyprof.report.charts.timeline import timeline_chart
from pyprof.report.charts.tree import READING, tree_chart
from pyprof.report.device_time import device_sentence
from pyprof.report.page.document import legend, simple_page
from pyprof.report.page.judged import doubt
from pyprof.report.page.markup import Part, grid, tag
from pyprof.report.page.ranks import ranks_parts
from pyprof.report.page.trees import WIDTHS
from pyprof.report.style import KIND_STYLES

if TYPE_CHECKING:
    from pyprof.layers.profile import LayerCost, Profile
    from pyprof.traces.timeline import Timeline

_READING = READING.format(both=", forward and backward")
_ROOT = "all"


def profile_page(
    profile: Profile, title: str, dtype: str, timeline: Timeline | None, ranks: RankedCase | None = None
) -> str:
    """A page of a profile whose parameters are of `dtype`, of one of several `ranks` where it has them.

    Raises UsageError where vl-convert is not installed.
    """
    names = _kinds(profile)
    kinds = dict(zip(names, kind_colours(names), strict=True))
    width = WIDTHS.get(dtype, 4)
    charts = [tree_chart("layers", _times(profile), _layers(profile, width), kinds, caption=_READING)]
    if profile.device_time is not None:
        own = [
            sum(work.seconds for work in (each.own_forward, each.own_backward, each.recompute) if work is not None)
            for each in profile.device_time.layers
        ]
        title_of_device = "Time of the device in each layer"
        charts.append(tree_chart("device", title_of_device, _layers(profile, width, own), kinds, caption=_READING))
    if timeline is not None:
        charts.append(timeline_chart(timeline, kinds))
    keys = legend(Key(kind, colour) for kind, colour in kinds.items())
    told = [] if ranks is None else list(ranks_parts([ranks]))
    return simple_page(f"pyprof: {title}", [*_said(profile, timeline), *told, keys], charts)


def _times(profile: Profile) -> str:
    return "Time of the host in each layer" if profile.device_time else "Time in each layer"


def _said(profile: Profile, timeline: Timeline | None) -> Iterable[Part]:
    plain = profile.plain
    if plain is None:
        yield tag("p", f"One step takes {format_seconds(profile.step_seconds)} with the probes on.")
    else:
        low, high = plain.step.low, plain.step.high
        known = low is not None and high is not None
        bounds = f" [95 % interval {format_seconds(low or 0)} to {format_seconds(high or 0)}]" if known else ""
        yield tag("p", tag("strong", f"One step takes {format_seconds(plain.step.value)}"), f"{bounds} without probes.")
    if profile.device_time is not None:
        yield tag("p", f"Of it {device_sentence(profile.device_time).plain}.")
    yield doubt(None if plain is None else plain.trust)
    lines = [line for line in kind_lines(profile) if line.seconds]
    yield grid(
        ["kind", "share", "time", "parameters"],
        (
            [line.kind, f"{100 * line.share:.1f} %", format_seconds(line.seconds), _parameters(profile, line.kind)]
            for line in lines
        ),
        caption="What the kinds of layers take of a step, by their own times",
    )
    if plain is not None:
        yield tag(
            "p",
            f"Profiling overhead: a step is {plain}; the layers' times are those of the probed steps, "
            f"{format_seconds(profile.step_seconds)} each, with nothing subtracted.",
            class_="faint",
        )
    notes = [*profile.notes, *profile.omissions(), *(timeline.notes if timeline else ())]
    notes += [f"{attached}: {plural(len(paths), 'layer')}" for attached, paths in unprobed(profile).items()]
    yield [tag("p", note, class_="faint") for note in dict.fromkeys(notes)]


def _parameters(profile: Profile, kind: str) -> Part:
    _, _, parameters = profile.kinds().get(kind, (0.0, None, 0))
    return parameters or "–"


def _kinds(profile: Profile) -> list[str]:
    """The kinds that are there, in the order of reports; those of the user's come behind, and what is outside last."""
    present = dict.fromkeys(layer.kind for layer in profile.layers)
    known = [kind for kind in KIND_STYLES if kind in present and kind != OUTSIDE]
    return [*known, *(kind for kind in present if kind not in KIND_STYLES), OUTSIDE]


def _layers(profile: Profile, width: int, own: list[float] | None = None) -> Columns:
    """The columns of the tree, in microseconds; `own` are times to draw in place of the host's."""
    layers = profile.layers
    mine = [_own(layer) for layer in layers] if own is None else own
    totals = list(mine)
    for layer in reversed(layers):
        if layer.parent is not None:
            totals[layer.parent] += totals[layer.index]
    roots = [layer for layer in layers if layer.parent is None]
    # A tree has one root.
    above = [] if len(roots) == 1 else [-1]
    step = profile.step_seconds if own is None else sum(mine)
    return {
        "id": [*above, *(layer.index for layer in layers)],
        "parent": [*(None for _ in above), *(_parent(layer, bool(above)) for layer in layers)],
        "name": [*(_ROOT for _ in above), *(layer.path.rsplit(".", 1)[-1] or layer.type for layer in layers)],
        "path": [*(_ROOT for _ in above), *(layer.path for layer in layers)],
        "type": [*("" for _ in above), *(layer.type for layer in layers)],
        "kind": [*(OUTSIDE for _ in above), *(layer.kind for layer in layers)],
        "calls": [*(1 for _ in above), *(layer.calls for layer in layers)],
        "parameters": [*(0 for _ in above), *(layer.parameters for layer in layers)],
        "own": [*(0.0 for _ in above), *(1e6 * seconds for seconds in mine)],
        "total": [*(1e6 * sum(mine) for _ in above), *(1e6 * seconds for seconds in totals)],
        "share": [*(1.0 for _ in above), *(seconds / (step or 1.0) for seconds in totals)],
        "memory": [*("" for _ in above), *(format_bytes(layer.parameters * width) for layer in layers)],
    }


def _parent(layer: LayerCost, has_above: bool) -> int | None:
    return -1 if layer.parent is None and has_above else layer.parent


def _own(layer: LayerCost) -> float:
    own = (layer.own_forward_seconds, layer.own_backward_seconds, layer.recompute_seconds)
    return sum(seconds for seconds in own if seconds is not None)
