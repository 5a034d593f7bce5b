"""Planning with simulated costs."""

from __future__ import annotations

import time

import pytest
from simulated_machine import Simulated, make_study, quadratic

from pyprof.records.case import Case
from pyprof.records.record import Record
from pyprof.records.study import Study
from pyprof.study.foregone import why_foregone
from pyprof.study.groups import Group, Stage
from pyprof.study.plan import Plan
from pyprof.study.prediction import Prediction
from pyprof.study.preview import preview
from pyprof.study.resolve import resolve


def plan_of(study: Study) -> Plan:
    return Plan(study, resolve(study), "cpu")


def all_groups(study: Study, simulated: Simulated) -> list[Group]:
    """Measure all that the plan wants, group by group."""
    plan, prediction = plan_of(study), Prediction(study, threads=2)
    records: dict[str, Record] = {}
    groups = []
    while (group := plan.next(records, records.keys(), prediction)) is not None:
        groups.append(group)
        for case in group.cases:
            records[case.key] = simulated.measure(case).record
            prediction.observe(records[case.key])
    return groups


def test_then_and_now_are_resolved_and_equal_pairs_are_planned_once() -> None:
    block = {"vanilla": "vit", "variants": ["swin"], "lengths": [224], "implementations": ["then", "now", "eager"]}
    found = resolve(make_study(comparison=[block])).pairings
    assert [(each.name, each.vanilla.attention, each.variant and each.variant.attention) for each in found] == [
        ("then", "eager", "eager"),
        ("now", "sdpa", "sdpa"),
    ]


def test_two_implementations_in_one_comparison() -> None:
    block = {"vanilla": "bert", "variants": ["longformer"], "lengths": [512], "implementations": ["sdpa/eager"]}
    (comparison,) = resolve(make_study(comparison=[block])).comparisons
    assert (comparison.vanilla_attention, comparison.variant_attention) == ("sdpa", "eager")
    assert (comparison.modality, comparison.unit, comparison.name) == ("text", "token", "sdpa/eager")


def test_a_factory_is_a_model_too() -> None:
    block = {"vanilla": "some.where:make", "lengths": [4], "implementations": ["now"]}
    plan = plan_of(make_study(comparison=[block]))
    group = plan.next({}, set(), Prediction(plan.study))
    assert group is not None
    assert group.cases == (Case("some.where:make", 4, attention="own"),)


def test_without_a_budget_every_length_is_measured_cheapest_first(simulated: Simulated) -> None:
    groups = all_groups(make_study(modes=["infer", "train"]), simulated)
    assert len(simulated.measured) == len(set(simulated.measured)) == 20
    assert {case.length for case in simulated.measured} == {128, 512, 1024, 1536, 2048}
    assert simulated.measured[0].length == 128
    assert (simulated.measured[-1].length, simulated.measured[-1].mode) == (2048, "train")
    assert all(len({(case.length, case.mode) for case in group.cases}) == 1 for group in groups)


def test_models_of_a_comparison_are_measured_next_to_each_other(simulated: Simulated) -> None:
    all_groups(make_study(), simulated)
    order = [(case.length, case.model) for case in simulated.measured]
    for first, second in zip(order[::2], order[1::2], strict=True):
        assert (first[0], first[1], second[1]) == (second[0], "bert", "longformer")


def test_with_a_budget_the_crossing_comes_before_training_and_the_rest(simulated: Simulated) -> None:
    # longformer falls below bert at 1000 tokens, so 512 and 1024 bracket the crossing.
    groups = all_groups(make_study(modes=["infer", "train"], time_budget=10_000), simulated)
    first = groups[0]
    assert (first.stage, first.cases[0].mode, first.cases[0].length) == (Stage.SHORTEST, "infer", 128)
    stages = [group.stage for group in groups]
    assert stages == sorted(stages)
    inference = {case.length for group in groups if group.stage < Stage.ANSWER for case in group.cases}
    assert {512, 1024} <= inference
    assert 2048 not in inference
    assert {case.mode for group in groups if group.stage < Stage.ANSWER for case in group.cases} == {"infer"}


def test_training_gets_the_fewest_lengths_that_answer_it(simulated: Simulated) -> None:
    groups = all_groups(make_study(modes=["infer", "train"], time_budget=10_000), simulated)
    answering = [group.cases[0] for group in groups if group.stage == Stage.ANSWER]
    # At 1024 tokens the two are too near to one another to be told apart.
    assert [(case.mode, case.length) for case in answering] == [("train", 128), ("train", 1536)]


def test_where_no_crossing_is_predicted_the_longest_length_is_tried(simulated: Simulated) -> None:
    block = {"vanilla": "hubert", "variants": ["l-hubert"], "lengths": [500, 1000, 2000], "implementations": ["then"]}
    groups = all_groups(make_study(time_budget=10_000, comparison=[block]), simulated)
    by_stage = {group.stage: group.cases[0].length for group in groups}
    assert by_stage[Stage.LONGEST] == 2000


def test_automatic_lengths_find_the_crossing_with_few_measurements(simulated: Simulated) -> None:
    lengths = {"start": 62, "stop": 3362, "step": 60, "auto": True}
    block = {"vanilla": "bert", "variants": ["longformer"], "lengths": lengths, "implementations": ["then"]}
    all_groups(make_study(comparison=[block]), simulated)
    measured = sorted({case.length for case in simulated.measured})
    below = max(length for length in measured if length < 1000)
    above = min(length for length in measured if length >= 1000)
    # The intervals of one percent leave lengths around the crossing undecided, so that the last gap may be some steps.
    assert above - below <= 3 * 60
    assert len(simulated.measured) <= 2 * 56 / 5


