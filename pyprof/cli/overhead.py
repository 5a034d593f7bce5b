"""`pyprof overhead`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from pyprof.cli.options import add_command, add_json, add_pin, names, print_json

if TYPE_CHECKING:
    from pyprof.cli.options import Commands

_DESCRIPTION = """Show what looking at a model's layers costs, with our probes and with other tools.

MODEL is a name from `pyprof models`, an importable factory package.module:function, or the directory of a local
transformers checkpoint. For each tool: how much slower a step is (one step with each tool and one without in turn, in
random order), what one call of a module costs more, what is kept of it in memory, and how far the tool's layer times
are off from the truth of a model whose layers take as long as they are told to.

tools:
  pyprof           our probes
  hooks            stamps in a module's pre-hook and hook, of its backward too in train mode
  record_function  torch.profiler.record_function around each layer, no profiler running
  torch.profiler   the same with the profiler running on the host
  DeepSpeed        its FlopsProfiler (pip install deepspeed)
  torchprof        (pip install --no-deps torchprof: with its dependencies it replaces torch)
"""
_ERASE = "\r\x1b[K"


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "overhead", _run, _DESCRIPTION)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "--length", type=int, metavar="N", help="tokens, or pixels of an image's side (default: 128 or 224)"
    )
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="number of examples (default: 1)")
    parser.add_argument("--mode", choices=("infer", "train", "both"), default="both", help="default: both")
    parser.add_argument(
        "--attention", default="best", metavar="NAME", help="implementation: best (default), then, a name"
    )
    parser.add_argument("--size", choices=("base", "tiny"), default="base")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--device", default="cpu", metavar="DEVICE", help="cpu (default), cuda or cuda:N")
    parser.add_argument("--tools", type=names, default=(), metavar="A,B", help="see above (default: all)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=20.0,
        metavar="S",
        help="time for the steps of each mode; the rest takes about as long again (default: 20)",
    )
    add_pin(parser)
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    from pyprof.machine import pin

    pin.apply(options.pin)
    from pyprof.models import registry
    from pyprof.overhead import Plan, find_overhead

    entry = registry.find(options.model)
    plan = Plan(
        options.model,
        options.length,
        options.batch,
        ("infer", "train") if options.mode == "both" else (options.mode,),
        options.attention,
        options.size,
        options.dtype,
        options.device,
        options.seconds,
        options.tools,
    )
    found = find_overhead(plan, _tell)
    if sys.stderr.isatty():
        print(_ERASE, end="", file=sys.stderr, flush=True)
    if options.json:
        print_json(found.to_json())
    else:
        from rich.console import Console

        from pyprof.report import overhead

        overhead.write(found, Console(), unit=entry.unit if entry else "token")
    if found.failed:
        print(f"pyprof: tools that failed: {found.failed}, with their reasons above", file=sys.stderr)
    return 3 if found.failed else 0


def _tell(what: str) -> None:
    """A live line in a terminal; elsewhere a line for each part, not for each round."""
    if sys.stderr.isatty():
        print(f"{_ERASE}{what} ...", end="", file=sys.stderr, flush=True)
    elif not what.rpartition(" ")[2].isdigit() or what.endswith("round 1"):
        print(f"{what} ...", file=sys.stderr, flush=True)
