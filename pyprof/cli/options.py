"""What several subcommands share: options that mean the same everywhere, and how a command is added."""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pyprof.errors import UsageError
from pyprof.names import nearest
from pyprof.plain import json_safe, shown
from pyprof.quantity import LONGEST_SECONDS, parse_duration, parse_share
from pyprof.records import validate
from pyprof.records.case import DTYPES, MODES

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from pyprof.models.setup import ModelSetup

    Commands = _SubParsersAction[argparse.ArgumentParser]

Run = Callable[[argparse.Namespace], int]
Parser = argparse.ArgumentParser | argparse._ArgumentGroup
MOST_THREADS = 4096
_ARGUMENT = re.compile(r"argument (\S+): (must|has|lacks)?")
# What argparse repeats of a command line, as Python writes a text, and how much of it is enough.
_REPEATED = re.compile(r"""'(?:[^'\\]|\\.){80,}'|"(?:[^"\\]|\\.){80,}\"""")
_ENOUGH = 76


class _Help(argparse.RawDescriptionHelpFormatter):
    """Fills paragraphs to the terminal's width, and leaves a block with indented lines as it is written."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        blocks = text.strip().split("\n\n")
        return "\n\n".join(block if "\n " in block else textwrap.fill(block, width) for block in blocks) + "\n"


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors are a UsageError of one sentence, as all others are."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        message = _ARGUMENT.sub(lambda match: f"{match[1]} {match[2]}" if match[2] else f"{match[1]}: ", message, 1)
        message = _REPEATED.sub(lambda match: f"{match[0][:_ENOUGH]}...", message)
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            name = unknown.split("=")[0].split(" ")[0]
            known = [option for action in self._actions for option in action.option_strings]
            raise UsageError(f"there is no option {shown(name)}: {nearest(name, known, f'see {self.prog} --help')}")
        raise UsageError(f"{message} (see {self.prog} --help)")

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        known, unknown = super().parse_known_args(args, namespace)
        for action in self._actions:
            # Of `--name=--` argparse makes an empty list in place of a value.
            value = getattr(known, action.dest, None)
            if action.option_strings and action.nargs is None and value is not action.default and _has_none(value):
                self.error(f"argument {'/'.join(action.option_strings)}: expected one argument")
        # Here and not in the outermost parser, which does not know the options of the command.
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown


def _has_none(value: object) -> bool:
    return isinstance(value, list) and (not value or [] in value)


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
    parser: Parser,
    *,
    tokens: int,
    modes: Sequence[str] = MODES,
    mode: str = "infer",
    dtype: str = "float32",
) -> None:
    """The options of `model_setup`, and --mode; `tokens`, `mode` and `dtype` are the defaults that the help states.

    What is not given is None, so that a command can tell.
    """
    parser.add_argument(
        "--length",
        type=whole(1),
        metavar="N",
        help=f"tokens, or pixels of an image's side (default: {tokens} tokens or 224 pixels)",
    )
    parser.add_argument("--batch", type=whole(1), metavar="N", help="number of examples (default: 1)")
    generating = "; of a decoder: prefill (a prompt fills the cache), generate (one more token reads it)"
    parser.add_argument("--mode", choices=modes, help=f"default: {mode}{generating if 'generate' in modes else ''}")
    parser.add_argument("--size", choices=("base", "small", "tiny"), help="default: base; small for the zoo only")
    parser.add_argument("--dtype", choices=DTYPES, help=f"default: {dtype}")
    parser.add_argument("--device", metavar="DEVICE", help="cpu (default), cuda or cuda:N")


def add_attention(parser: Parser) -> None:
    """--attention: the implementation that a model runs with."""
    parser.add_argument(
        "--attention", metavar="NAME", help="implementation: best (default), then (as in the 2023 study), or a name"
    )


def add_inputs(parser: Parser) -> None:
    """--inputs: what the module of a factory is called with."""
    parser.add_argument(
        "--inputs",
        type=named,
        metavar="package.module:function",
        help="function(length, batch) makes what a factory's module is called with, a tuple of positional arguments or "
        "a dict of keyword ones; the factory may then return just the module",
    )


def model_setup(options: argparse.Namespace, model: str, *, tokens: int) -> ModelSetup:
    """A model as the options of `add_model_options` say, `tokens` long by default; raises UsageError."""
    from pyprof.models.setup import ModelSetup, default_length

    names = ("batch", "attention", "size", "dtype", "device", "weights", "base_model", "inputs")
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


def add_seconds(parser: Parser, *, default: float | None, help: str) -> None:
    """--seconds: a time above zero; the help begins with `help`."""
    parser.add_argument("--seconds", type=seconds, default=default, metavar="S", help=help)


def names(text: str) -> tuple[str, ...]:
    """An argument of the form a,b,c, with at least one name."""
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if not parts:
        raise argparse.ArgumentTypeError(f"must name at least one, such as a,b, not {shown(text)}")
    return parts


def whole(least: int, most: int = validate.LARGE) -> Callable[[str], int]:
    """The type of an argument that is a whole number from `least` to `most`."""
    check = validate.whole(least, most)

    def number(text: str) -> int:
        try:
            return int(_argument(check, int(text)))
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number, not {shown(text)}") from None

    return number


def seconds(text: str) -> float:
    """An argument that is a time above zero, in seconds or with a unit."""
    return float(_argument(validate.quantity(parse_duration, "3 s", LONGEST_SECONDS), text))


def positive(text: str) -> float:
    """An argument that is a finite number above zero."""
    try:
        return float(_argument(validate.real(0, 1e6), float(text)))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, not {shown(text)}") from None


def share(text: str) -> float:
    """An argument that is a share such as 5%, 5 % or 0.05, of at least zero."""
    try:
        return parse_share(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def precision(text: str) -> float:
    """An argument that is a share above zero and below one."""
    return float(_argument(validate.real(0, 1), share(text)))


def named(text: str) -> str:
    """An argument that is not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def directory(text: str) -> Path:
    """An argument that is the path of a directory, which may not exist."""
    return Path(named(text))


def output_file(what: str, *endings: str) -> Callable[[str], Path]:
    """The type of an argument that is a file to be written: whether it can be is told before anything is measured.

    Its name has to end like that of `what` it will hold, so that nothing else is written over.
    """

    def file(text: str) -> Path:
        path = Path(named(text))
        try:
            reason = None if path.name.endswith(endings) else f"{what} has a name that ends in {' or '.join(endings)}"
            if path.is_dir():
                reason = "it is a directory"
            elif not path.parent.is_dir():
                reason = f"there is no directory {shown(str(path.parent))}"
        except OSError as error:  # a name that is too long, say
            reason = error.strerror
        if reason is not None:
            raise argparse.ArgumentTypeError(f"{shown(text)} cannot be written: {reason}")
        return path

    return file


def _argument(check: validate.Check, value: object) -> Any:
    try:
        return check(value)
    except validate.Refused as refused:
        raise argparse.ArgumentTypeError(str(refused).removeprefix(": ")) from None


def print_json(document: Any) -> None:
    """Write a document to standard output; a value that is no number is an error here, never `NaN` in a file."""
    written = json.dumps(document, indent=2, ensure_ascii=not _holds_all_letters(), allow_nan=False)
    sys.stdout.write(f"{json_safe(written)}\n")


def _holds_all_letters() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") in ("utf8", "utf16", "utf32")
