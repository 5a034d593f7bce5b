"""`pyprof compare`."""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pyprof.cli.options import add_command, add_json, add_pin, names, print_json
from pyprof.errors import GateError, UsageError

if TYPE_CHECKING:
    from pyprof.cli.options import Commands
    from pyprof.report.gate.view import GateView, Wish
    from pyprof.worker.step import Step

_DESCRIPTION = """Say what became slower or faster: between two runs, or between two models now.

A and B are two run directories of `pyprof study`, A being the baseline: all cases that both have are compared, with
intervals and with the false alarms of all of them together under control. Runs of different machines are refused, or
compared by --across-machines in their ratios and tipping points only.

Or A and B are two models, as `pyprof profile` takes them, with an attention implementation behind a slash if you like
(bert/eager, hubert/sdpa, package.module:function): their steps are timed in turn, in random order, until the ratio is
known well enough.
"""
_EPILOG = """\
examples:
  pyprof compare runs/main runs/change                          what changed, and what is only noise
  pyprof compare runs/main runs/change --fail-over 3%           exit code 1 where a slowdown beyond 3 % is shown
  pyprof compare runs/main runs/change --markdown > comment.md  for a pull request
  pyprof compare bert/eager bert/sdpa --length 512
"""
_SHARE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*")


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "compare", _run, _DESCRIPTION)
    parser.epilog = _EPILOG
    parser.add_argument("baseline", metavar="A", help="the baseline: a run directory or a model")
    parser.add_argument("head", metavar="B", help="what is judged: the same")
    parser.add_argument(
        "--fail-over",
        metavar="SHARE",
        help="exit with code 1 where B is shown to cost more by over this, such as 3%%, or fails at what A can do",
    )
    runs = parser.add_argument_group("two runs")
    across = runs.add_mutually_exclusive_group()
    across.add_argument(
        "--across-machines", action="store_true", help="compare only ratios to the vanilla model and tipping points"
    )
    across.add_argument(
        "--across-software", action="store_true", help="let versions of torch, transformers, Python differ"
    )
    runs.add_argument("--metrics", type=names, default=(), metavar="A,B", help="only these metrics")
    runs.add_argument("--markdown", action="store_true", help="print Markdown for a pull request instead")
    models = parser.add_argument_group("two models")
    models.add_argument("--length", type=int, metavar="N", help="tokens, or pixels of an image's side")
    models.add_argument("--batch", type=int, metavar="N", help="number of examples (default: 1)")
    models.add_argument("--mode", choices=("infer", "train"), help="default: infer")
    models.add_argument("--size", choices=("base", "tiny"), help="default: base")
    models.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="default: float32")
    models.add_argument("--device", metavar="DEVICE", help="cpu (default), cuda or cuda:N")
    models.add_argument("--seconds", type=float, metavar="S", help="compare for at most S seconds (default: 30)")
    models.add_argument(
        "--precision", metavar="SHARE", help="stop when the ratio is known to this, such as 0.5%% (the default)"
    )
    add_pin(models)
    add_json(parser)


_OF_RUNS = ("across_machines", "across_software", "metrics", "markdown")
_OF_MODELS = ("length", "batch", "mode", "size", "dtype", "device", "seconds", "precision", "pin")


def _run(options: argparse.Namespace) -> int:
    fail_over = None if options.fail_over is None else _share(options.fail_over, "--fail-over")
    runs = [_is_run(operand) for operand in (options.baseline, options.head)]
    if all(runs):
        _refuse(options, _OF_MODELS, "two models")
        return _compare_runs(options, fail_over)
    if any(runs):
        run, model = (options.baseline, options.head) if runs[0] else (options.head, options.baseline)
        raise UsageError(f"{run} is a run and {model} is none: compare two runs, or two models")
    _refuse(options, _OF_RUNS, "two runs")
    return _compare_models(options, fail_over)


def _is_run(operand: str) -> bool:
    """Whether an operand is a run directory; raises UsageError for a directory that is neither that nor a model."""
    directory = Path(operand)
    if (directory / "study.toml").is_file():
        return True
    if directory.is_dir() and not (directory / "config.json").is_file():
        raise UsageError(
            f"{operand} is neither a run (it has no study.toml) nor a checkpoint (it has no config.json): "
            "give the directory of a study, as in -o, or a model"
        )
    return False


def _refuse(options: argparse.Namespace, given: tuple[str, ...], where: str) -> None:
    """Raise UsageError where an option was given that means nothing here."""
    wrong = [f"--{name.replace('_', '-')}" for name in given if getattr(options, name) not in (None, False, ())]
    if wrong:
        raise UsageError(f"{', '.join(wrong)} can be given for {where} only: leave it out")


def _share(text: str, option: str) -> float:
    """A share such as 3% or 0.03; a plain number of 1 or more could mean either and is refused."""
    match = _SHARE.fullmatch(text)
    value = float(match[1]) / (100 if match[2] else 1) if match else -1.0
    if match is None or not (match[2] or value < 1):
        raise UsageError(f"{option} takes a share such as 3% or 0.03, not {text!r}")
    return value


