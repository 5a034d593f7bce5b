"""Two runs compared: what `pyprof compare` does with two run directories."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pyprof.cli import pages
from pyprof.cli.options import Parser, names, print_json
from pyprof.errors import DisturbedError, GateError, UsageError
from pyprof.plain import printable

if TYPE_CHECKING:
    from pyprof.records.run_directory import Run
    from pyprof.report.gate.view import GateView, Wish

OPTIONS = ("across_machines", "across_software", "metrics", "markdown", "allow_missing")


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add what can be given for two runs only."""
    across = group.add_mutually_exclusive_group()
    across.add_argument(
        "--across-machines", action="store_true", help="compare only ratios to the vanilla model and tipping points"
    )
    across.add_argument(
        "--across-software", action="store_true", help="let versions of torch, transformers, Python differ"
    )
    add_wishes(group)


def add_wishes(parser: Parser) -> None:
    """Add what a comparison of runs can be asked for, however they came about."""
    parser.add_argument("--metrics", type=names, default=(), metavar="A,B", help="only these metrics")
    parser.add_argument(
        "--allow-missing",
        action="append",
        default=[],
        metavar="CASE",
        help="let B lack or fail at this case, named as in the report ('bert eager infer 64') or by a pattern "
        "('longformer*'); can be given several times",
    )
    parser.add_argument("--markdown", action="store_true", help="print Markdown for a pull request instead")


def run(options: argparse.Namespace, fail_over: float | None) -> int:
    """Compare the runs and show the outcome.

    Raises GateError where the gate `fail_over` (a share) is failed, and DisturbedError where it is neither passed nor
    failed.
    """
    from pyprof.records.run_directory import read

    check(options)
    return compare(read(Path(options.baseline)), read(Path(options.head)), options, fail_over)


def check(options: argparse.Namespace) -> None:
    """Raise UsageError for wishes that exclude each other."""
    if options.markdown and options.json:
        raise UsageError("--markdown and --json are two forms of the same: choose one")


def compare(baseline: Run, head: Run, options: argparse.Namespace, fail_over: float | None) -> int:
    """The same of runs that have been read."""
    from pyprof.report.gate.view import gate_view, headline

    view = gate_view(baseline, head, _wish(options, fail_over))
    if options.html is not None:
        from pyprof.report.page.comparison import runs_page

        pages.write(options.html, lambda: runs_page(view))
    _show(view, options)
    said = headline(view).partition(": ")[2].rstrip(".")
    if view.outcome == "failed":
        raise GateError(f"the gate is not passed: {said}")
    if view.outcome == "too disturbed":
        raise DisturbedError(f"the gate is neither passed nor failed: {said}; measure again, as the report says")
    return 0


def _wish(options: argparse.Namespace, fail_over: float | None) -> Wish:
    from pyprof.report.gate.view import Wish

    machines, software = (getattr(options, f"across_{what}", False) for what in ("machines", "software"))
    return Wish(
        fail_over=fail_over,
        across="machines" if machines else "software" if software else None,
        metrics=options.metrics,
        may_lack=tuple(options.allow_missing),
    )


def _show(view: GateView, options: argparse.Namespace) -> None:
    if options.json:
        from pyprof.report.gate.view import document

        print_json(document(view))
    elif options.markdown:
        from pyprof.report.gate.markdown import markdown

        print(printable(markdown(view), keep="\n"), end="")
    else:
        from pyprof.report.console import Console
        from pyprof.report.gate import terminal

        terminal.write(view, Console())
