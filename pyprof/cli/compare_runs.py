"""Two runs compared: what `pyprof compare` does with two run directories."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pyprof.cli import pages
from pyprof.cli.options import names, print_json
from pyprof.errors import DisturbedError, GateError, UsageError
from pyprof.plain import printable

if TYPE_CHECKING:
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
    group.add_argument("--metrics", type=names, default=(), metavar="A,B", help="only these metrics")
    group.add_argument(
        "--allow-missing",
        action="append",
        default=[],
        metavar="CASE",
        help="let B lack or fail at this case, named as in the report ('bert eager infer 64') or by a pattern "
        "('longformer*'); can be given several times",
    )
    group.add_argument("--markdown", action="store_true", help="print Markdown for a pull request instead")


def run(options: argparse.Namespace, fail_over: float | None) -> int:
    """Compare the runs and show the outcome.

    Raises GateError where the gate `fail_over` (a share) is failed, and DisturbedError where it is neither passed nor
    failed.
    """
    from pyprof.records.run_directory import read
    from pyprof.report.gate.view import gate_view, headline

    view = gate_view(read(Path(options.baseline)), read(Path(options.head)), _wish(options, fail_over))
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

    if options.markdown and options.json:
        raise UsageError("--markdown and --json are two forms of the same: choose one")
    return Wish(
        fail_over=fail_over,
        across="machines" if options.across_machines else "software" if options.across_software else None,
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
