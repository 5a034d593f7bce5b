"""`pyprof compare`, of two runs or of two models: the operands say which."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pyprof.cli import compare_models, compare_runs, pages
from pyprof.cli.options import add_command, add_json, named, share
from pyprof.errors import UsageError

if TYPE_CHECKING:
    from pyprof.cli.options import Commands

_DESCRIPTION = """Say what became slower or faster: between two runs, or between two models now.

A and B are two run directories of `pyprof study`, A being the baseline: all cases that both have are compared, with
intervals, and with the false alarms of all of them together under control. Runs of different machines are refused, or
with --across-machines compared in their ratios and tipping points only.

Or A and B are two models, as `pyprof profile` takes them, each with an attention implementation behind a slash if you
like (bert/eager, hubert/sdpa, package.module:function): their steps are timed in turn, in random order, until the ratio
is known well enough.
"""
_EPILOG = """\
examples:
  pyprof compare runs/main runs/change                  changes beyond the noise
  pyprof compare runs/main runs/change --fail-over 3%   1 if slower, 4 disturbed
  pyprof compare runs/main runs/change --markdown       for a pull request
  pyprof compare bert/eager bert/sdpa --length 512      two models, now
"""


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "compare", _run, _DESCRIPTION)
    parser.epilog = _EPILOG
    parser.add_argument("baseline", metavar="A", type=named, help="the baseline: a run directory or a model")
    parser.add_argument("head", metavar="B", type=named, help="what is compared with it, of the same kind")
    parser.add_argument(
        "--fail-over",
        type=share,
        metavar="SHARE",
        help="exit with code 1 where B is shown to cost more than A by over this, such as 3%%, or lacks a case of A, "
        "and with code 4 where other work disturbed the measurements too much to tell",
    )
    compare_runs.add_options(parser.add_argument_group("two runs"))
    compare_models.add_options(parser.add_argument_group("two models"))
    pages.add_html(parser, "what changed, or the two models round by round")
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    pages.can_be_made(options)
    runs = [_is_run(operand) for operand in (options.baseline, options.head)]
    if all(runs):
        _refuse(options, compare_models.OPTIONS, "two models")
        return compare_runs.run(options, options.fail_over)
    if any(runs):
        run, model = (options.baseline, options.head) if runs[0] else (options.head, options.baseline)
        raise UsageError(f"{run} is a run and {model} is none: compare two runs, or two models")
    _refuse(options, compare_runs.OPTIONS, "two runs")
    return compare_models.run(options, options.fail_over)


def _is_run(operand: str) -> bool:
    """Whether an operand is a run directory; raises UsageError for a directory that is neither that nor a model."""
    directory = Path(operand)
    if (directory / "study.toml").is_file():
        return True
    if directory.is_dir() and not (directory / "config.json").is_file():
        raise UsageError(
            f"{operand} is neither a run (it has no study.toml) nor a checkpoint (it has no config.json): "
            "give the directory of a study, as in -o, or a model"
        )
    return False


def _refuse(options: argparse.Namespace, names: tuple[str, ...], where: str) -> None:
    """Raise UsageError where an option was given that means nothing here."""
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(options, name) not in (None, False, (), [])]
    if given:
        raise UsageError(f"{', '.join(given)} can be given for {where} only: leave it out")
