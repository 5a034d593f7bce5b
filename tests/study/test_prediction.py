"""Predicted costs: first from operations, then from what was measured."""

from __future__ import annotations

import pytest
from simulated_machine import Simulated, make_study, quadratic

from pyprof.models import registry
from pyprof.records.case import Case
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.study_parts import Care
from pyprof.study.prediction import BATCHED_SHARE, Prediction, most_samples


def test_without_measurements_time_goes_with_operations_over_the_rate() -> None:
    prediction = Prediction(make_study(), rate=1e11)
    for length in (128, 2048):
        assert prediction.step_seconds(Case("bert", length)) == pytest.approx(
            registry.entry("bert").work(length) / 1e11
        )
    infer, train = Case("bert", 512), Case("bert", 512, mode="train")
    assert prediction.step_seconds(train) == pytest.approx(3 * prediction.step_seconds(infer))


def test_a_measured_length_is_predicted_as_measured(simulated: Simulated) -> None:
    prediction = Prediction(make_study())
    for length in (128, 1024):
        prediction.observe(simulated.measure(Case("bert", length)).record)
    for length in (128, 1024):
        assert prediction.step_seconds(Case("bert", length)) == pytest.approx(quadratic(Case("bert", length)))


def test_two_lengths_tell_how_a_quadratic_cost_goes_on(simulated: Simulated) -> None:
    prediction = Prediction(make_study())
    for length in (128, 512):
        prediction.observe(simulated.measure(Case("bert", length)).record)
    longer = Case("bert", 2048)
    assert prediction.step_seconds(longer) == pytest.approx(quadratic(longer), rel=1e-6)


def test_a_curve_without_measurements_takes_the_pace_of_its_nearest_relative() -> None:
    simulated = Simulated(lambda case: 10.0 if case.model == "vit" else 1.0)
    prediction = Prediction(make_study())
    prediction.observe(simulated.measure(Case("vit", 224)).record)
    prediction.observe(simulated.measure(Case("bert", 512, attention="sdpa")).record)
    assert prediction.step_seconds(Case("bert", 512)) == pytest.approx(1.0)
    assert prediction.step_seconds(Case("bert", 512, attention="sdpa", mode="train")) == pytest.approx(3.0)


def test_set_up_is_learned_for_the_first_case_of_a_model_and_for_later_ones(simulated: Simulated) -> None:
    simulated.build_seconds = 30.0
    prediction = Prediction(make_study())
    prediction.observe(simulated.measure(Case("bert", 128)).record)
    first = prediction.seconds(Case("longformer", 128)) - 8 * prediction.step_seconds(Case("longformer", 128))
    assert first == pytest.approx(30.3, abs=0.01)
    prediction.observe(simulated.measure(Case("bert", 512)).record)
    later = prediction.seconds(Case("bert", 1024)) - 8 * prediction.step_seconds(Case("bert", 1024))
    assert later == pytest.approx(0.3, abs=0.01)


def test_the_usual_number_of_samples_is_learned() -> None:
    study = make_study(measure={"min_samples": 6, "max_samples": 106, "max_seconds": 1000})
    simulated = Simulated(lambda case: 1.0)
    prediction = Prediction(study)
    assert prediction.seconds(Case("bert", 512)) > 106 * prediction.step_seconds(Case("bert", 512))
    for length in range(100, 2100, 100):
        prediction.observe(simulated.measure(Case("bert", length)).record)
    assert prediction.seconds(Case("bert", 555)) < 12


def test_failures_teach_nothing() -> None:
    prediction = Prediction(make_study(), rate=1e11)
    case = Case("bert", 512)
    before = prediction.seconds(case)
    prediction.observe(Record(case, "timeout", "here", "", 900.0, "slow"))
    assert prediction.seconds(case) == before


@pytest.mark.parametrize(
    ("step", "samples"),
    [(0.001, 100), (0.5, 20), (1.0, 10), (2.0, 6), (4.0, 4), (100.0, 1)],
)
def test_most_samples(step: float, samples: int) -> None:
    assert most_samples(step, Care(min_samples=6, max_samples=100, max_seconds=10.0)) == samples


def test_the_largest_batch_costs_more_than_one_example() -> None:
    prediction = Prediction(make_study(batch_limit=8), rate=1e11)
    one, largest = Case("bert", 512), Case("bert", 512, batch="largest")
    assert prediction.seconds(largest) > 8 * 8 * prediction.step_seconds(one)


def test_a_group_shares_its_rounds_and_the_time_for_them() -> None:
    study = make_study(measure={"min_samples": 6, "max_samples": 100, "max_seconds": 10})
    simulated = Simulated(lambda case: 0.5 if case.model == "bert" else 1.5)
    prediction = Prediction(study)
    group = (Case("bert", 512), Case("longformer", 512))
    for case in group:
        prediction.observe(simulated.measure(case).record)
    prediction._beyond = 1.0
    alone = [prediction.seconds(case) for case in group]
    together = prediction.together(group)
    # Twenty seconds for both are ten rounds of two seconds; by itself bert would have taken twenty samples in ten.
    assert [alone[0] - 0.3, alone[1] - 0.3] == pytest.approx([22 * 0.5, 8 * 1.5], abs=0.01)
    assert [together[case] - 0.3 for case in group] == pytest.approx([12 * 0.5, 12 * 1.5], abs=0.01)


def a_score(case: Case, step: float, seconds: float, examples: int) -> Record:
    """A record of a case whose model was trained, for so many seconds on so many examples."""
    indicators = {
        "latency": Reading(step, samples=(round(step * 1e9),) * 6),
        "image_accuracy": Reading(0.5, detail={"seconds": seconds, "examples": examples}),
    }
    return Record(case, "ok", "here", "2026-01-01T00:00:00+00:00", 1.0 + seconds, indicators=indicators)


def test_trainings_are_a_part_of_the_time_of_the_case_that_has_their_length() -> None:
    comparison = [{"vanilla": "lra-transformer", "variants": ["lra-linear"], "lengths": [64, 128]}]
    changes = {"modes": ["train"], "size": "tiny", "comparison": comparison}
    without = Prediction(make_study(**changes))
    training = {"seeds": 2, "steps": 10}
    prediction = Prediction(make_study(**changes, metrics=["latency", "image_accuracy"], training=training))
    at, beside = (Case("lra-linear", length, mode="train", size="tiny") for length in (64, 128))
    examples = 2 * 10 * 32
    expected = examples * BATCHED_SHARE * prediction.step_seconds(at)
    assert prediction.seconds(at) - without.seconds(at) == pytest.approx(expected)
    assert prediction.seconds(beside) == pytest.approx(without.seconds(beside))
    # What another model took is what this one is expected to take.
    other = Case("lra-transformer", 64, mode="train", size="tiny")
    prediction.observe(a_score(other, 4e-3, 100.0, examples))
    again = examples * prediction.step_seconds(at) * 100.0 / (examples * 4e-3)
    assert prediction._training_seconds(at) == pytest.approx(again)
    assert prediction._around[False] < 5
    limited = {**training, "budget": "3 s"}
    shorter = Prediction(make_study(**changes, metrics=["latency", "image_accuracy"], training=limited))
    assert shorter._training_seconds(at) <= 6.0
