"""Groups in the process that measures: who pays for a death or for lost time, and that nobody else does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from simulated_machine import Simulated, make_environment, make_study, quadratic
from test_worker import stand_in

from pyprof.failures import Failure
from pyprof.records.case import Case
from pyprof.records.executor import Outcome, Ready
from pyprof.records.study import Study
from pyprof.worker import executors
from pyprof.worker.executors import WorkerExecutor

HERE = Path(__file__).parent
NOTE = "timed by itself, not in the same rounds as what it is compared with: "
BERT, LONGFORMER, NYSTROMFORMER = GROUP = tuple(Case(model, 512) for model in ("bert", "longformer", "nystromformer"))


class Scripted:
    """A child that does what a script says when it is asked for a group: give the first outcomes, then fail or not."""

    obituaries = ("oom", "it was killed")

    def __init__(self, script: list[dict[str, Any]], log: list[tuple[str, ...]]) -> None:
        self.script, self.log = script, log
        self.alive = True
        self.at: Case | None = None

    def outcomes(self, cases: Sequence[Case], allowed: float) -> Iterator[Outcome]:
        assert allowed == 900.0
        self.log.append(tuple(case.model for case in cases))
        step = self.script.pop(0) if self.script else {}
        for case in cases[: step.get("gives", len(cases))]:
            yield Simulated(quadratic).measure(case)
        self.at = step.get("at")
        if "raises" in step:
            raise step["raises"]

    def obituary(self) -> Failure:
        return Failure(*self.obituaries)

    def kill(self) -> None:
        self.alive = False


@pytest.fixture
def log() -> list[tuple[str, ...]]:
    """What the children were asked for, each start of a child among it."""
    return []


def measure(monkeypatch: pytest.MonkeyPatch, log: list[tuple[str, ...]], *script: dict[str, Any]) -> dict[str, Outcome]:
    steps = list(script)

    def started(study: Study, allocator: str, *child: object) -> tuple[Scripted, Ready]:
        log.append(("started",))
        return Scripted(steps, log), Ready(study, make_environment())

    monkeypatch.setattr(executors._Worker, "started", started)
    executor = WorkerExecutor()
    executor.start(make_study())
    return {one.record.case.model: one for one in executor.measure_together(GROUP)}


def statuses(outcomes: dict[str, Outcome]) -> dict[str, str]:
    return {model: one.record.status for model, one in outcomes.items()}


def test_a_group_that_ends_well_is_asked_for_once(monkeypatch: pytest.MonkeyPatch, log: list[tuple[str, ...]]) -> None:
    outcomes = measure(monkeypatch, log)
    assert list(statuses(outcomes).values()) == ["ok"] * 3
    assert log == [("started",), ("bert", "longformer", "nystromformer")]


def test_work_on_one_case_that_takes_too_long_costs_only_that_case(
    monkeypatch: pytest.MonkeyPatch, log: list[tuple[str, ...]]
) -> None:
    outcomes = measure(monkeypatch, log, {"gives": 0, "at": LONGFORMER, "raises": TimeoutError()})
    assert statuses(outcomes) == {"longformer": "timeout", "bert": "ok", "nystromformer": "ok"}
    assert outcomes["longformer"].record.reason == "it took longer than the 15 min allowed for one case"
    # The others are timed together once more.
    assert log[1:] == [("bert", "longformer", "nystromformer"), ("started",), ("bert", "nystromformer")]
    assert outcomes["bert"].record.notes == ()


def test_where_all_together_take_too_long_each_is_measured_by_itself(
    monkeypatch: pytest.MonkeyPatch, log: list[tuple[str, ...]]
) -> None:
    script = [{"gives": 0, "raises": TimeoutError()}, {}, {"gives": 0, "raises": TimeoutError()}]
    outcomes = measure(monkeypatch, log, *script)
    assert statuses(outcomes) == {"bert": "ok", "longformer": "timeout", "nystromformer": "ok"}
    assert log[2:] == [("started",), ("bert",), ("longformer",), ("started",), ("nystromformer",)]
    assert outcomes["bert"].record.notes == (NOTE + "together they took too long",)
    assert outcomes["longformer"].record.notes == ()


def test_one_that_ends_the_child_is_tried_by_itself_and_the_others_together(
    monkeypatch: pytest.MonkeyPatch, log: list[tuple[str, ...]]
) -> None:
    outcomes = measure(monkeypatch, log, {"gives": 0, "at": LONGFORMER, "raises": EOFError()})
    assert list(statuses(outcomes).values()) == ["ok"] * 3
    assert log[2:] == [("started",), ("longformer",), ("bert", "nystromformer")]
    assert outcomes["longformer"].record.notes == (NOTE + "it was killed",)


def test_a_child_that_ends_in_the_rounds_leaves_all_to_be_measured_one_by_one(
    monkeypatch: pytest.MonkeyPatch, log: list[tuple[str, ...]]
) -> None:
    outcomes = measure(monkeypatch, log, {"gives": 0, "raises": EOFError()}, {"gives": 0, "raises": EOFError()})
    assert statuses(outcomes) == {"bert": "oom", "longformer": "ok", "nystromformer": "ok"}
    assert log[2:] == [("started",), ("bert",), ("started",), ("longformer",), ("nystromformer",)]


def test_what_was_given_before_the_end_is_not_measured_again(
    monkeypatch: pytest.MonkeyPatch, log: list[tuple[str, ...]]
) -> None:
    outcomes = measure(monkeypatch, log, {"gives": 1, "at": NYSTROMFORMER, "raises": TimeoutError()})
    assert statuses(outcomes) == {"bert": "ok", "nystromformer": "timeout", "longformer": "ok"}
    assert log[2:] == [("started",), ("longformer",)]


def at(case: Case | None) -> str:
    """What a child says it is working on, as a line of a shell script."""
    return f"echo '{json.dumps({'at': None if case is None else case.to_json()})}' > /dev/fd/$4"


@pytest.mark.parametrize(
    ("script", "guilty", "seconds"),
    [
        # Work on a single case has the time of one case, rounds have that of all.
        (f"{at(BERT)}; {at(LONGFORMER)}; sleep 60", LONGFORMER, 0.5),
        (f"{at(BERT)}; {at(None)}; sleep 60", None, 1.5),
        # The time of all is up, and the case that is being looked at has not had its own.
        (f"{at(None)}; sleep 1.2; {at(BERT)}; sleep 60", None, 1.5),
    ],
)
def test_whose_time_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, guilty: Case | None, seconds: float
) -> None:
    stand_in(monkeypatch, tmp_path, script)
    worker = executors._Worker(make_study(), "default")
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        list(worker.outcomes(GROUP, 0.5))
    assert seconds - 0.05 < time.monotonic() - begin < seconds + 5
    assert worker.at == guilty
    worker.kill()


def test_a_child_that_ends_between_two_cases_has_nobody_to_blame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Simulated(quadratic).measure(BERT)
    (tmp_path / "reply").write_text(json.dumps({"record": found.record.to_json(), "layers": None}) + "\n")
    stand_in(monkeypatch, tmp_path, f"{at(BERT)}; cat {tmp_path}/reply > /dev/fd/$4; read request; read kept")
    worker = executors._Worker(make_study(), "default")
    outcomes = worker.outcomes(GROUP, 10.0)
    assert next(outcomes).record == found.record
    with pytest.raises(EOFError):
        next(outcomes)
    assert worker.at is None
    worker.kill()


def a_study(care: dict[str, Any], *names: str) -> Study:
    blocks = [{"vanilla": f"workload:{name}", "lengths": [4], "implementations": ["now"]} for name in names]
    return make_study(comparison=blocks, measure=care, memory_budget="256 MiB", threads=1, device="cpu")


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerExecutor]:
    monkeypatch.chdir(HERE)
    worker = WorkerExecutor()
    yield worker
    worker.close()


def real(executor: WorkerExecutor, care: dict[str, Any], *names: str) -> dict[str, Outcome]:
    executor.start(a_study({"min_samples": 6, "max_samples": 6, **care}, *names))
    cases = [Case(f"workload:{name}", 4, attention="own") for name in names]
    return {one.record.case.model.partition(":")[2]: one for one in executor.measure_together(cases)}


@pytest.mark.slow
def test_a_real_child_that_dies_costs_the_one_that_killed_it(executor: WorkerExecutor) -> None:
    care = {"max_seconds": 0.2, "timeout": "60 s"}
    outcomes = real(executor, care, "quiet", "killed", "wide")
    assert statuses(outcomes) == {"killed": "oom", "quiet": "ok", "wide": "ok"}
    quiet, wide = (outcomes[name].record.indicators["latency"] for name in ("quiet", "wide"))
    assert quiet.rounds.id == wide.rounds.id


@pytest.mark.slow
def test_a_real_child_that_hangs_costs_the_one_that_hangs(executor: WorkerExecutor) -> None:
    outcomes = real(executor, {"max_seconds": 0.2, "timeout": "5 s"}, "quiet", "sleepy", "wide")
    assert statuses(outcomes) == {"sleepy": "timeout", "quiet": "ok", "wide": "ok"}
    assert outcomes["quiet"].record.notes == ()


@pytest.mark.slow
def test_a_real_group_that_takes_too_long_is_measured_one_by_one(executor: WorkerExecutor) -> None:
    # Each call is short enough; together they are not.
    outcomes = real(executor, {"max_seconds": 100, "timeout": "4 s"}, "quiet", "sluggish")
    assert statuses(outcomes) == {"quiet": "ok", "sluggish": "timeout"}
    assert outcomes["quiet"].record.notes == (NOTE + "together they took too long",)
