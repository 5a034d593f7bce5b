"""What a device is to a measurement: the contract that one file per device fulfils. Loads no torch, no native code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pyprof.device.memory import MemoryBudget, MemoryReading
from pyprof.errors import UsageError

if TYPE_CHECKING:
    from pyprof.timing.clock import Stopwatch

# What is left to everything beside the tensors: libraries' own buffers, fragmentation, other processes.
SHARE = 0.9


class LayerTimes(Protocol):
    """How the layers' times come from the device itself. `clock` is what the native recorder stamps its stream with."""

    clock: object

    def place(self, drained: dict[str, Any]) -> dict[str, Any]:
        """What a recorder has drained, with the device's times of its stamps in ``device_times``, in nanoseconds.

        An interval's stamps are numbers of entries in there. Intervals without a stamp at either end count as dropped.
        Waits for the device; raises UsageError where it has failed.
        """
        ...

    def notes(self) -> tuple[str, ...]:
        """What a reader of the times has to know, in sentences."""
        ...


class WorkLog(Protocol):
    """What a device did, as its driver tells: every operation, the call that launched it, and nodes of graphs."""

    def start(self) -> None:
        """Record from now on; raises UsageError with the reason where that is not possible now."""
        ...

    def pause(self) -> None:
        """Record no more before `start` is called again, which will be soon."""
        ...

    def stop(self) -> None:
        """Record no more."""
        ...

    def read(self) -> dict[str, Any]:
        """What was recorded since the last call, in tables: see `pyprof.layers.device_log`.

        The device has to have done its work. Raises UsageError where it has failed.
        """
        ...


@dataclass(frozen=True)
class Occupation:
    """What a device did in one call, in nanoseconds; None where it doesn't tell.

    `busy` is the union of all its work, `idle` how long it had nothing to do yet or nothing any more, and `whole` how
    long the call took.
    """

    busy: int | None = None
    idle: int | None = None
    whole: int = 0


class EnergyMeter(Protocol):
    """A counter of the energy that a device uses. `name` says what it covers, in words."""

    name: str

    def joules(self) -> float:
        """What was used since some moment in the past; it only grows, in steps of some milliseconds."""
        ...


