"""`pyprof profile --ranks`: a model that is sharded over several processes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from pyprof.analysis.ranks import RankedCase, rank_rows, slowest_of
from pyprof.cli import pages, profiled
from pyprof.cli.options import print_json
from pyprof.cli.output import models_print_to_standard_error
from pyprof.errors import UsageError
from pyprof.quantity import format_seconds

if TYPE_CHECKING:
    from pyprof.layers.profile import Profile
    from pyprof.models.setup import ModelSetup


def check(options: argparse.Namespace) -> None:
    """Raise UsageError for what one process alone can do."""
    from pyprof.study.resolve import check_ranks

    check_ranks(options.model)
    for name in ("trace", "nsys", "nvtx", "events"):
        if getattr(options, name):
            raise UsageError(f"--{name} is for a model in one process: leave it or --ranks out")
    if options.launch != "eager":
        raise UsageError("a model that is sharded over ranks is launched eagerly: leave --launch out")


def run(
    options: argparse.Namespace, setup: ModelSetup, mode: str, rules: Sequence[tuple[str, str]], pinned: str | None
) -> int:
    """Profile it, and show the layers of the rank that the others wait for."""
    from pyprof.timing.cores import usable_cores
    from pyprof.worker.profile_ranks import profile_ranks

    with models_print_to_standard_error():
        told = profile_ranks(setup, mode, rules, options.ranks, len(usable_cores()), options.seconds)
    loaded, profile = told.loaded, told.profiles[told.shown]
    title = f"{profiled.title(loaded, setup, mode)}, rank {told.shown} of {options.ranks}"
    ranks = RankedCase(
        setup.model, loaded.attention, mode, setup.length, rank_rows(told.ranks, told.told), *slowest_of(told.told)
    )
    pages.write(options.html, partial(_page, profile, title, setup.dtype, ranks))
    if options.json:
        about = profiled.about(loaded, setup, mode, options, None, pinned)
        print_json({**about, **profile.to_json(), "ranks": told.to_json()})
        return 0
    from pyprof.report import layers
    from pyprof.report.console import Console
    from pyprof.report.ranks import rank_blocks

    console = Console()
    layers.write(profile, console, title=title, expand=options.expand)
    console.print()
    for block in rank_blocks([ranks]):
        console.print(block)
    console.print(f"a step as long as the slowest rank's takes {format_seconds(told.step.value)}")
    return 0


def _page(profile: Profile, title: str, dtype: str, ranks: RankedCase) -> str:
    from pyprof.report.page.profile import profile_page

    return profile_page(profile, title, dtype, None, ranks)
