"""`pyprof study`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyprof.cli.costs import add_costs, given_table
from pyprof.cli.executor import add_executor, executor_of
from pyprof.cli.options import MOST_THREADS, add_command, add_json, add_pin, directory, named, names, precision, whole
from pyprof.cli.output import models_print_to_standard_error, say
from pyprof.errors import ExitCode, UsageError
from pyprof.records import validate

if TYPE_CHECKING:
    from pyprof.cli.options import Commands
    from pyprof.records.run_directory import Run
    from pyprof.records.study import Study
    from pyprof.study.run import RunResult

_DESCRIPTION = """Measure a study into a run directory, and print its report.

STUDY is a built-in study or a TOML file (default: quick):
  quick      all seven models at base size, both modes, in about eight minutes
  diwan2023  the grid of Diwan, Choi, Harwath (ACL 2023), whatever time that takes
  zoo        every mechanism of the zoo against dense attention, over the length
  speech     word error rates of HuBERT and L-HuBERT beside the published ones, and their costs
  lra-speed  the speed and memory that Long Range Arena published, beside ours
  sharing    vanilla, Universal and Switch transformers: parameters, FLOPs and throughput disagree
  optimizers SGD, momentum, AdamW and sharpness-aware minimisation: memory and time of a training step
  generation a decoder's prompt and one more token, with four kinds of cache

