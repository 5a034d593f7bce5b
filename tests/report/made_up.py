"""Results that nobody measured, for the pages that show them; `name` takes every place that a user's words can."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import synthetic_run as synthetic
from simulated_machine import make_environment, make_study
from test_overhead_report import an_overhead

from pyprof.attention import Comparison, Grid
from pyprof.attention.measure import ProblemResult
from pyprof.attention.measure import Row as KernelRow
from pyprof.attention.problem import Problem
from pyprof.layers.profile import LayerCost, Profile
from pyprof.overhead import Overhead
from pyprof.records.record import Record
from pyprof.records.run_directory import Run
from pyprof.report.gate.models import ModelComparison
from pyprof.report.gate.view import GateView, Wish, gate_view
from pyprof.statistics.estimate import Estimate
from pyprof.timing.compare import PairedComparison
from pyprof.traces.timeline import Bar, Lane, Timeline


def a_profile(name: str = "encoder") -> Profile:
    """A root with two layers, one of which calls a third; own times sum to 0.9 of a step of 1 s."""
    rows = [
        ("", "Model", "other", None, 0.1, 0.9),
        (name, name, "self-attention", 0, 0.2, 0.5),
        (f"{name}.inner", "Linear", name, 1, 0.3, 0.3),
        ("head", "Linear", "head", 0, 0.3, 0.3),
    ]
    layers = tuple(
        LayerCost(index, parent, path, type, kind, 1, 10 * index, total, own, None, None, None, "replaced")
        for index, (path, type, kind, parent, own, total) in enumerate(rows)
    )
    return Profile(layers, 3, 1.0, 0.1, 12, 0, 0, notes=(name,))


def a_timeline(name: str = "encoder") -> Timeline:
    bars = (
        Bar(1, 0.0, 1.0, "step", "step", None),
        Bar(2, 0.1, 0.9, "Model", "forward", "other"),
        Bar(3, 0.2, 0.7, name, "forward", "self-attention"),
        Bar(5, 0.3, 0.4, name, "kernel", None),
    )
    return Timeline((Lane(0, f"host: {name}, thread 1"), Lane(4, "device 0, stream 7")), bars, 6, (name,))


def two_models(name: str = "bert sdpa") -> ModelComparison:
    samples = tuple(1_000_000 + 1_000 * (index % 7) for index in range(40))
    paired = PairedComparison(
        Estimate(1.1, 1.05, 1.15), "slower", 0.01, Estimate(1e-3, 9e-4, 11e-4), Estimate(11e-4), 0.95, "time", 3, 2.0,
        samples, tuple(round(1.1 * each) for each in samples),
    )  # fmt: skip
    setting = {"length": 128, "unit": "token", "batch": 1, "mode": "infer", "dtype": "float32", "size": "tiny"}
    return ModelComparison("bert eager", name, {**setting, "device": "cpu"}, None, paired, (name,))


def run_of(records: list[Record], directory: str = "run") -> Run:
    environment = make_environment()
    own = {each.case.key: replace(each, environment=environment.fingerprint) for each in records}
    return Run(Path(directory), make_study(), synthetic.RESOLVED, environment, own)


def two_runs(name: str = "head", across: bool = False) -> GateView:
    """Peak memory grows twentyfold at 62 tokens and halves at 242; latency is as it was."""
    before = [
        synthetic.record(model, "eager", length, "infer") for model in ("bert", "longformer") for length in (62, 242)
    ]

    def changed(record: Record) -> Record:
        peak = record.indicators["peak_memory"]
        value = (peak.value or 0.0) * (20 if record.case.length == 62 else 0.5)
        return replace(record, indicators={**record.indicators, "peak_memory": replace(peak, value=value)})

    wish = Wish(across="machines") if across else Wish(fail_over=0.03)
    view = gate_view(run_of(before), run_of([changed(each) for each in before]), wish)
    return replace(view, head=name, different=(name,), warnings=(name,))


def an_overhead_of(name: str = "torchprof") -> Overhead:
    made = an_overhead("train")
    mode = made.modes[0]
    rows = tuple(
        replace(row, tool=name, reason=name) if row.tool in ("torchprof", "DeepSpeed") else row for row in mode.rows
    )
    return replace(made, modes=(replace(mode, rows=rows, notes=(name,)),))


def kernels(name: str = "mine") -> Comparison:
    def result(length: int, mode: str) -> ProblemResult:
        seconds = 1e-6 * length
        rows = (
            KernelRow("cpu", "ok", None, Estimate(seconds, 0.9 * seconds, 1.1 * seconds), against=Estimate(1.0)),
            KernelRow(name, "ok", None, Estimate(2 * seconds), extra_bytes=2**20, against=Estimate(2.0)),
            KernelRow("chunks", "error", name),
        )
        return ProblemResult(Problem(length, (16, 16)), mode, 1, None, 8, rows)

    results = tuple(result(length, mode) for mode in ("forward", "backward") for length in (64, 256))
    return Comparison(Grid(), make_environment(name), results)


def matches(name: str = "bert") -> list[dict[str, Any]]:
    """The target and three matches; of the last one no FLOPs could be counted."""
    target = {"by": None, "dimensions": None, "parameters": 1e8, "flops": 2e11, "memory_access": 3e9}
    target |= {"activations": 4e8, "peak_memory": 5e8, "latency_ratio": 1.0}
    sizes = {"depth": 12, "width": 768, "heads": 12, "ffn": 3072}
    made = [
        {**target, "by": by, "dimensions": sizes, "latency_ratio": ratio, "latency_interval": bounds}
        | {"within_tolerance": True, **costs}
        for by, ratio, bounds, costs in (
            ("parameters", 1.5, (1.4, 1.6), {"flops": 4e11, "peak_memory": 1e9}),
            ("flops", 0.9, None, {"parameters": 8e7}),
            (name, 1.0, (0.99, 1.01), {"flops": None}),
        )
    ]
    return [target, *made]
