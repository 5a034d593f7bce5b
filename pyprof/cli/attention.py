"""`pyprof attention`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pyprof.cli import live, pages
from pyprof.cli.options import MOST_THREADS, add_command, add_json, add_seconds, names, positive, print_json, whole
from pyprof.cli.output import models_print_to_standard_error, say
from pyprof.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from pyprof.attention import Comparison, Grid, ProblemResult
    from pyprof.cli.options import Commands

_DESCRIPTION = """Compare implementations of sliding-window attention: time, memory, accuracy.

Every query sees itself and `window` neighbours on each side. For every length x window x dtype all implementations are
called in turn, in random order, beside a matrix product that shows what the machine can do. Medians have intervals.
Accuracy is measured against dense attention in float64, and shown relative to eager attention in the same dtype.

implementations:
  auto       pyprof's own: cpu here, cuda on a GPU
  sdpa       PyTorch's fused dense attention with a mask that is made beforehand
  chunks     overlapping chunks of dense products, as in Longformer
  flex       PyTorch's FlexAttention with the best of block sizes 16 to 128;
             compiles for about ten seconds for each shape and block size, and
             has no backward on the host
  flash      FlashAttention with a window, as PyTorch ships it (GPU, 16 bits)
  dense-flash, dense-cudnn
             PyTorch's dense attention without a window, which a window has to
             beat (GPU, 16 bits); accuracy is not judged
  flash-attn, flash-attn-4, natten
             these packages, where they are installed (GPU); NATTEN's window
             keeps its size at the edges, so its accuracy is not judged
  reference  plain loops, for comparison only
  package.module:function
             yours: function(query, key, value, window), tensors (batch, heads,
             length, head_dim), window (left, right); checked first, and refused
             if it is wrong; parameters key_lengths and scale are checked too,
             and --global-keys needs one of that name, global_keys
"""
_EPILOG = """\
examples:
  pyprof attention                           the defaults, about a minute
  pyprof attention --lengths 2500 --windows 16 --impls auto,flex --modes forward
  pyprof attention --windows 32:0 --dtypes float32,bfloat16   causal
  pyprof attention --lengths 4096 --windows 256 --global-keys 4
  pyprof attention --impl mine:kernel --lengths 500 --json > mine.json
  pyprof attention --choices                 which CUDA kernel runs, and why
