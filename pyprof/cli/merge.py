"""`pyprof merge`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from pyprof.cli.options import add_command, add_json, directory, print_json
from pyprof.cli.output import say
from pyprof.errors import UsageError
from pyprof.quantity import plural

if TYPE_CHECKING:
    from pyprof.cli.options import Commands

_DESCRIPTION = """Join runs of one study into a new run.

Each case is there once. Where several runs have it, that one is taken whose group, what was measured in the same
rounds, has more cases that are ok; of equal groups that of the run which is named first. Figures of unlike machines
are kept apart: each has its own tables, and no ratio is taken across them.
"""


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "merge", _run, _DESCRIPTION)
    parser.add_argument("directories", metavar="DIR", type=directory, nargs="+", help="the directory of a run")
    parser.add_argument("-o", "--output", metavar="DIR", type=directory, required=True, help="the new run")
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    from pyprof.cli.collector import collector_off
    from pyprof.records.merge import merge
    from pyprof.records.run_directory import read

    if len(options.directories) < 2:
        raise UsageError("pyprof merge joins several runs: name two at least")
    with collector_off():
        runs = [read(each) for each in options.directories]
        for run in runs:
            for warning in run.warnings:
                say(warning)
        merged = merge(runs, options.output)
    if merged.unlike:
        say(f"the runs are of unlike machines ({'; '.join(merged.unlike)}): their figures are kept apart")
    if options.json:
        print_json({**asdict(merged), "directory": str(merged.directory)})
        return 0
    from pyprof.report.console import Console

    console = Console()
    for name, count in merged.taken.items():
        console.print(f"{plural(count, 'case')} of {name}", soft_wrap=True)
    twice = f" ({plural(merged.duplicates, 'record')} of cases that another run has were left out)"
    total = plural(sum(merged.taken.values()), "case")
    console.print(f"{total} are in {merged.directory}{twice if merged.duplicates else ''}", soft_wrap=True)
    return 0
