"""A device that is nothing but two numbers, its clock and its memory, and models that work on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from pyprof.device import Device, MemoryBudget, MemoryReading
from pyprof.timing.clock import Call

WIDTH = 8
# What a call takes to start, what a token of an example takes to compute, and what it allocates. A quarter of a second,
# for which timing goes on beyond a precise figure, is then a few rounds.
LAUNCH_NS = 100_000
TOKEN_NS = 3_000_000
TOKEN_BYTES = 1_000
FREE_BYTES = 100_000
RATE = 5e9


class Chip:
    """The hardware: time in nanoseconds, which moves with the work alone, and bytes that are taken and given back."""

    def __init__(self) -> None:
        self.now = 1_000
        self.live = self.top = self.total = self.count = 0
        self.hot: bool | None = None
        self.present = True
        self.released = self.waited = 0

    def now_ns(self) -> int:
        return self.now

    def work(self, tokens: int) -> None:
        """Compute for some tokens, with memory that is given back afterwards."""
        size = tokens * TOKEN_BYTES
        if self.live + size > FREE_BYTES:
            raise torch.OutOfMemoryError("the chip is out of memory")
        self.live += size
        self.top = max(self.top, self.live)
        self.total, self.count = self.total + size, self.count + 1
        self.now += tokens * TOKEN_NS
        self.live -= size


CHIP = Chip()


class FakeStopwatch:
    """By the chip's clock; every call costs a launch."""

    resolution_ns = 1

    def __init__(self, chip: Chip) -> None:
        self.clock = chip

    def time(self, fn: Call, repeats: int) -> int:
        begin = self.clock.now
        for _ in range(repeats):
            self.clock.now += LAUNCH_NS
            fn()
        return self.clock.now - begin


class FakeDevice(Device):
    """The chip; PyTorch knows nothing of it, so that its tensors lie in the host's memory."""

    has_own_time = True

    @property
    def torch_name(self) -> str:
        return "cpu"

    def available(self) -> str | None:
        return None if CHIP.present else f"there is no device {self.name!r} (the chip is not plugged in): choose cpu"

    def stopwatch(self) -> FakeStopwatch:
        return FakeStopwatch(CHIP)

    def synchronize(self) -> None:
        CHIP.waited += 1

    def peak_memory(self, fn: Callable[[], object]) -> MemoryReading:
        base, total, count = CHIP.live, CHIP.total, CHIP.count
        CHIP.top = base
        fn()
        return MemoryReading(CHIP.top - base, CHIP.total - total, CHIP.count - count, base)

    def free_memory(self) -> MemoryBudget:
        return MemoryBudget(FREE_BYTES - CHIP.live, "the chip's free memory")

    def release(self) -> None:
        CHIP.released += 1

    def busy_ns(self, fn: Callable[[], object]) -> int:
        begin = CHIP.now
        fn()
        return CHIP.now - begin

    def throttled(self) -> bool | None:
        return CHIP.hot

    def guessed_rate(self, threads: int) -> float:
        return RATE


class Model(nn.Module):
    """One layer of which the chip does the work."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        CHIP.work(x.shape[0] * x.shape[1])
        out: torch.Tensor = self.layer(x)
        return out


def model() -> tuple[nn.Module, Callable[[int, int], dict[str, Any]]]:
    """A factory for studies."""
    return Model(), lambda length, batch: {"x": torch.ones(batch, length, WIDTH)}


def resident_bytes(length: int, batch: int) -> int:
    """What lies in memory before a step: weights, biases and the input."""
    return 4 * (WIDTH * WIDTH + WIDTH + batch * length * WIDTH)


# What a replay of a captured call takes of the call's own time.
REPLAYED = 0.5


class GraphDevice(FakeDevice):
    """The chip with graphs: a replay does the work in half of the time, since nothing is launched one by one."""

    captures_graphs = True

    def capture(self, fn: Callable[[], object]) -> Callable[[], object]:
        begin = CHIP.now
        fn()
        worked = CHIP.now - begin

        def replay() -> None:
            CHIP.now += round(REPLAYED * worked)

        return replay


def masked_on_chip(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: tuple[int, int], nanoseconds: int
) -> torch.Tensor:
    """Plain attention under a mask, for which the chip works so long."""
    CHIP.now += nanoseconds
    position = torch.arange(query.shape[2])
    ahead = position - position[:, None]
    visible = ((ahead >= -window[0]) & (ahead <= window[1]))[None, None]
    scores = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).masked_fill(~visible, -torch.inf)
    return scores.softmax(-1) @ value
