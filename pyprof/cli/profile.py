"""`pyprof profile`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pyprof.cli.options import add_command, add_json, add_pin, print_json
from pyprof.errors import UsageError

if TYPE_CHECKING:
    from pyprof.cli.options import Commands

_DESCRIPTION = """Show what each layer of a model costs, forward and, in train mode, backward.

MODEL is a name from `pyprof models`, an importable factory package.module:function, or the directory of a local
transformers checkpoint. A layer's own time is its total less that of the layers that it calls; the cost of the probes
themselves is measured, taken off, and stated below the table.
"""


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "profile", _run, _DESCRIPTION)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "--length", type=int, metavar="N", help="tokens, or pixels of an image's side (default: 512 or 224)"
    )
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="number of examples (default: 1)")
    parser.add_argument("--mode", choices=("infer", "train"), default="infer")
    parser.add_argument(
        "--attention", default="best", metavar="NAME", help="implementation: best (default), then, a name"
    )
    parser.add_argument("--size", choices=("base", "tiny"), default="base")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--device", default="cpu", metavar="DEVICE", help="cpu (default), cuda or cuda:N")
    parser.add_argument("--weights", metavar="PATH", help="weights of a local checkpoint instead of random ones")
    parser.add_argument(
        "--seconds", type=float, default=3.0, metavar="S", help="take steps for about S seconds (default: 3)"
    )
    parser.add_argument("--expand", action="store_true", help="show every block of a repeated kind, not their mean")
    add_pin(parser)
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    from pyprof.machine import pin

    pinned = pin.apply(options.pin)
    from pyprof.models import registry
    from pyprof.worker.profile_model import profile_model

    entry = registry.find(options.model)
    length = options.length or (224 if entry and entry.unit == "pixel" else 512)
    if options.batch < 1 or length < 1:
        raise UsageError("a length and a batch are at least 1")
    loaded = registry.load(
        options.model,
        size=options.size,
        attention=options.attention,
        mode=options.mode,
        longest=length,
        dtype=options.dtype,
        device=options.device,
        weights=options.weights,
    )
    loaded.fit(length)
    profile = profile_model(loaded, length, options.batch, options.seconds)
    about = {
        "model": options.model,
        "size": options.size,
        "length": length,
        "batch": options.batch,
        "mode": options.mode,
        "attention": loaded.attention,
        "dtype": options.dtype,
        "device": options.device,
        "pinned": pinned,
        "notes": list(loaded.notes(length)),
    }
    if options.json:
        print_json({**about, **profile.to_json()})
        return 0
    from rich.console import Console

    from pyprof.report import layers

    unit = entry.unit if entry else "unit"
    title = (
        f"{options.model} {options.size}, {length:,} {unit}s, batch {options.batch}, {options.mode}, {loaded.attention}"
    )
    layers.write(profile, Console(), title=title, notes=loaded.notes(length), expand=options.expand)
    return 0
