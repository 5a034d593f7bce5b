"""`pyprof overhead`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pyprof.cli import live, pages
from pyprof.cli.options import (
    add_attention,
    add_command,
    add_inputs,
    add_json,
    add_model_options,
    add_pin,
    add_seconds,
    model_setup,
    named,
    names,
    print_json,
)
from pyprof.cli.output import models_print_to_standard_error, say
from pyprof.errors import ExitCode

if TYPE_CHECKING:
    from pyprof.cli.options import Commands

_DESCRIPTION = """Show the profiling overhead on a model, of our probes and of other tools.

MODEL is a name from `pyprof models`, an importable factory package.module:function, or the directory of a local
transformers checkpoint. For each tool: how much slower a step is (one step with each tool and one without a profiler,
interleaved in random order), what is added to one call of a module, what is kept of it in memory, and how far the
tool's layer times are off on a model whose layers take a known time.

tools:
  pyprof           our probes
  hooks            stamps in a module's pre-hook and hook, in train mode of its
                   backward too
  record_function  torch.profiler.record_function around each layer, no profiler
                   running
  torch.profiler   the same with the profiler running on the host
  DeepSpeed        its FlopsProfiler (pip install deepspeed)
  torchprof        pip install --no-deps torchprof, as its dependencies replace
                   torch
"""
# Short enough for the overhead to show, and a length that is used every day.
_TOKENS = 128


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "overhead", _run, _DESCRIPTION)
    parser.add_argument("model", metavar="MODEL", type=named)
    add_model_options(parser, tokens=_TOKENS, modes=("infer", "train", "both"), mode="both")
    add_inputs(parser)
    add_attention(parser)
    parser.add_argument("--tools", type=names, default=(), metavar="A,B", help="see above (default: all)")
    add_seconds(
        parser, default=20.0, help="time for the steps of each mode; the rest takes about as long again (default: 20)"
    )
    pages.add_html(parser, "how much longer a step takes under each tool")
    add_pin(parser)
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    from pyprof.machine import pin

    pages.can_be_made(options)
    pin.apply(options.pin)
    from pyprof.overhead import OverheadRequest, measure_overhead

    modes = ("infer", "train") if options.mode in (None, "both") else (options.mode,)
    setup = model_setup(options, options.model, tokens=_TOKENS)
    request = OverheadRequest(setup, modes, options.seconds, options.tools)
    with models_print_to_standard_error():
        overhead = measure_overhead(request, _show_progress)
    live.clear()
    if options.html is not None:
        from pyprof.report.page.overhead import overhead_page

        pages.write(options.html, lambda: overhead_page(overhead))
    if options.json:
        print_json(overhead.to_json())
    else:
        from pyprof.report.console import Console
        from pyprof.report.overhead import write

        write(overhead, Console())
    if overhead.failed:
        say(f"tools that failed: {overhead.failed}, with their reasons above")
    return ExitCode.INCOMPLETE if overhead.failed else ExitCode.DONE


def _show_progress(what: str) -> None:
    """A live line in a terminal; elsewhere a line for each part, not for each round."""
    if live.is_terminal():
        live.show(what)
    elif not what.rpartition(" ")[2].isdigit() or what.endswith("round 1"):
        live.line(f"{what} ...")
