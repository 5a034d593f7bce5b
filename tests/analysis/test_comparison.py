from __future__ import annotations

from pyprof.records.case import Case
from pyprof.records.comparison import Comparison, ModelFacts, default_comparisons
from pyprof.records.record import Record

FACTS = {
    "vit": ModelFacts("vision", "pixel", None, "full", ("sdpa", "eager"), "eager"),
    "swin": ModelFacts(
        "vision", "pixel", "vit", "fixed", ("sdpa", "eager"), "eager", periods={"sdpa": 112, "eager": 112}
    ),
    "l-hubert": ModelFacts("speech", "token", "hubert", "fixed", ("fused", "chunks"), "chunks"),
}


def records(*pairs: tuple[str, str]) -> list[Record]:
    return [Record(Case(model, 64, attention=attention), "ok", "e", "t", 1.0) for model, attention in pairs]


def test_then_and_now_are_derived_from_what_was_measured() -> None:
    every = records(("vit", "eager"), ("vit", "sdpa"), ("swin", "eager"), ("swin", "sdpa"))
    assert default_comparisons(every, FACTS) == (
        Comparison("then", "swin", "eager", "vit", "eager", "vision", "pixel", 112),
        Comparison("now", "swin", "sdpa", "vit", "sdpa", "vision", "pixel", 112),
    )


def test_now_takes_the_best_measured_implementation() -> None:
    (one,) = default_comparisons(records(("vit", "sdpa"), ("swin", "eager")), FACTS)
    assert (one.name, one.variant_attention, one.vanilla_attention) == ("now", "eager", "sdpa")


def test_the_same_pair_is_compared_once() -> None:
    assert [one.name for one in default_comparisons(records(("vit", "eager"), ("swin", "eager")), FACTS)] == ["then"]


def test_a_model_without_its_vanilla_model_is_not_compared() -> None:
    assert default_comparisons(records(("swin", "eager"), ("l-hubert", "chunks"), ("mine", "eager")), FACTS) == ()