class Device(ABC):
    """One device that models are measured on, by its name: "cpu", "cuda:1".

    Making one loads nothing and touches no hardware, since a plan needs `guessed_rate` without either; everything else
    may load torch, and works only where `available` gives no reason against it. What is not abstract here is what a
    device may not be able to do, and then says so by what it inherits.
    """

    # Whether the measuring process is to have no more of the host's memory than the study's budget: where tensors live
    # in the host's memory, which would otherwise begin to swap.
    limits_host_memory = False
    # Whether work goes on beside the host's, so that the device's time is another one than that of the call.
    has_own_time = False
    # Whether launches can be captured once and replayed: see `capture`.
    captures_graphs = False
    # What a model is of where nobody says otherwise: what is in use on such a device.
    usual_dtype = "float32"
    # The side of the square matrices whose product fills the device.
    filling_size = 1024

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def torch_name(self) -> str:
        """The device that tensors are put on, in PyTorch's words; the device's own name unless it says otherwise."""
        return self.name

    @abstractmethod
    def available(self) -> str | None:
        """None where the device can be used, else one sentence that says why not and what to do instead."""

    @abstractmethod
    def stopwatch(self) -> Stopwatch:
        """What times work on the device."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until the device has done all that was queued on it."""

    @abstractmethod
    def peak_memory(self, fn: Callable[[], object]) -> MemoryReading:
        """Call `fn` once, and tell what PyTorch allocated on the device meanwhile."""

    def watched_peak_memory(self, fn: Callable[[Callable[[], int]], object]) -> MemoryReading:
        """The same, where `fn` is given a function that tells the peak so far, in bytes above what was there before.

        Raises UsageError where the device does not tell its peak while a step runs.
        """
        raise UsageError(f"{self.name} tells its peak only after a step: its components are not known")

    @abstractmethod
    def free_memory(self) -> MemoryBudget:
        """What the device has free now, with what this process's allocator keeps without need.

        Raises UsageError where that cannot be told.
        """

    @abstractmethod
    def guessed_rate(self, threads: int) -> float:
        """Floating-point operations per second that transformers reach, guessed for a plan before anything is measured.

        `threads` is how many of the host's threads PyTorch may use. Works without torch and without the device.
        """

    def memory_budget(self, share: float = SHARE) -> MemoryBudget:
        """The share of the free memory that a measurement may use; raises UsageError where that cannot be told."""
        free = self.free_memory()
        return MemoryBudget(int(free.bytes * share), f"{share:.0%} of {free.source}")

    def release(self) -> None:  # noqa: B027 - a device without a cache has nothing to give back
        """Give back memory that is only kept for later use; nothing where the device's allocator keeps none."""

    def layer_times(self, capacity: int) -> LayerTimes | None:
        """Room to time the layers by events on the device, for as many calls between two drains as `capacity` says.

        None where stamps on the host are the truth, because work is done when its call returns. Raises UsageError
        where the device has times of its own that cannot be had.
        """
        return None

    def check_events(self) -> None:
        """Raise UsageError where no events on the device can time layers."""
        if type(self).layer_times is Device.layer_times:
            raise UsageError(f"{self.name} has no events that could time layers: leave --events out, or choose cuda")

    def capture(self, fn: Callable[[], object]) -> Callable[[], object]:
        """Warm `fn` up and capture all that it launches into a graph; calling what is returned replays that.

        Raises UsageError where the device has no graphs, and where this call cannot be captured.
        """
        self.check_launch("graph")
        raise NotImplementedError(f"{type(self).__name__} says that it captures graphs, and lacks capture")

    @property
    def cache_bytes(self) -> int | None:
        """How much the device caches of its memory, which kernels are timed without; None where that is no matter."""
        return None

    def flush_cache(self) -> None:  # noqa: B027 - a device that needs no flush has nothing to do
        """Queue work that leaves nothing of what was there in the cache."""

    def queued_ns(self, fn: Callable[[], object]) -> int:
        """The time of a call whose launch is hidden behind a flush of the cache that is queued before it, in ns."""
        self.flush_cache()
        return self.stopwatch().time(fn, 1)

    def check_launch(self, launch: str) -> None:
        """Raise UsageError where the device cannot launch work in that way: "eager", or "graph"."""
        if launch == "graph" and not self.captures_graphs:
            raise UsageError(f"{self.name} has no graphs to capture launches in: leave --launch out, or choose cuda")

    def busy_ns(self, fn: Callable[[], object]) -> int:
        """Call `fn` once, and tell for how many nanoseconds the device worked for it: the union of all its work.

        Raises UsageError where that cannot be told: why, and what to do instead.
        """
        raise UsageError(f"{self.name} tells no time of its own: measure its latency")

    def occupation(self, fn: Callable[[], object]) -> Occupation:
        """Call `fn` once, and tell when the device worked for it; raises UsageError as `busy_ns` does."""
        return Occupation(self.busy_ns(fn))

    def work_log(self, places: object, clock: object) -> WorkLog | None:
        """A log of the device's work; None where the host does all of it.

        `places` and `clock` are what the native recorder gives, so that the work finds its layer. Raises UsageError
        with the reason where the device's work cannot be recorded.
        """
        return None

    def energy_meter(self) -> EnergyMeter:
        """What counts the device's energy; raises UsageError with the reason where nothing can be read."""
        raise UsageError(f"{self.name} has no counter of its energy that can be read")

    def throttled(self) -> bool | None:
        """Whether heat or power holds the device's clock down now; None where the device doesn't tell.

        It is asked between samples, at most every 10 ms.
        """
        return None