def test_a_tolerance_ends_the_search_earlier() -> None:
    counts = []
    for tolerance in (0, 600):
        lengths = {"start": 62, "stop": 3362, "step": 60, "auto": True, "tolerance": tolerance}
        block = {"vanilla": "bert", "variants": ["longformer"], "lengths": lengths, "implementations": ["then"]}
        simulated = Simulated(quadratic)
        all_groups(make_study(comparison=[block]), simulated)
        counts.append(len(simulated.measured))
    assert counts[1] < counts[0]


def test_throughput_is_a_case_of_its_own() -> None:
    study = make_study(metrics=["latency", "throughput", "parameters"])
    cases = plan_of(study).outstanding({}, set(), Prediction(study))
    assert {case.batch for case in cases} == {1, "largest"}
    assert len(cases) == 2 * 2 * 5


def test_a_group_takes_only_pairs_that_fit_whole() -> None:
    study = make_study(comparison=[{"vanilla": "bert", "variants": ["longformer", "nystromformer"], "lengths": [2048]}])
    prediction = Prediction(study)
    group = plan_of(study).next({}, set(), prediction)
    assert group is not None
    seconds = {case.model: prediction.seconds(case) for case in group.cases if case.attention == "eager"}
    assert seconds["longformer"] > seconds["nystromformer"]
    enough = seconds["bert"] + seconds["nystromformer"] + 1.0
    assert [case.model for case in group.fitting(prediction, enough)] == ["bert", "nystromformer"]
    assert group.fitting(prediction, seconds["bert"] + 1.0) == ()


@pytest.mark.parametrize(
    ("status", "expected"), [("oom", "ran out of memory"), ("timeout", "took too long"), ("error", None)]
)
def test_longer_lengths_after_a_failure_need_no_measuring(status: str, expected: str | None) -> None:
    failed = Case("bert", 1024)
    records = {failed.key: Record(failed, status, "here", "", 1.0, "failed")}  # type: ignore[arg-type]
    reason = why_foregone(Case("bert", 1536), records)
    assert (reason is None) == (expected is None)
    assert expected is None or (reason is not None and expected in reason and "1024" in reason)
    assert why_foregone(Case("bert", 512), records) is None
    assert why_foregone(Case("bert", 1536, mode="train"), records) is None


def test_an_implementation_without_backward_is_not_trained() -> None:
    assert "cannot be trained with flex" in str(why_foregone(Case("l-hubert", 100, "train", "flex"), {}))
    assert why_foregone(Case("l-hubert", 100, "infer", "flex"), {}) is None
    assert why_foregone(Case("l-hubert", 100, "train", "fused"), {}) is None


def test_preview_lists_every_case_with_its_seconds() -> None:
    everything = preview(make_study(), threads=2)
    assert len(everything.forecasts) == 10
    assert all(forecast.fits and forecast.seconds > 0 for forecast in everything.forecasts)
    hurried = preview(make_study(time_budget=40), threads=2)
    assert len(hurried.forecasts) == 10
    assert not all(forecast.fits for forecast in hurried.forecasts)
    assert hurried.seconds <= 40


def test_all_groups_are_the_ones_that_come_one_by_one(simulated: Simulated) -> None:
    study = make_study(modes=["infer", "train"])
    plan, prediction = plan_of(study), Prediction(study, threads=2)
    settled: set[str] = set()
    one_by_one = []
    while (group := plan.next({}, settled, prediction)) is not None:
        one_by_one.append(group)
        settled |= {case.key for case in group.cases}
    assert plan.all({}, set(), prediction) == tuple(one_by_one)


@pytest.mark.parametrize("budget", [40, 400])
def test_groups_of_a_hurried_plan_are_those_that_it_gives_one_by_one(simulated: Simulated, budget: float) -> None:
    def taken(one_by_one: bool) -> list[Case]:
        study = make_study(modes=["infer", "train"], time_budget=budget)
        plan, prediction = plan_of(study), Prediction(study, threads=2)
        records: dict[str, Record] = {}
        settled: set[str] = set()
        left, order = budget, []
        asked = iter(lambda: plan.next(records, settled, prediction), None)
        for group in asked if one_by_one else plan.groups(records, settled, prediction):
            fitting = group.fitting(prediction, left)
            settled |= {case.key for case in group.cases}
            order += group.cases
            for case in fitting:
                left -= prediction.seconds(case)
                records[case.key] = simulated.measure(case).record
                prediction.observe(records[case.key])
        return order

    assert taken(one_by_one=False) == taken(one_by_one=True)


def test_ten_thousand_lengths_in_a_budget_are_previewed_in_seconds() -> None:
    begin = time.process_time()
    block = {"vanilla": "bert", "variants": ["longformer"], "lengths": [*range(1, 10_001)], "implementations": ["then"]}
    study = make_study(comparison=[block], time_budget=60)
    assert len(preview(study, threads=2).forecasts) >= 20_000
    assert time.process_time() - begin < 60


def test_a_preview_lists_groups_in_their_order() -> None:
    forecasts = preview(make_study(), threads=2).forecasts
    assert [(one.case.length, one.case.model) for one in forecasts] == [
        (length, model) for length in (128, 512, 1024, 1536, 2048) for model in ("bert", "longformer")
    ]
