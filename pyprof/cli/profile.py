"""`pyprof profile`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pyprof.cli import pages, profile_ranks, profiled
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
    output_file,
    print_json,
    whole,
)
from pyprof.cli.output import models_print_to_standard_error, say
from pyprof.errors import UsageError
from pyprof.records.case import LAUNCHES, MOST_RANKS

if TYPE_CHECKING:
    from pyprof.cli.options import Commands
    from pyprof.layers.instrument import Probes
    from pyprof.layers.profile import Profile
    from pyprof.traces.timeline import Timeline

_DESCRIPTION = """Show what each layer of a model costs, forward and, in train mode, backward.

MODEL is a name from `pyprof models`, an importable factory package.module:function, or the directory of a local
transformers checkpoint. A checkpoint is measured as the class that it names, in train mode with that class's own loss
on random labels. A layer's own time is its total less that of the layers that it calls. Steps with and
without probes are taken in turn: how long a step takes is told by those without, and what the probes cost it stands
below the table.
"""
_TOKENS = 512
_REPORT = "pyprof.nsys-rep"


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "profile", _run, _DESCRIPTION)
    parser.add_argument("model", metavar="MODEL", type=named)
    add_model_options(parser, tokens=_TOKENS, dtype="bfloat16 on a GPU, else float32")
    add_inputs(parser)
    parser.add_argument(
        "--ranks",
        type=whole(2, MOST_RANKS),
        metavar="N",
        help="MODEL is a factory that returns a sharded model: run it in N processes, on a device each, and tell which "
        "one the others wait for",
    )
    add_attention(parser)
    parser.add_argument(
        "--weights", type=named, metavar="PATH", help="weights of a local checkpoint instead of random ones"
    )
    parser.add_argument("--base-model", action="store_true", help="measure a checkpoint without the head of its task")
    add_seconds(parser, default=3.0, help="take steps for about S seconds (default: 3)")
    parser.add_argument(
        "--kind",
        metavar="REGEX=KIND",
        action="append",
        default=[],
        help="what the layers whose whole path REGEX matches count as, and what is in them; the first that matches "
        "holds, KIND may be a name of your own",
    )
    parser.add_argument("--expand", action="store_true", help="show every block of a repeated kind, not their mean")
    parser.add_argument(
        "--nvtx", action="store_true", help="open NVTX ranges for a tool that is attached (also: PYPROF_NVTX=1)"
    )
    parser.add_argument(
        "--launch", choices=LAUNCHES, default="eager", help="graph: replay a captured CUDA graph of the step"
    )
    parser.add_argument(
        "--events",
        action="store_true",
        help="time the layers by events on a GPU's stream, not by its kernels: these are times of launches where "
        "kernels fill less of the step, and disturb it more (how much is measured)",
    )
    parser.add_argument(
        "--nsys",
        nargs="?",
        const=_REPORT,
        type=output_file("a report of nsys", ".nsys-rep"),
        metavar="FILE",
        help=f"run under Nsight Systems, keep its report as FILE (default: {_REPORT}), show kernel times by layer",
    )
    parser.add_argument(
        "--trace",
        type=output_file("a trace", ".json", ".json.gz"),
        metavar="FILE",
        help="write one step to FILE (.json, or gzipped .json.gz) for Perfetto or chrome://tracing",
    )
    pages.add_html(parser, "the layers as a tree and one step over time")
    add_pin(parser)
    add_json(parser)


def _under_nsys(options: argparse.Namespace) -> int:
    """The same command with ranges, recorded, and what was recorded as the layer table."""
    from pyprof.cli import nsys
    from pyprof.traces import nsys_tool

    program = nsys_tool.found()
    report = options.nsys
    nsys_tool.record(program, report, [sys.executable, "-m", "pyprof", *_command_line(options)])
    say(f"Nsight's report is in {report}")
    nsys.show(nsys_tool.read_any(report), report.name, as_json=options.json, expand=options.expand)
    return 0


def _command_line(options: argparse.Namespace) -> list[str]:
    """What is to be recorded: the same command with NVTX ranges, whose own table nobody needs."""
    words = ["profile", options.model, "--nvtx"]
    for name, value in vars(options).items():
        option = f"--{name.replace('_', '-')}"
        if name in ("model", "run", "nsys", "nvtx", "json", "expand") or value is None or value is False:
            continue
        for each in value if isinstance(value, list) else [value]:
            words.append(option if each is True else f"{option}={each}")
    return words


def _run(options: argparse.Namespace) -> int:
    if options.ranks is not None:
        profile_ranks.check(options)
    if options.nsys is not None:
        return _under_nsys(options)
    from pyprof import device as devices
    from pyprof.machine import pin

    pages.can_be_made(options)
    pinned = pin.apply(options.pin)
    from pyprof.layers import nvtx
    from pyprof.models import registry
    from pyprof.worker.profile_model import profile_model

    device = devices.of(options.device or "cpu")
    device.check_launch(options.launch)
    if options.events:
        device.check_events()
        if options.launch == "graph":
            raise UsageError("events have no time in a captured graph: leave --events or --launch graph out")
    if options.dtype is None and options.device is not None:
        options.dtype = registry.usual_dtype([options.model], devices.of(options.device).usual_dtype)
    setup, mode = model_setup(options, options.model, tokens=_TOKENS), options.mode or "infer"
    ranges = nvtx.wanted(options.nvtx or None)
    rules = _rules(options.kind)
    if options.ranks is not None:
        return profile_ranks.run(options, setup, mode, rules, pinned)
    with models_print_to_standard_error():
        loaded = setup.load(mode)
        loaded = replace(loaded, kinds=(*rules, *loaded.kinds))
        with nvtx.case_range("profile", ranges):
            timelines: list[Timeline] = []
            profile = profile_model(
                loaded,
                setup.length,
                setup.batch,
                options.seconds,
                ranges,
                options.launch,
                _drawer(options.trace, timelines if options.html else None),
                options.events,
            )
    if options.trace is not None:
        say(f"one step is in {options.trace}: open it at https://ui.perfetto.dev or chrome://tracing")
    how = ", captured in a CUDA graph" if options.launch == "graph" else ", layers by events" if options.events else ""
    title = f"{profiled.title(loaded, setup, mode)}{how}"
    pages.write(options.html, partial(_page, profile, title, setup.dtype, timelines))
    if options.json:
        size = setup.size if loaded.entry is not None else None
        about = profiled.about(loaded, setup, mode, options, size, pinned)
        print_json({**about, **profile.to_json()})
        return 0
    from pyprof.report import layers
    from pyprof.report.console import Console

    layers.write(profile, Console(), title=title, expand=options.expand)
    return 0


def _drawer(trace: Path | None, timelines: list[Timeline] | None) -> Callable[[Probes], None] | None:
    """What takes the last step of probes into a file and into a picture, where either is wanted."""
    if trace is None and timelines is None:
        return None
    from pyprof.traces.export import write_trace
    from pyprof.traces.timeline import timeline_of

    def draw(probes: Probes) -> None:
        if trace is not None:
            write_trace(probes, trace)
        if timelines is not None:
            timelines.append(timeline_of(probes.last_steps()))

    return draw


def _page(profile: Profile, title: str, dtype: str, timelines: Sequence[Timeline]) -> str:
    from pyprof.report.page.profile import profile_page

    return profile_page(profile, title, dtype, timelines[0] if timelines else None)


def _rules(given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The rules of --kind."""
    from pyprof.models.own_kinds import own_kinds

    rules = []
    for text in given:
        pattern, _, kind = (part.strip() for part in text.rpartition("="))
        if not pattern:
            raise UsageError(f"--kind takes REGEX=KIND, such as 'encoder\\..*mixer=state space', not {text!r}")
        rules.append((pattern, kind))
    return own_kinds(tuple(rules), "--kind")