def _compare_runs(options: argparse.Namespace, fail_over: float | None) -> int:
    from pyprof.records.run_directory import read
    from pyprof.report.gate.view import gate_view

    view = gate_view(read(Path(options.baseline)), read(Path(options.head)), _wish(options, fail_over))
    _show(view, options)
    if view.failed:
        from pyprof.report.gate.view import headline

        raise GateError(f"the gate is not passed: {headline(view).removeprefix('Failed: ').rstrip('.')}")
    return 0


def _wish(options: argparse.Namespace, fail_over: float | None) -> Wish:
    from pyprof.report.gate.view import Wish

    if options.markdown and options.json:
        raise UsageError("--markdown and --json are two forms of the same: choose one")
    return Wish(
        fail_over=fail_over,
        across="machines" if options.across_machines else "software" if options.across_software else None,
        metrics=options.metrics,
    )


def _show(view: GateView, options: argparse.Namespace) -> None:
    if options.json:
        from pyprof.report.gate.view import document

        print_json(document(view))
    elif options.markdown:
        from pyprof.report.gate.markdown import markdown

        print(markdown(view), end="")
    else:
        from rich.console import Console

        from pyprof.report.gate import terminal

        terminal.write(view, Console())


@dataclass(frozen=True)
class _Setting:
    """How two models are compared: what `pyprof profile` takes, with the same defaults."""

    length: int
    batch: int
    mode: Literal["infer", "train"]
    size: str
    dtype: str
    device: str


def _compare_models(options: argparse.Namespace, fail_over: float | None) -> int:
    from pyprof import device as devices
    from pyprof.machine import pin

    precision = 0.005 if options.precision is None else _share(options.precision, "--precision")
    pinned = pin.apply(options.pin)
    from pyprof.report.gate.models import ModelComparison, document, write
    from pyprof.timing.compare import compare

    operands = [_operand(text) for text in (options.baseline, options.head)]
    setting = _setting(options, [model for model, _ in operands])
    steps = [_step(model, attention, setting) for model, attention in operands]
    units = [step.model.unit for step in steps]
    if units[0] != units[1]:
        raise UsageError(
            f"{operands[0][0]} counts its length in {units[0]}s and {operands[1][0]} in {units[1]}s: "
            "compare models of one kind of input"
        )
    paired = compare(
        steps[0],
        steps[1],
        precision=precision,
        max_seconds=30.0 if options.seconds is None else options.seconds,
        stopwatch=devices.of(setting.device).stopwatch(),
    )
    found = ModelComparison(
        baseline=f"{operands[0][0]} {steps[0].model.attention}",
        head=f"{operands[1][0]} {steps[1].model.attention}",
        setting={**asdict(setting), "unit": units[0], "pinned": pinned},
        fail_over=fail_over,
        paired=paired,
        notes=tuple(dict.fromkeys(note for step in steps for note in step.model.notes(setting.length))),
    )
    if options.json:
        print_json(document(found))
    else:
        from rich.console import Console

        write(found, Console())
    if found.failed:
        raise GateError(f"the gate is not passed: {found.sentence}")
    return 0


def _operand(text: str) -> tuple[str, str]:
    """A model and its implementation, "best" where none is given; a path's own slashes stay with the path."""
    from pyprof.models import registry

    model, slash, attention = text.rpartition("/")
    if slash and attention and not Path(text).exists():
        registry.find(model)
        return model, attention
    registry.find(text)
    return text, "best"


def _setting(options: argparse.Namespace, models: list[str]) -> _Setting:
    from pyprof.models import registry

    entry = registry.find(models[0])
    length = 224 if entry and entry.unit == "pixel" else 512
    setting = _Setting(
        length=length if options.length is None else options.length,
        batch=1 if options.batch is None else options.batch,
        mode=options.mode or "infer",
        size=options.size or "base",
        dtype=options.dtype or "float32",
        device=options.device or "cpu",
    )
    if setting.length < 1 or setting.batch < 1:
        raise UsageError("a length and a batch are at least 1")
    return setting


def _step(model: str, attention: str, setting: _Setting) -> Step:
    """A step of a loaded model, as a study times it."""
    from pyprof.models import registry
    from pyprof.records.case import Case
    from pyprof.worker.step import Step

    own_size = setting.size if registry.find(model) else "base"
    loaded = registry.load(
        model,
        size=own_size,
        attention=attention,
        mode=setting.mode,
        longest=setting.length,
        dtype=setting.dtype,
        device=setting.device,
    )
    case = Case(
        model,
        setting.length,
        setting.mode,
        loaded.attention,
        own_size,
        setting.batch,
        setting.dtype,
        setting.device,
    )
    return Step(loaded, case, "none", setting.batch)
