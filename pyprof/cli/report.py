"""`pyprof report`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pyprof.cli.collector import collector_off
from pyprof.cli.costs import add_costs, given_costs
from pyprof.cli.options import add_command, add_json, directory, named, output_file, print_json
from pyprof.cli.output import say
from pyprof.errors import UsageError
from pyprof.plain import shown

if TYPE_CHECKING:
    from pyprof.cli.options import Commands
    from pyprof.records.run_directory import Run

FORMATS: tuple[Literal["png", "svg", "pdf"], ...] = ("png", "svg", "pdf")
_DESCRIPTION = """Print the report of a run: where time goes, and from which length each variant costs less.

DIR is the directory that `pyprof study -o DIR` has written, of a run that is still going on too. With several, each is
held against the first: host against GPU, before against after.

--html writes a page to open in a browser, without network: the same, with charts, all records and the layers of single
cases. --figures writes its charts for a paper.
"""


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "report", _run, _DESCRIPTION)
    parser.add_argument("directories", metavar="DIR", type=directory, nargs="+", help="the directory of a run")
    parser.add_argument(
        "--html",
        metavar="FILE",
        type=output_file("a page", ".html"),
        nargs="?",
        const=Path(),
        help="write a page instead (default: report.html in DIR, or here if there are several)",
    )
    parser.add_argument("--figures", metavar="OUT", type=_pictures, help="write the charts into this directory instead")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=None,
        help="of the figures: png (default), svg or pdf, as a paper wants them",
    )
    add_costs(parser)
    parser.add_argument(
        "--quality", type=named, metavar="FILE", help="a CSV file of how good the models are: model,accuracy"
    )
    add_json(parser)


def _pictures(text: str) -> Path:
    """An argument that is a directory to write pictures into, which holds nothing else."""
    path = directory(text)
    try:
        names = [each.name for each in path.iterdir()] if path.exists() else []
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{shown(text)} cannot be written: {error.strerror}") from None
    others = sorted(name for name in names if name[0] != "." and Path(name).suffix[1:] not in FORMATS)
    if others:
        raise argparse.ArgumentTypeError(f"{shown(text)} holds {shown(others[0])}, no picture: name another directory")
    return path


def _run(options: argparse.Namespace) -> int:
    from pyprof.records.run_directory import PAGE, read

    if options.format is not None and options.figures is None:
        raise UsageError("--format is of figures: say where they go by --figures OUT")
    with collector_off():
        runs = [read(each) for each in options.directories]
        if given := given_costs(options):
            from pyprof.indicators.restate import restated

            runs = [restated(run, run.study.costs.with_given(given)) for run in runs]
        if options.quality is not None:
            from pyprof.records.supplied import read_supplied, with_supplied

            supplied = read_supplied(Path(options.quality))
            runs = [with_supplied(run, supplied) for run in runs]
        if options.html is not None:
            path = options.html
            if path == Path():
                path = (options.directories[0] if len(runs) == 1 else Path()) / PAGE
            write_page(runs, path)
            _told(f"{path}", options.json)
        if options.figures is not None:
            from pyprof.report.charts.figures import write_figures

            format = next((each for each in FORMATS if each == options.format), FORMATS[0])
            for path in write_figures(runs, options.figures, format):
                _told(f"{path}", options.json)
        if options.json or (options.html is None and options.figures is None):
            show(runs, as_json=options.json)
    return 0


def _told(path: str, as_json: bool) -> None:
    """Say what was written: on standard output unless a document has that for itself."""
    if as_json:
        say(f"wrote {path}")
    else:
        from pyprof.plain import printable

        print(printable(path))


def write_page(runs: Sequence[Run], path: Path) -> None:
    """Write the page of runs; raises UsageError where vl-convert is missing, OSError where it cannot be written."""
    from pyprof.records.run_directory import PAGE
    from pyprof.records.whole_file import write_whole
    from pyprof.report.page.report import report_page

    if path.is_dir():
        raise UsageError(f"{path} is a directory: name the file of the page, such as {path / PAGE}")
    write_whole(path, report_page(runs))


def show(runs: Sequence[Run], *, as_json: bool) -> None:
    """Print the report of runs on standard output."""
    from pyprof.report import as_json as json_report
    from pyprof.report import terminal
    from pyprof.report.console import Console

    if len(runs) == 1:
        from pyprof.report.run import view_of

        view = view_of(runs[0])
        if as_json:
            print_json(json_report.document(view))
        else:
            terminal.write(view, Console())
        return
    from pyprof.report import differences_table
    from pyprof.report.several import several

    told = several(runs)
    if as_json:
        print_json(json_report.several_document(told))
    else:
        differences_table.write(told, Console())
