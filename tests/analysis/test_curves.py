from __future__ import annotations

from dataclasses import replace

from pyprof.analysis.curves import Curves, describe, distinguishing, setting
from pyprof.records.case import Case
from pyprof.records.comparison import Subject
from pyprof.records.record import Record

ONE = Record(Case("bert", 62), "ok", "abcdefghijkl", "t", 1.0)


def test_curves_hold_one_record_for_each_length_in_order() -> None:
    long, stale = replace(ONE, case=Case("bert", 900)), replace(ONE, status="error")
    curves = Curves.of([long, stale, ONE])
    assert list(curves.all[Subject("bert", "eager"), setting(ONE)].values()) == [ONE, long]
    assert list(curves.records) == [ONE, long]


def test_what_failed_is_not_ok() -> None:
    failed = replace(ONE, status="oom")
    curves = Curves.of([failed])
    assert (len(curves.all), curves.ok) == (1, {})


def test_only_some_models() -> None:
    curves = Curves.of([ONE, replace(ONE, case=Case("vit", 32))])
    assert [subject.model for subject, _ in curves.only({"vit"}).all] == ["vit"]


def test_a_title_names_what_differs_and_nothing_else() -> None:
    first = setting(ONE)
    second = replace(first, dtype="bfloat16", compiled=True, mode="train", batch="largest")
    assert distinguishing([first, first]) == ()
    names = distinguishing([first, second])
    assert names == ("dtype", "compiled")
    assert describe(second, names) == "bfloat16, compiled"
    assert describe(first, names) == "float32, not compiled"
    assert describe(first, ("environment",)) == "machine abcdefgh"


def test_a_subject_says_its_weights() -> None:
    assert str(Subject("bert", "sdpa")) == "bert sdpa"
    assert str(Subject("bert", "sdpa", "mine")) == "bert sdpa (mine)"
