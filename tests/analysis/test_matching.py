from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from pyprof.analysis.matching import Dimension, match
from pyprof.errors import UsageError


def parameters(given: Mapping[str, int]) -> float:
    """Those of an encoder's layers and its table of tokens."""
    width, inner, depth = given.get("width", 768), given.get("ffn", 3072), given.get("depth", 12)
    return 30_000 * width + depth * (4 * width * width + 2 * width * inner + 13 * width)


def flops(given: Mapping[str, int], length: int = 512) -> float:
    width, inner, depth = given.get("width", 768), given.get("ffn", 3072), given.get("depth", 12)
    return 2 * depth * length * (4 * width * width + 2 * width * inner + 2 * length * width)


FREE = {
    "ffn": (Dimension("ffn", 3072, 8),),
    "depth and ffn": (Dimension("depth", 12), Dimension("ffn", 3072, 8)),
    "width and ffn": (Dimension("width", 768, 64), Dimension("ffn", 3072, 8)),
    "width": (Dimension("width", 768, 2),),
}


@pytest.mark.parametrize("free", FREE)
@pytest.mark.parametrize("figure", [parameters, flops])
def test_what_is_matched_lies_within_one_percent(free, figure):
    rng = random.Random(free)
    start = {each.name: each.start for each in FREE[free]}
    for _ in range(20):
        target = figure(start) * rng.uniform(0.6, 2.5)
        found = match(figure, FREE[free], target)
        assert abs(found.off) <= 0.01
        assert found.figure == figure(found.dimensions)
        assert found.tried <= 20
        assert all(found.dimensions[each.name] % each.step == 0 for each in FREE[free])


def test_noise_of_a_measured_figure_is_borne():
    rng = random.Random(1)
    found = match(lambda given: flops(given) * rng.uniform(0.998, 1.002), FREE["ffn"], flops({"ffn": 5000}))
    assert abs(flops(found.dimensions) / flops({"ffn": 5000}) - 1) <= 0.012


def test_what_cannot_be_matched_says_how_near_it_comes():
    target = parameters({"depth": 12}) * 1.05
    with pytest.raises(UsageError, match=r"the nearest one \(depth 13\) is \+\d\.\d % off, so free a finer dimension"):
        match(parameters, (Dimension("depth", 12),), target)


def test_a_dimension_that_changes_nothing_is_refused():
    with pytest.raises(UsageError, match="no configuration is within 1%"):
        match(lambda given: 100.0, (Dimension("heads", 12),), 200.0)
    with pytest.raises(UsageError, match="without a free dimension"):
        match(parameters, (), 1.0)


def test_the_target_itself_is_found_at_once():
    found = match(parameters, FREE["ffn"], parameters({}))
    assert (found.dimensions, found.off, found.tried) == ({"ffn": 3072}, 0.0, 1)
