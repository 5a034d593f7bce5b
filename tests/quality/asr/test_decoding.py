from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest

from pyprof.errors import UsageError
from pyprof.quality.asr.decoding import beam_search, greedy, parse_decoding


def frames(rows: list[list[float]]) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.array(rows))


def collapsed(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != blank)


def labellings(probabilities: np.ndarray, blank: int) -> dict[tuple[int, ...], float]:
    """The probability of every labelling: the sum over all of its paths."""
    found: dict[tuple[int, ...], float] = defaultdict(float)
    count, symbols = probabilities.shape
    for path in itertools.product(range(symbols), repeat=count):
        found[collapsed(path, blank)] += math.prod(probabilities[frame, symbol] for frame, symbol in enumerate(path))
    return found


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_finds_the_most_probable_labelling_and_its_probability(seed: int, blank: int) -> None:
    probabilities = np.random.default_rng(seed).dirichlet([0.4] * 3, size=6)
    every = labellings(probabilities, blank)
    best = max(every, key=every.__getitem__)
    found, logarithm = beam_search(np.log(probabilities), 1000, blank=blank, least=-math.inf)
    assert tuple(found) == best
    assert logarithm == pytest.approx(math.log(every[best]))


def test_a_beam_sums_the_paths_that_greedy_decoding_does_not_see() -> None:
    rows = frames([[0.6, 0.4], [0.6, 0.4]])
    assert greedy(rows) == []
    found, logarithm = beam_search(rows, 4)
    assert found == [1]
    assert math.exp(logarithm) == pytest.approx(0.64)
    assert beam_search(rows, 1)[0] in ([], [1])


def test_repeats_fall_together_unless_a_blank_stands_between() -> None:
    rows = frames([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    for found in (greedy(rows), beam_search(rows, 8)[0]):
        assert found == [1, 1, 2]
    assert greedy(rows[:0]) == beam_search(rows[:0], 8)[0] == []


def test_symbols_that_are_hardly_there_are_left_out_but_never_the_best() -> None:
    rows = frames([[0.9995, 0.0005], [0.1, 0.9]])
    assert beam_search(rows, 8)[0] == [1]
    assert beam_search(rows, 8, least=0.0)[0] == [1]


def test_decodings_by_name() -> None:
    assert [str(parse_decoding(text)) for text in ("greedy", "beam", "beam:5")] == ["greedy", "beam:16", "beam:5"]
    rows = frames([[0.6, 0.4], [0.6, 0.4]])
    assert (parse_decoding("greedy")(rows), parse_decoding("beam")(rows)) == ([], [1])
    assert parse_decoding("beam:4")(rows[:, ::-1], blank=1) == [0]
    for text in ("", "best", "beam:0", "beam:x", "beam:-1", "greedy:3", "beam:99999"):
        with pytest.raises(UsageError, match="choose greedy, beam"):
            parse_decoding(text)
