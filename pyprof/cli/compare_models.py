"""Two models compared now: what `pyprof compare` does with two models."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyprof.cli import pages
from pyprof.cli.options import (
    add_inputs,
    add_model_options,
    add_pin,
    add_seconds,
    model_setup,
    precision,
    print_json,
)
from pyprof.cli.output import models_print_to_standard_error
from pyprof.errors import DisturbedError, GateError, ModelError, UsageError
from pyprof.failures import blamed
from pyprof.names import is_reference

if TYPE_CHECKING:
    from pyprof.models.setup import ModelSetup
    from pyprof.records.case import Mode
    from pyprof.worker.step import Step

OPTIONS = ("length", "batch", "mode", "size", "dtype", "device", "inputs", "seconds", "precision", "pin")
_TOKENS = 512
_SECONDS = 30.0
_PRECISION = 0.005


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add what can be given for two models only."""
    add_model_options(group, tokens=_TOKENS)
    add_inputs(group)
    add_seconds(group, default=None, help=f"compare for at most S seconds (default: {_SECONDS:g})")
    group.add_argument(
        "--precision",
        type=precision,
        metavar="SHARE",
        help="stop when the ratio is known to this, such as 0.5%% (the default)",
    )
    add_pin(group)


def run(options: argparse.Namespace, fail_over: float | None) -> int:
    """Compare the models and show the outcome; raises GateError or DisturbedError where a gate is not passed."""
    from pyprof.machine import pin

    pinned = pin.apply(options.pin)
    from pyprof import device as devices
    from pyprof.report.gate.models import ModelComparison, document, write
    from pyprof.timing.compare import ComparisonError, compare
    from pyprof.worker.profile_model import at_work

    setups = _setups(options)
    mode: Mode = options.mode or "infer"
    with models_print_to_standard_error():
        baseline, head = (_step(setup, mode) for setup in setups)
    units = (baseline.model.unit, head.model.unit)
    if units[0] != units[1]:
        raise UsageError(
            f"{setups[0].model} counts its length in {units[0]}s and {setups[1].model} in {units[1]}s: "
            "compare models of one kind of input"
        )
    names = [f"{step.model.name} {step.model.attention}" for step in (baseline, head)]
    try:
        with models_print_to_standard_error():
            paired = compare(
                baseline.timed,
                head.timed,
                prepare_a=baseline.renew,
                prepare_b=head.renew,
                precision=_PRECISION if options.precision is None else options.precision,
                max_seconds=_SECONDS if options.seconds is None else options.seconds,
                stopwatch=devices.of(setups[0].device).stopwatch(),
            )
    except ComparisonError as error:
        setup = setups["ab".index(error.call)]
        raise ModelError(f"{at_work(setup.model, setup.length, setup.batch, mode)}: {error.reason}") from error
    comparison = ModelComparison(
        baseline=names[0],
        head=names[1],
        setting={**_setting(options, setups[0], mode), "unit": units[0], "pinned": pinned},
        fail_over=fail_over,
        paired=paired,
        notes=tuple(
            dict.fromkeys(
                note for step in (baseline, head) for note in (*step.model.notes(step.case.length), *step.notes)
            )
        ),
    )
    if options.html is not None:
        from pyprof.report.page.comparison import models_page

        pages.write(options.html, lambda: models_page(comparison))
    if options.json:
        print_json(document(comparison))
    else:
        from pyprof.report.console import Console

        write(comparison, Console())
    if comparison.outcome == "too disturbed":
        raise DisturbedError(
            f"the gate is neither passed nor failed: {comparison.sentence}; measure again while nothing else runs"
        )
    if comparison.outcome == "failed":
        raise GateError(f"the gate is not passed: {comparison.sentence}")
    return 0


def _setups(options: argparse.Namespace) -> tuple[ModelSetup, ModelSetup]:
    """Both models in one setting: the head has the baseline's length, and each its own size if it has only one."""
    from pyprof.models import registry

    (baseline, attention), (head, other_attention) = (_operand(text) for text in (options.baseline, options.head))
    setup = model_setup(options, baseline, tokens=_TOKENS)
    first = replace(setup, attention=attention, size=setup.size if registry.find(baseline) else "base")
    second = replace(setup, model=head, attention=other_attention, size=setup.size if registry.find(head) else "base")
    if is_reference(baseline) != is_reference(head):
        # Inputs are for factories: the other model has its own.
        first, second = (each if is_reference(each.model) else replace(each, inputs=None) for each in (first, second))
    return first, second


def _operand(text: str) -> tuple[str, str]:
    """A model and its implementation, "best" where none is given; a path's own slashes stay with the path."""
    from pyprof.models import registry

    model, slash, attention = text.rpartition("/")
    if slash and attention and not Path(text).exists():
        registry.find(model)
        return model, attention
    registry.find(text)
    return text, "best"


def _setting(options: argparse.Namespace, setup: ModelSetup, mode: str) -> dict[str, Any]:
    """What both models have in common, as the document and the heading state it."""
    return {
        "length": setup.length,
        "batch": setup.batch,
        "mode": mode,
        "size": options.size or "base",
        "dtype": setup.dtype,
        "device": setup.device,
        "inputs": options.inputs,
    }


def _step(setup: ModelSetup, mode: Mode) -> Step:
    """A step of a loaded model, as a study times it, that has run once: one that cannot is known by its name."""
    from pyprof.records.case import Case
    from pyprof.worker.profile_model import at_work
    from pyprof.worker.step import Step

    loaded = setup.load(mode)
    case = Case(setup.model, setup.length, mode, loaded.attention, setup.size, setup.batch, setup.dtype, setup.device)
    with blamed(at_work(setup.model, setup.length, setup.batch, mode)):
        step = Step(loaded, case, "none", setup.batch)
        step()
    return step