"""


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "attention", _run, _DESCRIPTION)
    parser.epilog = _EPILOG
    what = parser.add_argument_group("what to compare")
    what.add_argument(
        "--lengths", type=names, default=("512", "1024", "2500"), metavar="L,L", help="tokens (default: 512,1024,2500)"
    )
    what.add_argument(
        "--windows",
        type=names,
        default=("16", "50"),
        metavar="W,W",
        help="neighbours on each side without the token itself, or left:right (default: 16,50)",
    )
    what.add_argument(
        "--dtypes",
        type=names,
        metavar="A,B",
        help="float32, bfloat16, float16 (default: bfloat16 on a GPU, else float32)",
    )
    what.add_argument(
        "--modes", type=names, default=("forward", "backward"), metavar="A,B", help="forward, backward (default: both)"
    )
    what.add_argument(
        "--global-keys",
        type=whole(0),
        default=0,
        metavar="N",
        help="so many of the first keys are seen by every later query too (default: 0)",
    )
    what.add_argument("--batch", type=whole(1), default=1, metavar="N", help="sequences (default: 1)")
    what.add_argument("--heads", type=whole(1), default=12, metavar="N", help="heads (default: 12)")
    what.add_argument("--head-dim", type=whole(1), default=64, metavar="N", help="size of a head (default: 64)")
    what.add_argument(
        "--impls",
        type=names,
        default=("auto", "sdpa", "chunks"),
        metavar="A,B",
        help="see above, or all; the others are compared with the first one (default: auto,sdpa,chunks)",
    )
    what.add_argument(
        "--impl", action="append", default=[], metavar="M:F", help="also a kernel of yours; may be repeated"
    )
    how = parser.add_argument_group("how")
    add_seconds(how, default=2.0, help="time for each length, window, dtype and mode (default: 2)")
    how.add_argument(
        "--threads",
        type=whole(1, MOST_THREADS),
        metavar="N",
        help="threads that PyTorch may use (default: its own choice)",
    )
    how.add_argument("--device", default="cpu", metavar="DEVICE", help="cpu (default), cuda or cuda:N")
    how.add_argument(
        "--tolerance",
        type=positive,
        default=2.0,
        metavar="X",
        help="allowed error, as a multiple of that of eager attention (default: 2)",
    )
    pages.add_html(parser, "the time of each implementation over the length")
    how.add_argument(
        "--choices", action="store_true", help="measure nothing: print which CUDA kernel runs for which problem"
    )
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    if options.choices:
        return _print_choices(options.json)
    pages.can_be_made(options)
    with models_print_to_standard_error():
        comparison, interrupted = _compare(_grid(options))
    if options.html is not None:
        from pyprof.report.page.attention import attention_page

        pages.write(options.html, lambda: attention_page(comparison))
    if options.json:
        print_json(comparison.to_json())
    else:
        from pyprof.report import attention
        from pyprof.report.console import Console

        attention.write(comparison, Console())
    if interrupted:
        raise KeyboardInterrupt
    if comparison.failed:
        say(f"measurements that failed: {comparison.failed}, with their reasons above")
    return ExitCode.INCOMPLETE if comparison.failed else ExitCode.DONE


def _print_choices(as_json: bool) -> int:
    from dataclasses import asdict

    from pyprof.attention import cards, choices

    tried = cards()
    if as_json:
        verdicts = [{"card": card, "trial": verdict and asdict(verdict)} for card, verdict in tried]
        print_json({"choices": [asdict(line) for line in choices()], "cards": verdicts})
    else:
        from pyprof.report import attention_choices
        from pyprof.report.console import Console

        attention_choices.write(choices(), tried, Console())
    return ExitCode.DONE


def _grid(options: argparse.Namespace) -> Grid:
    import torch

    from pyprof import device as devices
    from pyprof.attention import Grid, RoundLimits, kernel, peers

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    devices.usable(options.device)
    named = [*(name for name in options.impls if ":" in name), *options.impl]
    return Grid(
        lengths=tuple(_whole(text, "a length") for text in options.lengths),
        windows=tuple(map(_window, options.windows)),
        dtypes=options.dtypes or (devices.of(options.device).usual_dtype,),
        modes=options.modes,
        impls=peers.names(options.device)
        if "all" in options.impls
        else tuple(name for name in options.impls if ":" not in name),
        kernels={name: kernel.load(name).function for name in named},
        batch=options.batch,
        heads=options.heads,
        head_dim=options.head_dim,
        global_keys=options.global_keys,
        device=options.device,
        care=RoundLimits(options.seconds),
        tolerance=options.tolerance,
    )


def _window(text: str) -> tuple[int, int]:
    left, separator, right = text.partition(":")
    return _whole(left, "a window"), _whole(right if separator else left, "a window")


def _whole(text: str, what: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{text!r} is not {what}: write whole numbers such as 16, with commas between them") from None


def _compare(grid: Grid) -> tuple[Comparison, bool]:
    """The comparison, and whether the user stopped it; what was measured until then is part of it."""
    from pyprof.attention import Comparison, measured
    from pyprof.machine.environment import current_environment

    results: list[ProblemResult] = []
    try:
        for result in measured(grid, _show_progress):
            results.append(result)
    except KeyboardInterrupt:
        if not results:
            raise
        return Comparison(grid, current_environment(), tuple(results), complete=False), True
    return Comparison(grid, current_environment(), tuple(results)), False


def _show_progress(done: int, total: int, result: ProblemResult | None, what: str) -> None:
    """What is being measured, until its figures are there."""
    from pyprof.report.attention import outcome

    if result is None:
        live.show(f"[{done}/{total}] {what}")
    else:
        live.clear()
        live.line(f"[{done}/{total}] {what}: {outcome(result)}")
