"""The stopwatch of the host: see csrc/stopwatch."""

from collections.abc import Callable

def time_calls(function: Callable[[], object], repeats: int, /) -> int: ...
