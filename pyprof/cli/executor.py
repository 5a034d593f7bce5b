"""Which executor a study is measured by, from the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pyprof.cli.options import Parser, named
from pyprof.cli.output import say
from pyprof.errors import UsageError

if TYPE_CHECKING:
    from pyprof.records.executor import Executor, Worker


def add_executor(parser: Parser) -> None:
    """--executor and what goes with it."""
    group = parser.add_argument_group("where it is measured")
    group.add_argument(
        "--executor",
        type=named,
        metavar="NAME",
        help="local (default: one process), devices (a worker a GPU, or sets of this machine's cores), ray or slurm (a "
        "cluster): see docs/executors.md",
    )
    group.add_argument(
        "--workers",
        type=named,
        metavar="N",
        help="how many workers, or which: 4, cuda:0,cuda:2 or sets of cores such as 0-3/4-7",
    )
    group.add_argument(
        "--executor-option",
        type=named,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what else an executor is to know, such as partition=gpu; may be repeated",
    )
    group.add_argument("--in-process", action="store_true", help="measure in this process (no timeouts; to debug)")


def executor_of(options: argparse.Namespace, directory: Path) -> Executor | Worker:
    """What the options ask for; raises UsageError for an unknown executor or option."""
    from pyprof.executors import registry
    from pyprof.executors.kind import Asked

    if options.in_process:
        if options.executor not in (None, "local") or options.workers is not None:
            raise UsageError("--in-process measures in this process alone: leave --executor and --workers out")
        from pyprof.worker.executors import InProcessExecutor

        return InProcessExecutor()
    kind = registry.kind_of(options.executor or "local")
    asked = registry.options_of(kind, options.executor_option)
    return kind.create(Asked(directory, options.workers, asked, resumed=options.resume, tell=say))
