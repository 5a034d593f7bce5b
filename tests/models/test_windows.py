from __future__ import annotations

from typing import Any

import pytest

from pyprof.errors import UsageError
from pyprof.models.windows import window_of_context, windows


def test_windows_are_one_pair_or_one_for_each_layer() -> None:
    assert windows([16, 8], 12) == (16, 8)
    assert windows([[1, 2], [3, 0]], 2) == ((1, 2), (3, 0))
    assert windows(((4, 4),)) == ((4, 4),)


@pytest.mark.parametrize("window", [(), (1,), (1, 2, 3), (-1, 1), (1.0, 2), (True, 1), "ab", 16, None, ((1, 2), (3,))])
def test_anything_else_is_refused(window: Any) -> None:
    with pytest.raises(UsageError, match="a window is a pair"):
        windows(window)


def test_as_many_windows_as_layers() -> None:
    with pytest.raises(UsageError, match="there are 2 windows for 3 layers"):
        windows([(1, 1), (2, 2)], 3)


def test_a_context_is_half_on_each_side() -> None:
    assert [window_of_context(context) for context in (0, 32, 100)] == [(0, 0), (16, 16), (50, 50)]
    for context in (31, -2, 3.0, True):
        with pytest.raises(UsageError, match="a context is an even number"):
            window_of_context(context)  # type: ignore[arg-type]
