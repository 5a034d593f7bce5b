"""--html of the commands that measure: what they found as a page, beside what they print."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from pyprof.cli.options import Parser, output_file
from pyprof.cli.output import say
from pyprof.records.whole_file import write_whole


def add_html(parser: Parser, what: str) -> None:
    """--html: the file of a page that shows `what`."""
    parser.add_argument(
        "--html",
        type=output_file("a page", ".html"),
        metavar="FILE",
        help=f"write a page with {what} too, to open in a browser, without network",
    )


def can_be_made(options: argparse.Namespace) -> None:
    """Raise UsageError where a page is wanted and what draws it is not installed: before anything is measured."""
    if options.html is not None:
        from pyprof.report.charts.render import javascript

        javascript()


def write(path: Path | None, page: Callable[[], str]) -> None:
    """Write a page in whole or not at all, where one is wanted."""
    if path is None:
        return
    write_whole(path, page())
    say(f"a page is in {path}")
