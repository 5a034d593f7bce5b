"""The factories of the studies on sparsity and on backbones, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from model_steps import PlainStep

from pyprof.indicators import flops, parameters
from pyprof.models import backbones, sparse
from pyprof.records import study as studies
from pyprof.study.resolve import resolve

ROWS = 16
STUDIES = ["sparsity", "backbone", "families", "misnomer-all", "vit-patch", "vit-scaling", "generation", "optimizers"]


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_is_about_what_there_is(name: str) -> None:
    resolved = resolve(studies.load(name))
    assert resolved.pairings
    assert {"parameters", "flops", "latency"} <= {each.name for each in resolved.indicators}
    assert resolved.published is not None


def test_every_model_of_the_registry_is_in_the_study_of_all() -> None:
    from pyprof.models.registry import entries

    assert set(studies.load("misnomer-all").models) == {entry.name for entry in entries()}


@pytest.mark.parametrize(
    ("factory", "weights"),
    [
        (sparse.dense, sparse.WIDTH * sparse.INNER),
        (sparse.unstructured, round(sparse.DENSITY * sparse.WIDTH * sparse.INNER)),
        (sparse.factorised, sparse.RANK * (sparse.WIDTH + sparse.INNER)),
    ],
)
def test_flops_and_parameters_fall_alike(factory: Any, weights: int) -> None:
    module, inputs = factory()
    step = PlainStep(module, *inputs(ROWS, 1))
    matrices = 2 * sparse.LAYERS
    assert parameters.count(step).value == matrices * weights
    reading = flops.count(step)
    assert (reading.value, reading.detail["uncounted"]) == (2 * ROWS * matrices * weights, {})


def test_bytes_save_what_their_table_of_words_takes() -> None:
    with torch.device("meta"):
        words, letters = (
            sum(parameter.numel() for parameter in make().parameters())
            for make in (backbones.decoder, backbones.byte_decoder)
        )
    assert words - letters == (backbones.SUBWORDS - backbones.BYTES) * backbones.WIDTH
