"""The entry point: finds the subcommand, runs it, and turns errors into one sentence and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import pyprof
from pyprof.cli import attention, compare, env, models, overhead, profile, report, study
from pyprof.errors import ExitCode, PyprofError

_COMMANDS = (study, report, compare, profile, overhead, attention, models, env)
_EPILOG = f"""\
examples:
  pyprof study quick -o runs/quick          measure all models, print where time goes and where variants pay off
  pyprof study diwan2023 --models bert,longformer --modes infer --lengths auto
  pyprof report runs/quick                  print the report of a run again
  pyprof compare runs/main runs/change --fail-over 3%    exit code 1 where a slowdown is shown
  pyprof compare bert/eager bert/sdpa       two models, timed in turn until the difference is known
  pyprof profile bert --length 512          one model, layer by layer
  pyprof attention --impl mine:kernel       kernels of sliding-window attention, yours too, side by side

exit codes: {", ".join(f"{code:d} {code.summary}" for code in ExitCode)}
"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; importing and building it loads neither torch nor transformers."""
    parser = argparse.ArgumentParser(
        prog="pyprof",
        description="Where does this transformer's time go, and from which input length does another one cost less?",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pyprof {pyprof.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; errors are printed here and nowhere else."""
    options = build_parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except PyprofError as error:
        print(f"pyprof: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("pyprof: interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of the pipe (head, less) has gone; Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
