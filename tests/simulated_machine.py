"""A simulated machine: an executor whose cases take time of a clock that only it moves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from pyprof.records.case import Case
from pyprof.records.environment import Environment
from pyprof.records.executor import Outcome, Ready
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.study import Study, parse


def make_environment(cpu: str = "simulated") -> Environment:
    return Environment(
        hostname="here",
        cpu=cpu,
        cores=2,
        memory_bytes=2**34,
        threads=2,
        system="Linux",
        kernel="6",
        architecture="x86_64",
        python="3.11",
        torch="2.13",
        transformers="5.23",
        pyprof="0.1",
        blas="mkl",
        onednn=None,
        cpu_capability="AVX2",
    )


class Simulated:
    """An executor that measures nothing: `steps` tells a case's step in seconds, `clock` goes on by what it costs."""

    build_seconds = 2.0
    samples = 6

    def __init__(self, steps: Callable[[Case], float], cpu: str = "simulated") -> None:
        self.steps = steps
        self.environment = make_environment(cpu)
        self.now = 0.0
        self.measured: list[Case] = []
        self.groups: list[tuple[Case, ...]] = []
        self.closed = False
        self.broken: dict[int, BaseException] = {}
        self.failing: dict[tuple[str, int], str] = {}

    def clock(self) -> float:
        return self.now

    def start(self, study: Study) -> Ready:
        self.now += 5.0
        settled = dataclasses.replace(study, device="cpu", threads=study.threads or 2, memory_budget=2**30)
        return Ready(settled, self.environment)

    def measure_together(self, cases: Sequence[Case]) -> Iterator[Outcome]:
        self.groups.append(tuple(cases))
        return map(self.measure, cases)

    def measure(self, case: Case) -> Outcome:
        self.measured.append(case)
        if len(self.measured) in self.broken:
            raise self.broken[len(self.measured)]
        status = self.failing.get((case.model, case.length), "ok")
        step = self.steps(case)
        built = any(
            (each.model, each.attention, each.mode) == (case.model, case.attention, case.mode)
            for each in self.measured[:-1]
        )
        seconds = step * (self.samples + 2) + (0.3 if built else 0.3 + self.build_seconds)
        self.now += seconds
        latency = Reading(step, step * 0.99, step * 1.01, samples=(round(step * 1e9),) * self.samples)
        record = Record(
            case=case,
            status=status,  # type: ignore[arg-type]
            environment=self.environment.fingerprint,
            started="2026-01-01T00:00:00+00:00",
            seconds=seconds,
            reason=None if status == "ok" else f"simulated {status}",
            indicators={"latency": latency} if status == "ok" else {},
        )
        return Outcome(record, {"path": ["", "layer"], "own_forward_seconds": [0.0, step]})

    def close(self) -> None:
        self.closed = True


def quadratic(case: Case) -> float:
    """Steps in which longformer falls below bert at 1000 tokens, and l-hubert below hubert at 5000."""
    length = case.length
    costs = {
        "bert": 1e-3 * length + 1e-6 * length**2,
        "longformer": 2e-3 * length,
        "nystromformer": 0.5e-3 * length,
        "hubert": 1e-3 * length + 1e-7 * length**2,
        "l-hubert": 1.5e-3 * length,
        "vit": 4e-6 * length**2,
        "swin": 3e-6 * length**2,
    }
    return costs[case.model] * (3.0 if case.mode == "train" else 1.0)


def make_study(**changes: object) -> Study:
    """A study of bert and longformer at five lengths in inference, changed key by key."""
    table: dict[str, object] = {
        "name": "test",
        "metrics": ["latency"],
        "modes": ["infer"],
        "measure": {"min_samples": 6, "max_samples": 6, "max_seconds": 100},
        "comparison": [
            {
                "vanilla": "bert",
                "variants": ["longformer"],
                "lengths": [128, 512, 1024, 1536, 2048],
                "implementations": ["then"],
            }
        ],
    }
    return parse({**table, **changes}, "test")
