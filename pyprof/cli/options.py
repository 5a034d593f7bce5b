"""What several subcommands share: options that mean the same everywhere, and how a command is added."""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pyprof.errors import UsageError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from pyprof.models.setup import ModelSetup

    Commands = _SubParsersAction[argparse.ArgumentParser]

Run = Callable[[argparse.Namespace], int]
Parser = argparse.ArgumentParser | argparse._ArgumentGroup
_SHARE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*")


class _Help(argparse.RawDescriptionHelpFormatter):
    """Fills paragraphs to the terminal's width, and leaves a block with indented lines as it is written."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        blocks = text.strip().split("\n\n")
        return "\n\n".join(block if "\n " in block else textwrap.fill(block, width) for block in blocks) + "\n"


def add_command(commands: Commands, name: str, run: Run, description: str) -> argparse.ArgumentParser:
    """A subcommand whose help begins with the description's first line."""
    summary, _, _ = description.strip().partition("\n")
    parser = commands.add_parser(name, help=summary, description=description, formatter_class=_Help)
    parser.set_defaults(run=run)
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json: one document on standard output and nothing else there."""
    parser.add_argument("--json", action="store_true", help="print one JSON document instead, and nothing else")


def add_model_options(
    parser: Parser, *, tokens: int, modes: Sequence[str] = ("infer", "train"), mode: str = "infer"
) -> None:
    """The options of `model_setup`, and --mode; `tokens` and `mode` are the defaults that the help states.

    What is not given is None, so that a command can tell.
    """
    parser.add_argument(
        "--length",
        type=int,
        metavar="N",
        help=f"tokens, or pixels of an image's side (default: {tokens} tokens or 224 pixels)",
    )
    parser.add_argument("--batch", type=int, metavar="N", help="number of examples (default: 1)")
    parser.add_argument("--mode", choices=modes, help=f"default: {mode}")
    parser.add_argument("--size", choices=("base", "tiny"), help="default: base")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="default: float32")
    parser.add_argument("--device", metavar="DEVICE", help="cpu (default), cuda or cuda:N")


def add_attention(parser: Parser) -> None:
    """--attention: the implementation that a model runs with."""
    parser.add_argument(
        "--attention", metavar="NAME", help="implementation: best (default), then (as in the 2023 study), or a name"
    )


def model_setup(options: argparse.Namespace, model: str, *, tokens: int) -> ModelSetup:
    """A model as the options of `add_model_options` say, `tokens` long by default; raises UsageError."""
    from pyprof.models.setup import ModelSetup, default_length

    names = ("batch", "attention", "size", "dtype", "device", "weights", "base_model")
    given = {name: value for name in names if (value := getattr(options, name, None)) is not None}
    length = default_length(model, tokens) if options.length is None else options.length
    return ModelSetup(model, length, **given)


def add_pin(parser: Parser) -> None:
    """--pin: the command hands it to ``pyprof.machine.pin.apply`` before anything loads torch."""
    parser.add_argument(
        "--pin",
        metavar="CORES",
        help="run on these processors only, such as 0,2-3, with a thread on each; auto: the quietest ones, one per "
        "physical core (name them where runs are to be compared)",
    )


def names(text: str) -> tuple[str, ...]:
    """An argument of the form a,b,c."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_share(text: str, option: str) -> float:
    """A share such as 3% or 0.03; raises UsageError for a plain number of 1 or more, which could mean either."""
    match = _SHARE.fullmatch(text)
    value = float(match[1]) / (100 if match[2] else 1) if match else -1.0
    if match is None or not (match[2] or value < 1):
        raise UsageError(f"{option} takes a share such as 3% or 0.03, not {text!r}")
    return value


def print_json(document: Any) -> None:
    """Write a document to standard output; a value that is no number is an error here, never `NaN` in a file."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")
