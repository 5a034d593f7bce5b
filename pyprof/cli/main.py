"""The entry point: finds the subcommand, runs it, and turns errors into one sentence and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence

import pyprof
from pyprof.built import built_for
from pyprof.cli import (
    advise,
    attention,
    compare,
    env,
    export,
    gate,
    kineto,
    match,
    merge,
    models,
    nsys,
    overhead,
    profile,
    quality,
    report,
    status,
    study,
)
from pyprof.cli.options import CommandParser
from pyprof.cli.output import say, standard_streams
from pyprof.errors import ExitCode, PyprofError
from pyprof.failures import FOREIGN, failure_of, is_full, is_out_of_memory, said_of_file, sentence
from pyprof.machine.interruption import ASKING, interrupted_by

_COMMANDS = (
    study,
    status,
    report,
    advise,
    export,
    merge,
    compare,
    gate,
    match,
    profile,
    quality,
    overhead,
    attention,
    nsys,
    kineto,
    models,
    env,
)
_TRACEBACK = "PYPROF_TRACEBACK"
_EPILOG = f"""\
examples:
  pyprof study quick -o runs/quick          measure all models, print where time goes and where variants pay off
  pyprof study diwan2023 --models bert,longformer --modes infer --lengths auto
  pyprof report runs/quick                  print the report of a run again
  pyprof export runs/quick quick.csv        its records as a table: CSV, JSON or Parquet
  pyprof compare runs/main runs/change --fail-over 3%    exit code 1 where a slowdown is shown
  pyprof gate speed.toml --base ../main --head .         both measured in turn, then the same
  pyprof compare bert/eager bert/sdpa       two models, timed in turn until the difference is known
  pyprof profile bert --length 512          one model, layer by layer
  pyprof quality lra-linear --task listops  what a model achieves on a task that it is trained on
  pyprof attention --impl mine:kernel       kernels of sliding-window attention, yours too, side by side
  pyprof nsys report.sqlite                 kernel times by layer from a recording of Nsight Systems

exit codes: {", ".join(f"{code:d} {code.summary}" for code in ExitCode)}
"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; importing and building it loads neither torch nor transformers."""
    parser = CommandParser(
        prog="pyprof",
        description="Where does this transformer's time go, and from which input length does another one cost less?",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add(commands)
    return parser


def _version() -> str:
    built = built_for()
    if built is None:
        return f"pyprof {pyprof.__version__}"
    return f"pyprof {pyprof.__version__}, built for torch {built.torch}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; errors are printed here and nowhere else."""
    with standard_streams() as streams:
        code = _run(arguments)
        sys.stdout.flush()
        if streams.failure is not None:
            say(f"standard output cannot be written ({streams.failure.strerror}): make room, or write it elsewhere")
            code = ExitCode.INCOMPLETE
    return code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        options = build_parser().parse_args(arguments)
    except SystemExit:  # --help and --version have printed what they were asked for
        return ExitCode.DONE
    except PyprofError as error:
        say(error)
        return error.exit_code
    try:
        with interrupted_by(*ASKING):
            code: int = options.run(options)
        return code
    except PyprofError as error:
        say(error)
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted")
        return ExitCode.INTERRUPTED
    except OSError as error:
        say(said_of_file(error))
        return ExitCode.INCOMPLETE if is_full(error) else ExitCode.WRONG_USE
    except FOREIGN as error:
        if is_out_of_memory(error):
            say(f"{failure_of(error).reason}: ask for less at a time")
            return ExitCode.INCOMPLETE
        if os.environ.get(_TRACEBACK):
            traceback.print_exc()
        say(f"a defect of pyprof: {sentence(error)} (with {_TRACEBACK}=1 the traceback shows where: please report it)")
        return ExitCode.DEFECT


if __name__ == "__main__":
    sys.exit(main())