Every measured case is on disk before the next one starts: Ctrl-C, a crash or a full disk lose at most the case in
flight, and --resume goes on where the run ended. The options below narrow the study.
"""
# Options that replace a key of the study file of the same name.
_SETTINGS = {
    "time_budget": "stop after this time, such as '8 min', and list what it left out",
    "size": "base (as published), small (of the zoo, as the arena released it) or tiny (for a trial)",
    "device": "auto, cpu, cuda or cuda:N",
    "dtype": "float32, bfloat16, float16, autocast-bfloat16, or usual (bfloat16 on a GPU, else float32)",
    "threads": "number of threads that PyTorch may use",
    "seed": "seed of the random weights and inputs",
    "memory_budget": "memory that the largest batch may take, such as '2 GiB'",
    "batch_limit": "bound on the search for the largest batch",
    "loader": "package.module:function, whose function(length) returns the DataLoader of wall_clock's examples",
    "allocator": "who hands out the host's memory: default, keep (no block is given back), jemalloc, tcmalloc",
}
_MEASURE = {
    "precision": "half-width of the medians' and ratios' 95 %% intervals at which sampling stops, such as 2%%",
    "min_samples": "samples of a case before precision may end them (6 or more for an interval)",
    "max_samples": "samples of a case at most",
    "max_seconds": "seconds of sampling for one case at most, such as 20 or '2 min'",
    "timeout": "the longest that one case may take, such as '15 min'",
}
_TYPES: Mapping[str, Callable[[str], Any]] = {
    "threads": whole(1, MOST_THREADS),
    "seed": whole(0, validate.MOST),
    "batch_limit": whole(1),
    "min_samples": whole(1),
    "max_samples": whole(1),
    "precision": precision,
}


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "study", _run, _DESCRIPTION)
    parser.add_argument("study", metavar="STUDY", nargs="?", type=named, help="a built-in study or a TOML file")
    parser.add_argument("-o", "--output", metavar="DIR", type=directory, help="the run directory (default: runs/STUDY)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in that directory")
    parser.add_argument("--dry-run", action="store_true", help="list the cases and their predicted times, and stop")
    narrow = parser.add_argument_group("narrowing the study")
    narrow.add_argument("--models", type=names, default=(), metavar="A,B", help="only these models")
    narrow.add_argument(
        "--modes", type=names, default=(), metavar="A,B", help="only these modes: infer, train, prefill, generate"
    )
    narrow.add_argument("--metrics", type=names, default=(), metavar="A,B", help="only these metrics")
    narrow.add_argument(
        "--lengths",
        type=named,
        metavar="L",
        help="128,512 or 128:2048:64 (stop included) or auto (few, where a crossing is)",
    )
    narrow.add_argument(
        "--attention",
        type=names,
        default=(),
        metavar="A,B",
        help="implementations to compare: then (as in 2023), now (each model's best), a name, or vanilla's/variant's",
    )
    for name, text in (*_SETTINGS.items(), *_MEASURE.items()):
        kind = _TYPES.get(name, named)
        narrow.add_argument(
            f"--{name.replace('_', '-')}", type=kind, metavar=name.rpartition("_")[2].upper(), help=text
        )
    narrow.add_argument(
        "--launch",
        type=names,
        default=(),
        metavar="A,B",
        help="eager, graph (replays of a step that is captured into a CUDA graph), or both to compare them",
    )
    narrow.add_argument(
        "--optimizer",
        type=names,
        default=(),
        metavar="A,B",
        help="what follows the backward in train mode: none, sgd, momentum, adamw, sam; several to compare them",
    )
    narrow.add_argument("--compiled", action="store_true", help="measure the models under torch.compile")
    narrow.add_argument(
        "--weights", action="append", default=[], metavar="MODEL=PATH", help="weights of a local checkpoint for a model"
    )
    add_costs(narrow)
    add_executor(parser)
    parser.add_argument("--no-page", action="store_true", help="write no report.html beside the run")
    add_pin(parser)
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    from pyprof.machine import pin

    # The process that measures inherits the affinity and, unless the study sets them, the threads.
    pin.apply(options.pin, options.threads)
    from pyprof.cli.report import show
    from pyprof.records import run_directory

    study = _study(options)
    if options.dry_run:
        _preview(study, as_json=options.json)
        return ExitCode.DONE
    directory = options.output or Path("runs", study.name)
    result = _measure(study, directory, options)
    run = run_directory.read(directory)
    show([run], as_json=options.json)
    failed = sum(result.counts[status] for status in ("error", "oom", "timeout"))
    if failed:
        say(f"{failed} of {len(result.records)} cases failed: the report says which and why")
    say(f"the run is in {directory}: pyprof report {directory} prints it again")
    if not options.no_page:
        _write_page(run)
    return ExitCode.INCOMPLETE if failed else ExitCode.DONE


def _write_page(run: Run) -> None:
    """Write the page beside the run; where that cannot be, say why, since the study itself is done."""
    from pyprof.cli.report import write_page
    from pyprof.failures import said_of_file
    from pyprof.records.run_directory import PAGE

    path = run.directory / PAGE
    try:
        write_page([run], path)
    except UsageError as error:
        say(f"there is no page beside the run: {error}")
    except OSError as error:
        say(f"there is no page beside the run: {said_of_file(error)}")
    else:
        say(f"the page of its report, to open in a browser, is {path}")


def _study(options: argparse.Namespace) -> Study:
    """The study that was asked for, narrowed; when a run is resumed without a name, its own."""
    from pyprof.records import study as studies
    from pyprof.study.narrow import Narrowing, narrow

    settings = {name: value for name in _SETTINGS if (value := getattr(options, name)) is not None}
    measure = {name: value for name in _MEASURE if (value := getattr(options, name)) is not None}
    if options.compiled:
        settings["compiled"] = True
    if options.launch:
        settings["launches"] = list(options.launch)
    if options.optimizer:
        first, *others = options.optimizer
        settings |= {"optimizers": list(options.optimizer), "optimizer": "none"} if others else {"optimizer": first}
        settings |= {} if others else {"optimizers": []}
    if options.weights:
        settings["weights"] = _weights(options.weights)
    narrowing = Narrowing(
        lengths=options.lengths,
        models=options.models,
        modes=options.modes,
        metrics=options.metrics,
        implementations=options.attention,
        settings=settings,
        measure=measure,
        costs=given_table(options),
    )
    stored = options.output / "study.toml" if options.resume and options.study is None and options.output else None
    name = "quick" if options.study is None else options.study
    study = studies.read(stored) if stored and stored.exists() else studies.load(name)
    return study if narrowing == Narrowing() else narrow(study, narrowing)


def _weights(pairs: list[str]) -> dict[str, Any]:
    weights = {}
    for pair in pairs:
        model, separator, directory = pair.partition("=")
        if not (model and separator and directory):
            raise UsageError(f"weights are given as MODEL=PATH, not {pair!r}")
        weights[model] = directory
    return weights


def _measure(study: Study, directory: Path, options: argparse.Namespace) -> RunResult:
    from pyprof.cli.progress import progress
    from pyprof.study.run import run_study

    executor = executor_of(options, directory)
    with models_print_to_standard_error(), progress() as tell:
        return run_study(study, directory, resume=options.resume, executor=executor, progress=tell, say=say)


def _preview(study: Study, *, as_json: bool) -> None:
    from pyprof.cli.options import print_json
    from pyprof.study.preview import preview

    foreseen = preview(study)
    if as_json:
        cases = [
            {**forecast.case.to_json(), "seconds": forecast.seconds, "fits": forecast.fits}
            for forecast in foreseen.forecasts
        ]
        print_json({"study": study.name, "seconds": foreseen.seconds, "cases": cases})
        return
    from rich import box
    from rich.table import Table

    from pyprof.quantity import format_seconds
    from pyprof.report.console import Console

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in ("case", "predicted", ""):
        table.add_column(title, justify="right" if title == "predicted" else "left")
    for forecast in foreseen.forecasts:
        remark = "" if forecast.fits else "left out by the time budget"
        table.add_row(str(forecast.case), format_seconds(forecast.seconds), remark)
    console = Console()
    console.print(table)
    fitting = sum(forecast.fits for forecast in foreseen.forecasts)
    console.print(
        f"{fitting} of {len(foreseen.forecasts)} cases in about {format_seconds(foreseen.seconds)} on a guessed "
        "machine; a run corrects its predictions as it goes."
    )
