"""Options for what a user knows and no counter tells: carbon of a kWh, price of an hour, how much is done, how well."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from pyprof.cli.options import Parser, whole
from pyprof.errors import UsageError
from pyprof.records import validate
from pyprof.records.costs import Costs, parse_intensity, parse_price, parse_target

_NAMES = ("intensity", "price", "queries", "examples", "target")


def add_costs(parser: Parser) -> None:
    """--intensity, --price, --queries, --examples and --target."""
    parser.add_argument(
        "--intensity", type=_parsed(parse_intensity), metavar="I", help="carbon of the power, such as '380 g/kWh'"
    )
    parser.add_argument("--price", type=_parsed(parse_price), metavar="P", help="of an hour, such as '2.50 USD/h'")
    parser.add_argument(
        "--queries",
        type=whole(1, validate.MOST),
        metavar="N",
        help="examples that carbon and money are of (default: 1)",
    )
    parser.add_argument(
        "--examples", type=whole(1, validate.MOST), metavar="N", help="the same in train mode, repeated ones counted"
    )
    parser.add_argument(
        "--target",
        type=_parsed(parse_target),
        metavar="Q",
        help="quality that sample efficiency is of: 0.8, or NAME=0.8 where models are trained on several tasks",
    )


def given_costs(options: argparse.Namespace) -> dict[str, Any]:
    """What was given, by the names of `Costs`."""
    return {name: value for name in _NAMES if (value := getattr(options, name)) is not None}


def given_table(options: argparse.Namespace) -> dict[str, Any]:
    """The same as a study file has it."""
    given = given_costs(options)
    return {name: Costs(**{name: value}).to_table().get(name, value) for name, value in given.items()}


def _parsed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return parse(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read
