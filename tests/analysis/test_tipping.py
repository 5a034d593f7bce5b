from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence

import pytest

from pyprof.analysis.ratio import RatioPoint
from pyprof.analysis.tipping import Crossing, Tipping, find_tipping


def points(ratios: Sequence[tuple[int, float]], spread: float | None = 0.01) -> list[RatioPoint]:
    """Points whose interval reaches `spread` to both sides, relative; without interval where that is None."""
    if spread is None:
        return [RatioPoint(length, ratio, None, None) for length, ratio in ratios]
    return [RatioPoint(length, ratio, ratio / (1 + spread), ratio * (1 + spread)) for length, ratio in ratios]


def sampled(ratio: Callable[[float], float], lengths: Iterable[int], spread: float, seed: int) -> list[RatioPoint]:
    """Noisy points of a known ratio; their intervals hold the truth with 95 %."""
    state = random.Random(seed)
    logs = [(length, math.log(ratio(length)) + state.gauss(0, spread / 1.96)) for length in lengths]
    return [RatioPoint(n, math.exp(y), math.exp(y - spread), math.exp(y + spread)) for n, y in logs]


def test_a_power_law_is_found_exactly_however_coarse_the_lengths() -> None:
    tipping = find_tipping(points([(n, (n / 1000) ** -0.7) for n in (100, 500, 3000)]))
    assert tipping.status == "point"
    assert tipping.crossing == Crossing(pytest.approx(1000), 500, 3000)
    assert tipping.crossings == (tipping.crossing,)
    assert tipping.reason is None


def test_exact_costs_still_leave_open_what_lies_between_two_lengths() -> None:
    tipping = find_tipping(points([(100, 1.2), (200, 1.1), (300, 0.9), (400, 0.8)], spread=0.0))
    assert tipping.crossing is not None
    assert (tipping.crossing.low, tipping.crossing.high) == (200, 300)
    assert 200 < tipping.crossing.length < 300


def test_undecided_lengths_widen_the_interval() -> None:
    ratios = [(100, 1.3), (200, 1.01), (300, 0.995), (400, 0.7), (500, 0.6)]
    tipping = find_tipping(points(ratios, spread=0.05))
    assert tipping.status == "point"
    assert tipping.crossing is not None
    assert (tipping.crossing.low, tipping.crossing.high) == (100, 400)
    assert 200 < tipping.crossing.length < 300


def test_a_wiggle_within_the_noise_is_no_crossing() -> None:
    ratios = [(100, 1.3), (200, 0.98), (300, 1.02), (400, 0.99), (500, 1.01), (600, 0.7)]
    tipping = find_tipping(points(ratios, spread=0.05))
    assert tipping.status == "point"
    assert tipping.crossing is not None
    assert (tipping.crossing.low, tipping.crossing.high) == (100, 600)
    assert 100 < tipping.crossing.length < 600


def test_the_same_wiggle_beyond_the_noise_is_several_crossings() -> None:
    ratios = [(100, 1.3), (200, 0.98), (300, 1.02), (400, 0.7)]
    tipping = find_tipping(points(ratios, spread=0.005))
    assert tipping.status == "several"
    assert [one.gains for one in tipping.crossings] == [True, False, True]
    assert [(one.low, one.high) for one in tipping.crossings] == [(100, 200), (200, 300), (300, 400)]
    assert tipping.crossing == tipping.crossings[-1]


def test_several_without_an_end_that_is_cheaper_has_no_tipping_point() -> None:
    tipping = find_tipping(points([(100, 1.3), (200, 0.8), (300, 1.3)]))
    assert (tipping.status, tipping.crossing, len(tipping.crossings)) == ("several", None, 2)


def test_everywhere_and_nowhere() -> None:
    assert find_tipping(points([(100, 0.8), (200, 0.7)])) == Tipping("everywhere")
    assert find_tipping(points([(100, 1.8), (200, 1.7)])) == Tipping("nowhere")


def test_cheaper_at_short_lengths_only_is_nowhere_with_its_crossing() -> None:
    tipping = find_tipping(points([(100, 0.8), (200, 0.9), (400, 1.5)]))
    assert (tipping.status, tipping.crossing) == ("nowhere", None)
    assert [one.gains for one in tipping.crossings] == [False]
    assert tipping.reason == "it costs less at short lengths only"


def test_an_interval_is_open_above_where_no_length_is_shown_to_cost_less() -> None:
    tipping = find_tipping(points([(100, 1.5), (200, 1.2), (400, 0.97)], spread=0.1))
    assert tipping.status == "point"
    assert tipping.crossing is not None
    assert (tipping.crossing.low, tipping.crossing.high) == (200, None)
    assert tipping.reason == "no longer length is shown to cost less"


