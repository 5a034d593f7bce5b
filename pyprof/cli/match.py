"""`pyprof match`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pyprof.cli import pages
from pyprof.cli.options import add_command, add_json, add_seconds, named, names, print_json, whole
from pyprof.cli.output import models_print_to_standard_error
from pyprof.errors import UsageError
from pyprof.names import nearest

if TYPE_CHECKING:
    from pyprof.cli.options import Commands
    from pyprof.timing.compare import PairedComparison
    from pyprof.worker.step import Step

_DESCRIPTION = """Match a model's size to another one by parameters, by FLOPs and by latency, and compare all else.

What is equal by one cost is not by the others: three columns side by side show what a "fair" comparison hides. Both are
models of the registry, inference on the host.

examples:
  pyprof match bert --to longformer --length 1024
  pyprof match vit --to vit-w3072 --free depth,ffn --by parameters,flops
"""
_COUNTED = ("parameters", "flops")
_BY = (*_COUNTED, "latency")
_DIMENSIONS = ("depth", "width", "heads", "ffn")
_TOKENS = 512
# A ratio of latencies is timed until half of its interval is so narrow, and the one that is told for so many times the
# seconds of the others.
_PRECISION = 0.003
_CAREFULLY = 3


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "match", _run, _DESCRIPTION)
    parser.add_argument("model", metavar="MODEL", type=named, help="the model whose sizes are free")
    parser.add_argument("--to", required=True, type=named, metavar="MODEL", help="the model to be matched")
    parser.add_argument(
        "--free",
        type=names,
        default=("depth", "ffn"),
        metavar="A,B",
        help="free dimensions, the coarsest first: depth, width, heads, ffn (default: depth,ffn)",
    )
    parser.add_argument("--by", type=names, default=_BY, metavar="A,B", help=f"default: {','.join(_BY)}")
    parser.add_argument("--length", type=whole(1), metavar="N", help=f"default: {_TOKENS} tokens or 224 pixels")
    parser.add_argument("--size", choices=("base", "tiny"), default="base", help="default: base")
    add_seconds(parser, default=5.0, help="time each candidate for at most S seconds (default: 5)")
    pages.add_html(parser, "what each match costs")
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    for asked, known in ((options.free, _DIMENSIONS), (options.by, _BY)):
        for name in asked:
            if name not in known:
                raise UsageError(f"there is no {name!r} to match with: {nearest(name, known)}")
    pages.can_be_made(options)
    with models_print_to_standard_error():
        matching = _Matching(options)
        columns = matching.columns()
    if options.html is not None:
        from pyprof.report.page.matching import matching_page

        page = partial(matching_page, options.model, options.to, matching.setting, columns)
        pages.write(options.html, page)
    if options.json:
        print_json({"model": options.model, "to": options.to, "columns": columns})
        return 0
    from pyprof.report.console import Console
    from pyprof.report.matching import latency_verdict, table

    console, verdict = Console(), latency_verdict(options.to, columns)
    console.print(table(options.model, options.to, columns))
    if verdict is not None:
        console.print(verdict)
    return 0


class _Matching:
    """The target's step, and what candidates cost beside it."""

    def __init__(self, options: argparse.Namespace) -> None:
        from pyprof.models import registry
        from pyprof.models.resized import dimensions
        from pyprof.models.setup import default_length

        self._options = options
        for model in (options.model, options.to):
            if registry.find(model) is None:
                raise UsageError(
                    f"{model} is no model of the registry, and only these can be resized: see pyprof models"
                )
        if registry.entry(options.model).unit != registry.entry(options.to).unit:
            raise UsageError(
                f"{options.model} and {options.to} count their lengths in different units: choose one kind"
            )
        self._length = options.length or default_length(options.to, _TOKENS)
        unit = registry.entry(options.to).unit
        self.setting = f"{options.size} size, {self._length:,} {unit}s, batch 1, infer, float32, on the host"
        self._start = dimensions(options.model, options.size)
        self._target = self._step(options.to, {})

    def columns(self) -> list[dict[str, Any]]:
        """The target, and a match by each cost; bounds of a latency are None where it was timed too seldom."""
        columns = [{"by": None, "dimensions": None, **self._counts(self._target), "latency_ratio": 1.0}]
        columns += [self._match(by, 1.0 if by == "latency" else columns[0][by]) for by in self._options.by]
        return columns

    def _match(self, by: str, target: float | None) -> dict[str, Any]:
        from pyprof.analysis.matching import Dimension, match, match_measured

        options = self._options
        if target is None:
            raise UsageError(f"the {by} of {options.to} cannot be counted: leave {by} out of --by")

        def at(given: Mapping[str, int]) -> Step:
            return self._step(options.model, given)

        free = [Dimension(name, self._start[name], self._step_of(name)) for name in options.free]
        if by == "latency":
            found = match_measured(
                lambda given: self._timed(at(given)).ratio.value,
                lambda given: self._timed(at(given), _CAREFULLY).ratio,
                free,
                target,
            )
            ratio, interval, within = found.figure, found.interval, found.shown()
        else:
            found = match(lambda given: self._counted(at(given), by) or 0.0, free, target)
            timed = self._timed(at(found.dimensions)).ratio
            ratio, interval, within = timed.value, timed.interval, True
        return {
            "by": by,
            "dimensions": {**self._start, **found.dimensions},
            "off": found.off,
            "within_tolerance": within,
            "tried": found.tried,
            **self._counts(at(found.dimensions)),
            "latency_ratio": ratio,
            "latency_interval": interval,
        }

    def _step_of(self, name: str) -> int:
        """Widths stay multiples of a head's width; a feedforward part of thousands moves by a few."""
        start = self._start
        return {"width": start["width"] // start["heads"], "ffn": max(1, start["ffn"] // 384)}.get(name, 1)

    def _step(self, model: str, given: Mapping[str, int]) -> Step:
        from pyprof.models import registry
        from pyprof.models.resized import load_resized
        from pyprof.records.case import Case
        from pyprof.worker.step import Step

        size, attention = self._options.size, registry.resolve(model, "best")
        loaded = load_resized(model, size, attention, self._length, given)
        return Step(loaded, Case(model, self._length, "infer", attention, size), "none", 1)

    def _counted(self, step: Step, by: str) -> float | None:
        from pyprof.indicators import flops, parameters

        counted: float | None = (flops if by == "flops" else parameters).count(step).value
        return counted

    def _timed(self, step: Step, times: int = 1) -> PairedComparison:
        """A candidate beside the target, both timed in turn for some times the seconds that were asked for."""
        from pyprof.timing.compare import compare

        seconds = times * self._options.seconds
        return compare(self._target.timed, step.timed, precision=_PRECISION, max_seconds=seconds)

    def _counts(self, step: Step) -> dict[str, Any]:
        from pyprof.indicators import activations, memory_access

        return {
            **{by: self._counted(step, by) for by in _COUNTED},
            "memory_access": memory_access.count(step).value,
            "activations": activations.count(step).value,
            "peak_memory": step.peak_memory().value,
        }
