"""What several subcommands share: options that mean the same everywhere, and how a command is added."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Commands = _SubParsersAction[argparse.ArgumentParser]

Run = Callable[[argparse.Namespace], int]


def add_command(commands: Commands, name: str, run: Run, description: str) -> argparse.ArgumentParser:
    """A subcommand whose help begins with the description's first line."""
    summary, _, _ = description.strip().partition("\n")
    parser = commands.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=run)
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json: one document on standard output and nothing else there."""
    parser.add_argument("--json", action="store_true", help="print one JSON document instead, and nothing else")


def add_pin(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """--pin: the command hands it to ``pyprof.machine.pin.apply`` before anything loads torch."""
    parser.add_argument(
        "--pin",
        metavar="CORES",
        help="stay on these processors, such as 0,2-3, with a thread on each; auto: the quietest ones, one per "
        "physical core (name them where runs are to be compared)",
    )


def names(text: str) -> tuple[str, ...]:
    """An argument of the form a,b,c."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def print_json(document: Any) -> None:
    """Write a document to standard output; a value that is no number is an error here, never `NaN` in a file."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")
