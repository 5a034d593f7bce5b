"""What bounds a call: exact figures of useful work, moved bytes and limits."""

from __future__ import annotations

import pytest

from pyprof.attention.bounds import Bound, bound, least_bytes, rotations

SHAPE = (2, 3, 5, 8)


@pytest.mark.parametrize(
    ("itemsize", "mode", "expected"),
    [
        (2, "forward", 4 * 240 * 2),  # query, key, value, output
        (4, "forward", 4 * 240 * 4),
        (2, "backward", 8 * 240 * 2 + 30 * 4),  # five read, three written, and a log-sum-exp a query
    ],
)
def test_what_has_to_be_moved(itemsize: int, mode: str, expected: int) -> None:
    assert least_bytes(SHAPE, itemsize, mode) == expected


def test_the_larger_of_the_two_times_is_the_bound() -> None:
    assert bound(100, 10, flops_per_second=10, bytes_per_second=10) == Bound("compute", 10.0)
    assert bound(100, 400, flops_per_second=10, bytes_per_second=10) == Bound("memory", 40.0)
    assert bound(100, 100, flops_per_second=10, bytes_per_second=10).by == "compute"
    for limits in ((0, 1), (1, 0), (-1, 1)):
        with pytest.raises(ValueError, match="a limit is a rate above zero"):
            bound(1, 1, *limits)


@pytest.mark.parametrize(
    ("set_bytes", "cache_bytes", "free_bytes", "expected"),
    [
        (100, None, 10**9, 1),  # no cache to keep them
        (10**6, 50 * 10**6, 10**12, 8),  # small ones: as many as there may be
        (30 * 10**6, 50 * 10**6, 10**12, 4),  # together twice the cache
        (10**9, 50 * 10**6, 10**12, 2),  # one alone is more than the cache
        (10**9, 50 * 10**6, 4 * 10**9, 1),  # memory comes first
        (0, 50, 10**9, 8),
    ],
)
def test_so_many_sets_of_inputs_that_none_is_cached(
    set_bytes: int, cache_bytes: int | None, free_bytes: int, expected: int
) -> None:
    assert rotations(set_bytes, cache_bytes, free_bytes) == expected
