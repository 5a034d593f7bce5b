"""The layers of single cases on a page: columns for its script, a model's names once for all its cases."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pyprof.analysis.curves import Curves
from pyprof.analysis.marked import marked_cases
from pyprof.plain import printable
from pyprof.quantity import format_bytes
from pyprof.records.case import Case
from pyprof.records.executor import Columns
from pyprof.records.record import Record
from pyprof.records.run_directory import Run, layers_of
from pyprof.report.charts.chart import Chart
from pyprof.report.charts.names import chart_name
from pyprof.report.charts.shares import kinds_of
from pyprof.report.charts.tree import READING, tree_chart, tree_spec
from pyprof.report.page.markup import Markup, tag
from pyprof.report.page.records import case_id
from pyprof.report.short_names import AS_GIVEN, ShortNames
from pyprof.report.style import short_case
from pyprof.report.view import View

# What the trees of a page may take, in characters.
ROOM = 2_500_000
# So many cases are read at a time.
_TOGETHER = 300
# Bytes of a parameter.
WIDTHS = {"float32": 4, "autocast-bfloat16": 4, "bfloat16": 2, "float16": 2}
_TIMES = (
    "forward_seconds",
    "backward_seconds",
    "own_forward_seconds",
    "own_backward_seconds",
    "recompute_seconds",
    "own_device_seconds",
)


def trees_data(runs: Sequence[tuple[str, Run, View]], names: ShortNames = AS_GIVEN, room: int = ROOM) -> dict[str, Any]:
    """The trees that there is room for, those at marked lengths first, and the numbers of all and of those left out.

    `names` are those of models that a reader sees, in place of the ones that were given.
    """
    structures: dict[str, int] = {}
    cases: list[dict[str, Any]] = []
    used, every = 0, 0
    for number, (name, run, view) in enumerate(runs):
        wanted = marked_keys(run, view)
        every += len(wanted)
        left = room * (number + 1) // len(runs) - used
        for key, columns in _in_order(run, wanted):
            structure, case = _packed(run.records[key], columns, names)
            case |= {"key": case_id(number, key), "run": name if len(runs) > 1 else ""}
            needed = len(json.dumps(case)) + (0 if structure in structures else len(structure))
            if needed > left:
                break
            left, used = left - needed, used + needed
            case["layers"] = structures.setdefault(structure, len(structures))
            cases.append(case)
    cases.sort(key=lambda case: (case["run"], case["order"]))
    spec = tree_spec(kinds_of(part for _, _, view in runs for part in view.modalities)) if cases else None
    return {
        "structures": [json.loads(structure) for structure in structures],
        "cases": cases,
        "all": every,
        "spec": spec,
    }


def _in_order(run: Run, wanted: Sequence[str]) -> Iterator[tuple[str, Columns]]:
    """The layers of the wanted cases, read by and by: a large run has more than a page has room for."""
    for begin in range(0, len(wanted), _TOGETHER):
        some = wanted[begin : begin + _TOGETHER]
        read = dict(layers_of(run.directory, frozenset(some)))
        yield from ((key, read[key]) for key in some if key in read)


def marked_keys(run: Run, view: View) -> list[str]:
    """The cases with layers, those to be kept first where there is no room for all."""
    lengths = {part.name: [*_marks(part)] for part in view.modalities}
    models = {name: fact.modality for name, fact in run.resolved.models.items()}
    return marked_cases(Curves.of(run.records.values()), lengths, models)


def _marks(part: Any) -> Iterable[float]:
    if part.axis is not None:
        yield from (each.length for each in part.axis.data_sets)
    for line in part.tipping:
        if line.indicator.headline and line.tipping.crossing is not None:
            yield line.tipping.crossing.length


def _packed(record: Record, columns: Columns, names: ShortNames) -> tuple[str, dict[str, Any]]:
    """What is of the model, as text, and what is of the case: times in whole nanoseconds, four digits of them."""
    count = len(columns.get("path", ()))
    fixed = {
        name: [printable(each) if isinstance(each, str) else each for each in columns.get(name, [None] * count)]
        for name in ("parent", "path", "type", "kind", "parameters")
    }
    # A picture of a tree has one root, whatever a damaged or an older run says.
    fixed["parent"] = [None if number == 0 else parent or 0 for number, parent in enumerate(fixed["parent"])]
    times = {
        name: [None if value is None else _nanoseconds(value) for value in columns[name]]
        for name in _TIMES
        if any(value is not None for value in columns.get(name, ()))
    }
    memory = record.indicators.get("peak_memory")
    case = {
        "label": names(short_case(record.case)),
        "setting": f"{record.case.device} {record.case.dtype}"
        + ("" if record.case.allocator == "default" else f" allocator {record.case.allocator}"),
        "order": f"{names(record.case.model)} {record.case.how} {record.case.mode} {record.case.length:012}",
        "step": _nanoseconds(record.step_seconds or 0.0),
        "outside": _nanoseconds(record.outside_seconds or 0.0),
        "width": WIDTHS.get(record.case.dtype, 4),
        "memory": None if memory is None or memory.value is None else format_bytes(memory.value),
        "calls": list(columns.get("calls", [1] * count)),
        **times,
    }
    return json.dumps(fixed, separators=(",", ":")), case


def _nanoseconds(seconds: float) -> int:
    return int(float(f"{seconds * 1e9:.4g}"))


def trees_part(data: Mapping[str, Any]) -> list[Markup]:
    """The place of the tree, with the choice of its case."""
    shown, every = len(data["cases"]), data["all"]
    if not shown:
        return [tag("p", "No case has layers: they are timed where latency is measured of a model with probes.")]
    said = (
        f"{shown:,} of the {every:,} cases with layers are here, those at marked lengths first (the ends and the "
        "middle of each curve, mean lengths of data sets, tipping points); the run directory holds all."
        if shown < every
        else f"All {every:,} cases with layers are here."
    )
    return [
        tag("p", said, " ", READING.format(both="")),
        tag("div", class_="tools", id="which-tree"),
        tag("p", id="tree-said", role="status", class_="faint"),
        tag("ul", class_="legend", id="tree-legend", aria_label="Legend"),
        tag("div", class_="plot", id="tree", role="group", aria_label="Layers of the chosen case"),
        tag("div", id="tree-table"),
    ]


def case_tree(record: Record, columns: Columns, kinds: Mapping[str, str], names: ShortNames = AS_GIVEN) -> Chart:
    """The icicle of one case, for paper."""
    structure, case = _packed(record, columns, names)
    fixed = json.loads(structure)
    nothing = [0] * len(fixed["path"])

    def summed(*names: str) -> list[float]:
        return [
            sum(filter(None, each)) / 1e3 for each in zip(*(case.get(name) or nothing for name in names), strict=True)
        ]

    total = summed("forward_seconds", "backward_seconds")
    layers = {
        "id": list(range(len(nothing))),
        "parent": fixed["parent"],
        "name": [path.rpartition(".")[2] or type for path, type in zip(fixed["path"], fixed["type"], strict=True)],
        "path": fixed["path"],
        "type": fixed["type"],
        "kind": fixed["kind"],
        "calls": case["calls"],
        "parameters": [count or 0 for count in fixed["parameters"]],
        "own": summed("own_forward_seconds", "own_backward_seconds", "recompute_seconds"),
        "total": total,
        "share": [1e3 * each / (case["step"] or 1) for each in total],
        "memory": [format_bytes((count or 0) * case["width"]) for count in fixed["parameters"]],
    }
    usual = Case(record.case.model, record.case.length)
    apart = (each for each in (record.case.dtype, record.case.allocator) if each not in (usual.dtype, usual.allocator))
    title = ", ".join((case["label"], *apart))
    return tree_chart(chart_name("layers", title), title, layers, kinds)


def middle_trees(run: Run, view: View) -> Iterator[Chart]:
    """The icicle of the case nearest to the middle of each model, implementation and mode."""
    wanted: dict[tuple[str, ...], str] = {}
    for key in marked_keys(run, view):
        case = run.records[key].case
        wanted.setdefault((case.model, case.how, case.mode, case.dtype, case.allocator), key)
    kinds = kinds_of(view.modalities)
    names = ShortNames.of_views([view])
    for key, columns in _in_order(run, list(wanted.values())):
        yield case_tree(run.records[key], columns, kinds, names)
