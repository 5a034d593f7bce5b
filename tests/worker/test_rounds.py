"""Cases that are measured together: shared rounds, failures that cost nobody else, memory that is each one's own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from simulated_machine import make_study

from pyprof.models import registry
from pyprof.records.case import Case
from pyprof.records.executor import Outcome
from pyprof.records.record import Record
from pyprof.records.study import Study
from pyprof.statistics.estimate import CONFIDENCE
from pyprof.statistics.sequential import LOOKED_AT
from pyprof.timing.interleave import Interleaved
from pyprof.timing.yardstick import NAME
from pyprof.worker import rounds as worker_rounds
from pyprof.worker.bench import Bench
from pyprof.worker.rounds import AllPrecise
from pyprof.worker.step import Step

QUICKLY = {"min_samples": 6, "max_samples": 6, "max_seconds": 0.2}


@pytest.fixture(autouse=True)
def workload_is_importable(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.syspath_prepend(request.path.parent)


def a_study(**changes: Any) -> Study:
    variants = [f"workload:{name}" for name in ("wide", "noisy", "raising", "failing_to_build")]
    block = {"vanilla": "workload:quiet", "variants": variants, "lengths": [4, 16], "implementations": ["now"]}
    metrics = ["latency", "peak_memory", "parameters"]
    table: dict[str, Any] = {"comparison": [block], "metrics": metrics, "measure": QUICKLY, "memory_budget": "1 GiB"}
    return dataclasses.replace(make_study(**{**table, **changes}), device="cpu")


def a_case(name: str, **changes: Any) -> Case:
    return Case(f"workload:{name}", 16, **{"attention": "own", **changes})


QUIET, WIDE = a_case("quiet"), a_case("wide")


def together(bench: Bench, *cases: Case) -> dict[str, Outcome]:
    """The outcomes by the names of the models, in the order in which they came."""
    return {one.record.case.model.partition(":")[2]: one for one in bench.measure_together(cases)}


def test_cases_share_rounds_and_each_has_its_own_record() -> None:
    told: list[Case | None] = []
    outcomes = list(Bench(a_study(), "here").measure_together((QUIET, WIDE), told.append))
    assert [one.record.case for one in outcomes] == [QUIET, WIDE]
    first, second = (one.record.indicators["latency"] for one in outcomes)
    assert first.rounds.id == second.rounds.id
    assert first.samples != second.samples
    for one in (first, second):
        assert len(one.samples) == len(one.rounds.yardstick) == len(one.rounds.hits) == 6
        assert all(0 <= wait < sample for wait, sample in zip(one.rounds.waits, one.samples, strict=True))
        for waits in (one.rounds.others_waits, one.rounds.yardstick_waits, one.rounds.yardstick_others_waits):
            assert len(waits) == 6
            assert all(wait >= 0 for wait in waits)
        assert one.warmup
        assert one.rounds.stopped_by in ("samples", "precision")
        assert one.rounds.noise.samples == 3 * 6
        assert len(one.rounds.page_faults) == len(one.rounds.faults) == 6
        pairs = zip(one.rounds.system, one.rounds.processor, strict=True)
        assert all(0 <= system <= processor for system, processor in pairs)
    for one in outcomes:
        assert (one.record.status, one.record.notes) == ("ok", ())
        assert one.layers is not None
        assert Record.from_json(json.loads(json.dumps(one.record.to_json()))) == one.record
    # Load, warm up and look one by one; the rounds are everyone's.
    assert told == [QUIET, WIDE, QUIET, WIDE, None, QUIET, WIDE]


def test_a_step_that_never_settled_says_so_in_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    original = worker_rounds.interleave

    def restless(*args: Any, **kwargs: Any) -> Interleaved:
        taken = original(*args, **kwargs)
        taken.still_changing = (QUIET.key,)
        return taken

    monkeypatch.setattr(worker_rounds, "interleave", restless)
    outcomes = together(Bench(a_study(metrics=["latency"]), "here"), QUIET, WIDE)
    quiet, wide = (outcomes[name].record for name in ("quiet", "wide"))
    latency = quiet.indicators["latency"]
    assert latency.detail == {"still_changing": True}
    assert (latency.low, latency.high) == pytest.approx(
        (min(latency.samples) / 1e9, max(latency.samples) / 1e9), abs=1e-9
    )
    (note,) = quiet.notes
    assert note.startswith("the step's time was still changing when the rounds ended")
    assert Record.from_json(json.loads(json.dumps(quiet.to_json()))) == quiet
    assert (wide.indicators["latency"].detail, wide.notes) == ({}, ())


def test_each_group_has_rounds_of_its_own() -> None:
    bench = Bench(a_study(), "here")
    ids = [bench.measure(QUIET).record.indicators["latency"].rounds.id for _ in range(2)]
    assert ids[0] != ids[1]


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_peak_memory_counts_nobody_elses_model_or_gradients(mode: str) -> None:
    cases = [dataclasses.replace(case, mode=mode) for case in (QUIET, WIDE)]  # type: ignore[arg-type]
    study = a_study(optimizer="adamw")
    beside = list(Bench(study, "here").measure_together(cases))
    for one in beside:
        alone = Bench(study, "here").measure(one.record.case).record
        assert one.record.indicators["peak_memory"] == alone.indicators["peak_memory"]
    # Inference holds the parameters, the input and both layers' outputs.
    if mode == "infer":
        width = 32
        assert beside[1].record.indicators["peak_memory"].value == (2 * (width * width + width) + 3 * 16 * width) * 4


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("raising", "ValueError: a first line"),
        ("failing_to_build", "the factory workload:failing_to_build failed: KeyError: 'weights'"),
    ],
)
def test_one_that_fails_drops_out_and_the_others_go_on(name: str, reason: str) -> None:
    outcomes = together(Bench(a_study(), "here"), QUIET, a_case(name), WIDE)
    assert (outcomes[name].record.status, outcomes[name].record.reason) == ("error", reason)
    assert outcomes[name].record.indicators == {}
    quiet, wide = (outcomes[each].record for each in ("quiet", "wide"))
    assert (quiet.status, wide.status) == ("ok", "ok")
    assert quiet.indicators["latency"].rounds.id == wide.indicators["latency"].rounds.id


def test_where_all_fail_the_yardstick_is_not_timed_for_long() -> None:
    study = a_study(measure={"min_samples": 6, "max_samples": 10_000, "max_seconds": 1000})
    cases = [a_case("raising"), a_case("raising", mode="train")]
    assert [one.record.status for one in Bench(study, "here").measure_together(cases)] == ["error", "error"]


def crowd(monkeypatch: pytest.MonkeyPatch, bench: Bench, names: Sequence[str]) -> None:
    """Let the steps of some models run out of memory as long as any other model is loaded."""
    original = Step.__call__

    def scarce(step: Step) -> None:
        if step.case.model.partition(":")[2] in names and len(bench.models) > 1:
            raise MemoryError
        original(step)

    monkeypatch.setattr(Step, "__call__", scarce)


def test_what_does_not_fit_beside_the_others_is_measured_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(a_study(), "here")
    crowd(monkeypatch, bench, ["wide"])
    third = a_case("noisy")
    outcomes = together(bench, QUIET, WIDE, third)
    assert list(outcomes) == ["quiet", "noisy", "wide"]
    assert [one.record.status for one in outcomes.values()] == ["ok"] * 3
    details = {name: one.record.indicators["latency"].rounds.id for name, one in outcomes.items()}
    assert details["quiet"] == details["noisy"] != details["wide"]
    (note,) = outcomes["wide"].record.notes
    assert note.startswith("timed by itself, not in the same rounds as what it is compared with: ")
    assert outcomes["quiet"].record.notes == ()


def test_where_none_fits_beside_another_all_are_measured_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(a_study(), "here")
    crowd(monkeypatch, bench, ["quiet", "wide"])
    outcomes = together(bench, QUIET, WIDE)
    assert [one.record.status for one in outcomes.values()] == ["ok", "ok"]
    assert len(bench.models) == 1


def test_a_model_that_cannot_be_loaded_beside_the_others_is_measured_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(a_study(), "here")
    original = registry.load

    def load(model: str, **request: Any) -> Any:
        if model == "workload:wide" and len(bench.models):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(model, **request)

    monkeypatch.setattr(registry, "load", load)
    outcomes = together(bench, QUIET, WIDE)
    assert [one.record.status for one in outcomes.values()] == ["ok", "ok"]
    assert len(outcomes["wide"].record.notes) == 1


def test_only_what_is_out_of_memory_by_itself_is_so() -> None:
    study = a_study(memory_budget="64 MiB")
    bench = Bench(study, "here")
    original = bench.models.get

    class TooLargeError(MemoryError):
        pass

    def get(case: Case, beside: Sequence[Case] = ()) -> Any:
        if case == WIDE:
            raise TooLargeError
        return original(case, beside)

    bench.models.get = get  # type: ignore[method-assign]
    outcomes = together(bench, QUIET, WIDE)
    assert outcomes["quiet"].record.status == "ok"
    assert (outcomes["wide"].record.status, outcomes["wide"].record.reason) == ("oom", "out of memory: TooLargeError")
    assert outcomes["wide"].record.notes == ()


def test_strangers_models_go_before_a_group_is_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(a_study(), "here")
    assert bench.measure(a_case("noisy")).record.status == "ok"
    original = Step.__call__

    def scarce(step: Step) -> None:
        if len(bench.models) > 2:
            raise MemoryError
        original(step)

    monkeypatch.setattr(Step, "__call__", scarce)
    outcomes = together(bench, QUIET, WIDE)
    assert [one.record.notes for one in outcomes.values()] == [(), ()]
    assert len({one.record.indicators["latency"].rounds.id for one in outcomes.values()}) == 1


def test_a_groups_models_stay_however_scarce_the_memory_and_strangers_go() -> None:
    bench = Bench(dataclasses.replace(a_study(), memory_budget=1000), "here")
    stranger = bench.models.get(a_case("noisy"))
    group = (QUIET, WIDE)
    models = [bench.models.get(case, group) for case in group]
    assert len(bench.models) == 2
    assert [bench.models.get(case, group) for case in group] == models
    assert bench.models.get(a_case("noisy")) is not stranger
    assert len(bench.models) == 1


def test_only_what_is_asked_for_is_measured_in_a_group_too() -> None:
    outcomes = together(Bench(a_study(metrics=["peak_memory", "parameters"]), "here"), QUIET, WIDE)
    for one in outcomes.values():
        assert set(one.record.indicators) == {"peak_memory", "parameters"}


@pytest.mark.parametrize(("most", "confidence"), [(6, CONFIDENCE), (7, LOOKED_AT)])
def test_a_level_is_noted_where_rounds_are_looked_at_more_than_once(most: int, confidence: float) -> None:
    care = {"min_samples": 6, "max_samples": most, "max_seconds": 5.0, "precision": 1e-6}
    study = a_study(metrics=["latency"], measure=care)
    latency = together(Bench(study, "here"), QUIET)["quiet"].record.indicators["latency"]
    assert latency.rounds.confidence == confidence
    assert latency.low == pytest.approx(min(latency.samples) * 1e-9, rel=1e-3)


def rounds(**samples: Callable[[int], int]) -> Interleaved:
    """Twenty rounds."""
    taken = {name: [sample(index) for index in range(20)] for name, sample in samples.items()}
    return Interleaved(
        samples=taken, waits={name: [0] * 20 for name in taken}, repeats=dict.fromkeys(taken, 1), count=20
    )


def steady(index: int) -> int:
    return 1_000_000 + index % 3


def flipping(index: int) -> int:
    return 1_000_000 * (1 + index % 2)


def test_rounds_go_on_until_every_median_and_every_ratio_is_precise() -> None:
    def reached(taken: Interleaved) -> bool:
        return AllPrecise(0.01, 6).reached(taken)

    assert reached(rounds(one=steady, two=steady))
    assert not reached(rounds(one=steady, two=flipping))

    # Both medians are precise to one percent, and their ratio is not.
    def up(index: int) -> int:
        return 1_000_000 + 16_000 * (index % 2)

    def down(index: int) -> int:
        return 1_000_000 + 16_000 * ((index + 1) % 2)

    assert reached(rounds(one=up))
    assert reached(rounds(one=up, two=up))
    assert not reached(rounds(one=up, two=down))
    # The yardstick may be as unsteady as it likes.
    assert reached(rounds(**{"one": steady, NAME: flipping}))
    assert reached(rounds(**{NAME: flipping}))


def test_rounds_of_a_step_that_is_still_cold_are_not_precise() -> None:
    def cold(index: int) -> int:
        return 5_000_000 if index < 16 else 1_000_000

    def warm(index: int) -> int:
        return 5_000_000 if index < 8 else 1_000_000

    rule = AllPrecise(0.01, 6)
    assert not rule.reached(rounds(one=cold, two=steady))
    left = rounds(one=warm, two=steady)
    assert AllPrecise(0.01, 6).reached(left)
    assert left.begin == 8


def test_the_looks_at_the_precision_are_spaced_out() -> None:
    rule, looked = AllPrecise(0.01, 6), []
    taken = rounds(one=flipping)
    original = taken.seconds
    for count in range(1, 21):
        taken.count = count
        taken.seconds = lambda name, _: looked.append(taken.count) or original(name)  # type: ignore[method-assign,func-returns-value]
        assert not rule.reached(taken)
    assert looked == [6, 7, 8, 10, 12, 15, 18]
