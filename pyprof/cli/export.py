"""`pyprof export`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pyprof.cli.options import add_command, add_json, directory, output_file
from pyprof.cli.output import say
from pyprof.errors import UsageError
from pyprof.quantity import plural

if TYPE_CHECKING:
    from pyprof.cli.options import Commands

_DESCRIPTION = """Write a run as a table: CSV, JSON or Parquet, for pandas, a spreadsheet or a data base.

DIR is the directory that `pyprof study -o DIR` has written. FILE ends in .csv, .json or .parquet, and - is standard
output. A figure that was not measured is missing, never 0, with the reason in a column
beside it. Parquet needs pyarrow.
"""
_EPILOG = """\
tables:
  records  a row for each case: what was asked for, status, every indicator with
           its interval (the default)
  kinds    a row for each kind of layer of each case: its own times
  layers   a row for each layer of each case

examples:
  pyprof export runs/quick quick.csv
  pyprof export runs/quick layers.parquet --table layers
  pyprof export runs/quick | head
"""
_STANDARD_OUTPUT = Path("-")
_ENDINGS = (".csv", ".json", ".parquet")


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "export", _run, _DESCRIPTION)
    parser.epilog = _EPILOG
    parser.add_argument("directory", metavar="DIR", type=directory, help="the directory of a run")
    parser.add_argument(
        "file", metavar="FILE", nargs="?", type=_file, default=_STANDARD_OUTPUT, help="default: -, standard output"
    )
    parser.add_argument("--table", choices=("records", "kinds", "layers"), default="records", help="default: records")
    parser.add_argument(
        "--format", choices=("csv", "json", "parquet"), help="the format of standard output (default: csv)"
    )
    add_json(parser)


def _file(text: str) -> Path:
    return _STANDARD_OUTPUT if text == "-" else output_file("a table", *_ENDINGS)(text)


def _run(options: argparse.Namespace) -> int:
    from pyprof.records.run_directory import read
    from pyprof.records.whole_file import write_whole
    from pyprof.report.export import FORMATS

    format = _format(options)
    run = read(options.directory)
    for warning in run.warnings:
        say(warning)
    frame = run.to_frame(options.table)
    written = FORMATS[format](frame)
    if options.file != _STANDARD_OUTPUT:
        write_whole(options.file, written)
        rows, columns = len(frame.columns[0].values), len(frame.columns)
        say(f"{plural(rows, 'row')} of {plural(columns, 'column')} are in {options.file}")
    elif format == "parquet":
        sys.stdout.buffer.write(written)
    else:
        sys.stdout.write(written.decode())
    return 0


def _format(options: argparse.Namespace) -> str:
    """What is asked for; raises UsageError where two options ask for different formats, or for bytes in a terminal."""
    ending = None if options.file == _STANDARD_OUTPUT else options.file.suffix.removeprefix(".")
    asked = sorted({each for each in (ending, options.format, "json" if options.json else None) if each})
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} are two formats of the same: choose one")
    format = asked[0] if asked else "csv"
    if format == "parquet" and options.file == _STANDARD_OUTPUT and sys.stdout.isatty():
        raise UsageError("Parquet is no text for a terminal: name a FILE that ends in .parquet, or redirect the output")
    return format