def test_an_interval_is_open_below_where_no_length_is_shown_to_cost_more() -> None:
    tipping = find_tipping(points([(100, 1.03), (200, 0.8), (400, 0.6)], spread=0.1))
    assert tipping.status == "point"
    assert tipping.crossing is not None
    assert (tipping.crossing.low, tipping.crossing.high) == (None, 200)
    assert tipping.reason == "no shorter length is shown to cost more"


def test_an_undecided_end_is_said() -> None:
    assert find_tipping(points([(100, 1.5), (1200, 1.02)], spread=0.1)) == Tipping(
        "nowhere", reason="no difference is shown at 1,200"
    )
    assert find_tipping(points([(100, 0.99), (200, 0.5)], spread=0.1)).status == "everywhere"
    tipping = find_tipping(points([(100, 1.5), (200, 0.7), (400, 1.01)], spread=0.1))
    assert (tipping.status, tipping.reason) == ("point", "no difference is shown at 400")


def test_points_without_interval_place_the_crossing_and_bound_nothing() -> None:
    tipping = find_tipping(points([(100, 1.5), (200, 1.2), (400, 0.8)], spread=None))
    assert tipping.status == "point"
    assert tipping.crossing is not None
    assert (tipping.crossing.low, tipping.crossing.high) == (None, None)
    assert 200 < tipping.crossing.length < 400
    mixed = points([(100, 1.5)]) + points([(200, 1.2), (300, 0.9)], None) + points([(400, 0.5)])
    crossing = find_tipping(mixed).crossing
    assert crossing is not None
    assert (crossing.low, crossing.high) == (100, 400)
    assert 200 < crossing.length < 300


def test_what_cannot_be_determined_says_why() -> None:
    assert find_tipping([]) == Tipping("not measured", reason="no length was measured for both")
    assert find_tipping(points([(1200, 0.5)])).reason == "only length 1,200 was measured for both"
    same = find_tipping(points([(100, 0.99), (200, 0.98)], spread=0.1))
    assert (same.status, same.reason) == ("undetermined", "no difference is shown at any measured length")
    few = find_tipping(points([(100, 0.5), (200, 0.4)], spread=None))
    assert few.status == "undetermined"
    assert few.reason is not None
    assert few.reason.endswith("by the medians alone it costs less at every measured length")


def test_an_exactly_equal_cost_is_not_less_and_the_gain_begins_where_it_ends() -> None:
    tipping = find_tipping(points([(100, 1.2), (200, 1.0), (400, 1.0), (800, 0.5)], spread=0.0))
    assert tipping.crossing == Crossing(pytest.approx(400), 400, 800)
    assert tipping.reason == "it costs exactly the same at 200, 400"
    assert find_tipping(points([(100, 1.0), (200, 1.0)], spread=0.0)) == Tipping(
        "nowhere", reason="it costs exactly the same at 100, 200"
    )
    assert find_tipping(points([(100, 0.5), (200, 1.0)], spread=0.0)).status == "nowhere"


LENGTHS = range(62, 3363, 60)


def falling(length: float) -> float:
    return 1.45e-3 * length / (1.15e-3 * length + 1.7e-7 * length**2)


@pytest.mark.parametrize("spread", [0.005, 0.02, 0.05])
def test_the_interval_covers_the_true_crossing(spread: float) -> None:
    truth = (1.45e-3 - 1.15e-3) / 1.7e-7
    found = [find_tipping(sampled(falling, LENGTHS, spread, seed)) for seed in range(100)]
    assert [one.status for one in found] == ["point"] * 100
    crossings = [one.crossing for one in found if one.crossing]
    covered = [one for one in crossings if (one.low or 0) <= truth <= (one.high or math.inf)]
    assert len(covered) >= 95
    typical = sorted(abs(one.length / truth - 1) for one in crossings)[50]
    assert typical < 3 * spread


def test_equal_costs_seldom_look_different() -> None:
    found = [find_tipping(sampled(lambda length: 1.0, LENGTHS, 0.03, seed)) for seed in range(200)]

    def shown(one: Tipping) -> bool:
        """Whether some difference was claimed: a status that needs one, or an interval with an end."""
        ends = [end for crossing in one.crossings for end in (crossing.low, crossing.high) if end is not None]
        return one.status in ("everywhere", "nowhere", "several") or bool(ends)

    assert sum(shown(one) for one in found) <= 0.08 * len(found)
    assert sum(one.status == "several" for one in found) <= 2
