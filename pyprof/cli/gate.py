"""`pyprof gate`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pyprof.cli import compare_runs, pages
from pyprof.cli.options import add_command, add_json, add_pin, directory, named, share
from pyprof.plain import printable

if TYPE_CHECKING:
    from pyprof.cli.options import Commands

_DESCRIPTION = """Measure a study of two states of some code in turn, and say what became slower.

STUDY is a TOML file or a built-in study. --base and --head are folders with the code under test: each is where imports
are looked for first in a run of its own, DIR/base and DIR/head. The two take turns, round by round, so that both meet
the same machine, however its speed changes; `pyprof compare` of two runs that were measured one after the other has to
allow for that.
"""
_EPILOG = """\
example:
  git worktree add ../base main
  pyprof gate speed.toml --base ../base --head . --fail-over 3%
"""


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "gate", _run, _DESCRIPTION)
    parser.epilog = _EPILOG
    parser.add_argument("study", metavar="STUDY", type=named, help="a TOML file or a built-in study")
    parser.add_argument("--base", metavar="FOLDER", type=directory, required=True, help="the code before the change")
    parser.add_argument("--head", metavar="FOLDER", type=directory, required=True, help="the code with the change")
    parser.add_argument("-o", "--output", metavar="DIR", type=directory, help="where both runs go (default: runs/gate)")
    parser.add_argument("--resume", action="store_true", help="go on with the runs in that directory")
    parser.add_argument(
        "--fail-over",
        type=share,
        default=0.03,
        metavar="SHARE",
        help="exit with code 1 where the head is shown to cost more by over this, or lacks a case of the base, and "
        "with code 4 where other work disturbed the measurements too much to tell (default: 3%%)",
    )
    compare_runs.add_wishes(parser)
    pages.add_html(parser, "what changed")
    add_pin(parser)
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    from pyprof.machine import pin

    pages.can_be_made(options)
    compare_runs.check(options)
    # The runs inherit the affinity.
    pin.apply(options.pin, None)
    from pyprof.study.in_turn import Code, measure_in_turn

    runs = measure_in_turn(
        options.study,
        {"base": Code(options.base), "head": Code(options.head)},
        options.output or Path("runs", "gate"),
        resume=options.resume,
        progress=_say,
    )
    return compare_runs.compare(runs["base"], runs["head"], options, options.fail_over)


def _say(name: str, line: str) -> None:
    print(f"{name}: {printable(line)}", file=sys.stderr, flush=True)
