"""The questions of `pyprof quality`: --perturb, --span and --memory."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pyprof.cli import live, pages
from pyprof.cli.options import names, positive, print_json, whole
from pyprof.cli.output import models_print_to_standard_error
from pyprof.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from pyprof.cli.options import Parser
    from pyprof.quality.questions import Setting
    from pyprof.quality.training import Tell

# What a model is trained on that is asked something.
TASK = "language"
_MARGIN = 0.05


def add_options(parser: Parser) -> None:
    """The options of the questions, none of which is asked by default."""
    parser.add_argument(
        "--perturb",
        type=names,
        metavar="A,B",
        help="are long inputs used? The change of quality where a --region of them is disturbed: shuffle, replace (by "
        "another example's), drop",
    )
    parser.add_argument(
        "--region",
        type=names,
        metavar="R,R",
        help="what --perturb disturbs: first:X, last:X or X:Y, a share of the input (0.75) or tokens (6144) (default: "
        "first:0.75)",
    )
    parser.add_argument(
        "--span", action="store_true", help="how far a vanilla model's attention reaches, by layer and head"
    )
    parser.add_argument(
        "--memory",
        action="store_true",
        help="perplexity of a text read with and without what a recurrent model remembers of it",
    )
    parser.add_argument(
        "--windows",
        type=_windows,
        metavar="N,N",
        help="with --span: which of these windows a local model (zoo-window) needs to keep the quality",
    )
    parser.add_argument(
        "--margin",
        type=positive,
        metavar="X",
        help=f"with --windows: how much may be lost, a share of right answers or bits a token (default: {_MARGIN})",
    )
    pages.add_html(parser, "the answer")


def _windows(text: str) -> tuple[int, ...]:
    return tuple(map(whole(1), names(text)))


def asks(options: argparse.Namespace) -> bool:
    """Whether a question is asked; raises UsageError for options that belong to none, and for two at a time."""
    for name, needs in (("region", "perturb"), ("windows", "span"), ("margin", "windows")):
        if getattr(options, name) is not None and not getattr(options, needs):
            raise UsageError(f"--{name} belongs to --{needs}: give that too, or leave it out")
    asked = [name for name in ("perturb", "span", "memory") if getattr(options, name)]
    if len(asked) > 1:
        raise UsageError(f"--{asked[0]} and --{asked[1]} are two questions: ask one at a time")
    if asked and options.control:
        raise UsageError(f"--{asked[0]} asks nothing of a control: leave --control out")
    if options.html is not None and not asked:
        raise UsageError("--html shows the answer to --perturb, --span or --memory: give one of them")
    return bool(asked)


def answer(options: argparse.Namespace, setting: Setting, tell: Tell) -> int:
    """Train as the setting says, ask, and print the answer."""
    pages.can_be_made(options)
    ask, page_of, write = _question(options)
    with models_print_to_standard_error():
        found = ask(setting, tell)
    live.clear()
    if options.html is not None:
        pages.write(options.html, lambda: page_of(found))
    if options.json:
        print_json(found.to_json())
    else:
        write(found)
    return ExitCode.DONE


def _question(options: argparse.Namespace) -> tuple[Callable[..., Any], Callable[..., str], Callable[..., None]]:
    """What is asked, its page, and what prints it."""
    from pyprof.quality import questions
    from pyprof.quality.perturb import check_perturbation
    from pyprof.quality.region import parse_region
    from pyprof.report import quality_questions as terminal
    from pyprof.report.page import quality_questions as page

    if options.perturb:
        hows = [check_perturbation(each) for each in options.perturb]
        regions = [parse_region(each) for each in options.region or ("first:0.75",)]
        return (
            lambda setting, tell: questions.ask_use(setting, hows, regions, tell=tell),
            page.use_page,
            terminal.write_use,
        )
    if options.span:
        windows, margin = options.windows or (), options.margin or _MARGIN
        return (
            lambda setting, tell: questions.ask_span(setting, windows, margin=margin, tell=tell),
            page.span_page,
            terminal.write_span,
        )
    return lambda setting, tell: questions.ask_memory(setting, tell=tell), page.memory_page, terminal.write_memory
