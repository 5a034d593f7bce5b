"""Narrowing a study: the same checks as for a file."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyprof.errors import UsageError
from pyprof.records.study import load
from pyprof.records.study_parts import Lengths
from pyprof.study.narrow import Narrowing, narrow

QUICK = load("quick")


def test_nothing_to_narrow_changes_nothing() -> None:
    assert narrow(QUICK, Narrowing()) == QUICK


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("128,512", Lengths((128, 512))),
        ("512", Lengths((512,))),
        ("128:256:64", Lengths((128, 192, 256))),
        ("auto", Lengths((128, 512, 1024, 1536, 2048), auto=True)),
        ("auto:128:256:64", Lengths((128, 192, 256), auto=True)),
    ],
)
def test_lengths(text: str, lengths: Lengths) -> None:
    study = narrow(QUICK, Narrowing(lengths=text, models=("bert", "longformer")))
    assert study.blocks[0].lengths == lengths


@pytest.mark.parametrize(
    ("narrowing", "message"),
    [
        (Narrowing(lengths="128;512"), "lengths are written 128,512 or 128:2048:64"),
        (Narrowing(lengths="128:2048"), "lengths are written"),
        (Narrowing(lengths="auto:"), None),
        (Narrowing(lengths="128:2048:-64"), "step must be at least 1, not -64"),
        (Narrowing(lengths="0,128"), "at least 1, not 0"),
        (Narrowing(models=("brt",)), r"the study quick has no model 'brt': did you mean 'bert'\?"),
        (Narrowing(modes=("trian",)), r"quick as narrowed: modes has no mode 'trian': did you mean 'train'\?"),
        (Narrowing(settings={"time_budget": "soon"}), "'soon' is not a duration"),
        (Narrowing(settings={"sise": "tiny"}), r"no key 'sise': did you mean 'size'\?"),
        (Narrowing(measure={"precision": 0}), "precision must be above 0"),
    ],
)
def test_refusals(narrowing: Narrowing, message: str | None) -> None:
    if message is None:
        assert narrow(QUICK, narrowing).blocks[0].lengths.auto
        return
    with pytest.raises(UsageError, match=message):
        narrow(QUICK, narrowing)


def test_what_is_said_of_a_model_goes_with_it() -> None:
    rules = {"bert": (("pooler", "pooling"),), "swin": (("head", "other"),)}
    study = replace(QUICK, kinds=rules, weights={"swin": "there"})
    narrowed = narrow(study, Narrowing(models=("bert", "longformer")))
    assert (narrowed.kinds, narrowed.weights) == ({"bert": rules["bert"]}, {})


def test_models_keep_their_comparison_where_the_vanilla_model_stays() -> None:
    blocks = narrow(QUICK, Narrowing(models=("bert", "nystromformer", "swin"))).blocks
    assert [(block.vanilla, block.variants) for block in blocks] == [("bert", ("nystromformer",)), ("swin", ())]


def test_settings_and_care() -> None:
    study = narrow(
        QUICK,
        Narrowing(
            modes=("train",),
            metrics=("parameters",),
            implementations=("sdpa/eager",),
            settings={"time_budget": "90 s", "size": "tiny", "device": "cpu"},
            measure={"max_samples": 20},
        ),
    )
    assert (study.modes, study.metrics, study.time_budget) == (("train",), ("parameters",), 90.0)
    assert (study.size, study.device, study.care.max_samples) == ("tiny", "cpu", 20)
    assert study.care.precision == QUICK.care.precision
    assert study.blocks[0].implementations == ("sdpa/eager",)
