"""`pyprof advise`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pyprof.cli.options import add_command, add_json, directory, named, names, print_json, share, whole
from pyprof.errors import UsageError
from pyprof.names import nearest
from pyprof.plain import shown
from pyprof.quantity import parse_duration, parse_size
from pyprof.records.case import MODES

if TYPE_CHECKING:
    from pyprof.analysis.lengths import Lengths
    from pyprof.cli.options import Commands
    from pyprof.records.indicator import IndicatorFacts
    from pyprof.records.run_directory import Run

_DESCRIPTION = """Which model of a run to choose for inputs of given lengths: expected cost, and how sure that is.

DIR is the directory that `pyprof study -o DIR` has written. --lengths is a file with a length on each line (or a JSON
list), the mean and standard deviation of the lengths (256,120), or a data set whose mean length the run knows.

examples:
  pyprof advise runs/quick --lengths lengths.txt --buckets 128,512,2048
  pyprof advise runs/quick --lengths 300,150 --metric latency --budget '50 ms'
"""


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "advise", _run, _DESCRIPTION)
    parser.add_argument("directory", metavar="DIR", type=directory, help="the directory of a run")
    parser.add_argument(
        "--lengths", required=True, type=named, metavar="FILE|MEAN,STD|NAME", help="the lengths of your inputs"
    )
    parser.add_argument("--metric", default="latency", type=named, metavar="NAME", help="default: latency")
    parser.add_argument("--mode", choices=MODES, default="infer", help="default: infer")
    parser.add_argument(
        "--modality", type=named, metavar="NAME", help="text, speech or vision, where a run has several"
    )
    parser.add_argument(
        "--budget", type=named, metavar="X", help="what an example may cost, such as '50 ms' or '2 GiB', at --quantile"
    )
    parser.add_argument(
        "--quantile", type=share, default=0.95, metavar="P", help="of so many examples the budget has to hold: 95%%"
    )
    padding = parser.add_mutually_exclusive_group()
    padding.add_argument(
        "--buckets", type=_buckets, metavar="A,B", help="inputs are padded to the next of these lengths"
    )
    padding.add_argument("--multiple", type=whole(1), metavar="N", help="inputs are padded to a multiple of N")
    parser.add_argument(
        "--padded-batch",
        type=whole(1, 10_000),
        default=1,
        metavar="N",
        help="inputs are padded to the longest of N that are drawn together (default: 1)",
    )
    add_json(parser)


def _buckets(text: str) -> tuple[int, ...]:
    return tuple(map(whole(1), names(text)))


def _run(options: argparse.Namespace) -> int:
    from pyprof.analysis.advise import advise
    from pyprof.analysis.curves import Curves
    from pyprof.records.run_directory import read
    from pyprof.report import advise as report

    run = read(options.directory)
    known = {indicator.name: indicator for indicator in run.resolved.indicators}
    indicator = known.get(options.metric)
    if indicator is None:
        raise UsageError(f"the run has no metric {shown(options.metric)}: {nearest(options.metric, known)}")
    modality = _modality(run, options.modality)
    models = {name for name, facts in run.resolved.models.items() if facts.modality == modality}
    curves = Curves.of(run.records.values()).only(models)
    settings = dict.fromkeys(
        at
        for _, at in curves.ok
        if at.mode == options.mode and (not indicator.varies_with_length or at.batch == indicator.batch)
    )
    if not settings:
        raise UsageError(f"the run has measured nothing in mode {options.mode}: choose another mode")
    lengths = _lengths(run, options.lengths, modality)
    padded = _padding(options)
    padded(lengths)  # too long for the buckets is said before anything else
    periods = {
        subject: period
        for subject, _ in curves.ok
        if (period := run.resolved.models[subject.model].periods.get(subject.attention)) is not None
    }
    advice = [
        advise(
            curves,
            setting,
            indicator,
            lengths,
            padded=padded,
            periods=periods,
            budget=None if options.budget is None else _budget(options.budget, indicator),
            quantile=options.quantile,
        )
        for setting in settings
    ]
    unit = next(run.resolved.models[name].unit for name in models)
    if options.json:
        print_json(report.document(advice, unit))
    else:
        report.write(advice, unit)
    return 0


def _modality(run: Run, asked: str | None) -> str:
    measured = {record.case.model for record in run.records.values()}
    there = dict.fromkeys(facts.modality for name, facts in run.resolved.models.items() if name in measured)
    if not there:
        raise UsageError(f"{run.directory} has no records yet: measure something first")
    if asked is None and len(there) > 1:
        raise UsageError(
            f"the run has {', '.join(there)}, whose lengths count different things: choose one by --modality"
        )
    if asked is not None and asked not in there:
        raise UsageError(f"the run has no modality {shown(asked)}: {nearest(asked, there)}")
    return asked or next(iter(there))


def _lengths(run: Run, given: str, modality: str) -> Lengths:
    """The lengths that are asked for; raises UsageError."""
    from pyprof.analysis.lengths import Lengths

    published = run.resolved.published
    data_sets = {} if published is None else {each.name: each for each in published.data_sets.get(modality, ())}
    if given in data_sets:
        only = f"the mean length of {given} alone, whose spread is not known"
        return Lengths.counted([data_sets[given].length], only)
    path = Path(given)
    if path.is_file():
        return Lengths.counted(_read(path), given)
    parts = given.split(",")
    try:
        mean, deviation = map(float, parts)
    except ValueError:
        raise UsageError(
            f"--lengths is {shown(given)}, which is no file, no mean and deviation such as 256,120, and no data set: "
            f"{nearest(given, data_sets) if data_sets else 'the run knows none'}"
        ) from None
    return Lengths.lognormal(mean, deviation)


def _read(path: Path) -> list[int]:
    """Whole numbers, a line each or separated by blanks or commas, or a JSON list of them."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the file of lengths {path} cannot be read: check that it is text") from error
    try:
        values = (
            json.loads(text)
            if text.lstrip().startswith("[")
            else [int(word) for word in text.replace(",", " ").split()]
        )
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or not all(type(value) is int and 0 < value < 10**9 for value in values):
        raise UsageError(f"the file of lengths {path} has to hold whole numbers from 1, a line each or as a JSON list")
    return values


def _padding(options: argparse.Namespace) -> Callable[[Lengths], Lengths]:
    def padded(lengths: Lengths) -> Lengths:
        if options.padded_batch > 1:
            lengths = lengths.in_batches(options.padded_batch)
        if options.buckets is not None:
            return lengths.in_buckets(options.buckets)
        return lengths if options.multiple is None else lengths.in_multiples(options.multiple)

    return padded


def _budget(text: str, indicator: IndicatorFacts) -> float:
    """A budget in the indicator's unit; raises UsageError."""
    parse = {"time": parse_duration, "bytes": parse_size}.get(indicator.format, float)
    try:
        value = float(parse(text))
    except ValueError:
        raise UsageError(f"--budget is {shown(text)}, which is no number of {indicator.unit}") from None
    if not 0 < value < float("inf"):
        raise UsageError(f"--budget has to be above 0 and finite, not {shown(text)}")
    return value
