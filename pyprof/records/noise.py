"""What the machine did beside a measurement: marks on samples, and their sum."""

from __future__ import annotations

import resource
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from enum import IntFlag
from statistics import median
from typing import Any, NamedTuple

from pyprof.quantity import format_count
from pyprof.records import validate

# Less than this share of a sample's time is not worth a mark: half of the difference that is usually asked for.
HIT_SHARE = 0.005
# Below these nothing is said of what the system took of a step.
_LEAST_SHARE = 0.05
_LEAST_FAULTS = 1_000


class Hit(IntFlag):
    """What disturbed a sample.

    PREEMPTED: this thread stood runnable in the run queue for more than `HIT_SHARE` of the sample, or the other threads
    of this process did together. Where the system doesn't tell their waits, it is that they were switched out
    involuntarily so often that, at 3 ms a time, it could be as much. STEAL: more than `HIT_SHARE` of the time that all
    processors wanted to work went to other guests of the host. PAGE_FAULT: at least one page had to be read from a
    disk. THROTTLED: the clock of a processor or a GPU was lowered for heat or power.

    STEAL and THROTTLED come from slow counters: of samples shorter than their reading interval (10 ms, or a thousand
    times what reading costs) the one at whose end they were read carries the mark for all since the reading before.
    """

    PREEMPTED = 1
    STEAL = 2
    PAGE_FAULT = 4
    THROTTLED = 8


@dataclass(frozen=True)
class Noise:
    """What happened on the machine over `seconds`, in which `samples` were taken; None where the system doesn't tell.

    `hit` counts the marked samples by cause. `steal_share` is the part of the time that processors wanted to work and
    that the hypervisor gave to others; `others_share` the processor time of other processes as a share of all cores.
    `waited_seconds` is what this thread spent runnable but not running; the switches and faults are those of the
    process. `load` is the one-minute load at the end, `frequency` the lowest and highest seen, in MHz.
    """

    seconds: float
    samples: int
    hit: dict[str, int] = field(default_factory=dict)
    steal_share: float | None = None
    others_share: float | None = None
    waited_seconds: float | None = None
    voluntary: int = 0
    involuntary: int = 0
    minor_faults: int = 0
    major_faults: int = 0
    load: float | None = None
    frequency: tuple[float, float] | None = None
    throttled: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return {**asdict(self), "frequency": None if self.frequency is None else list(self.frequency)}

    def __str__(self) -> str:
        """What is known of the machine; whether to trust times taken meanwhile is told beside them."""
        facts = list(machine_facts(self.others_share, self.steal_share))
        if self.frequency is not None:
            facts.append(f"the clock ran at {self.frequency[0]:.0f} to {self.frequency[1]:.0f} MHz")
        if self.throttled:
            facts.append("it was lowered for heat or power")
        return "; ".join(facts) or "nothing is known of the machine"


def machine_facts(others_share: float | None, steal_share: float | None) -> Iterator[str]:
    """What other processes and other guests of the host took, in words."""
    if others_share is not None:
        yield f"other processes used {100 * others_share:.0f} % of all cores"
    if steal_share:
        yield f"the hypervisor withheld {100 * steal_share:.1f} % of the time"


def _frequency(value: Any) -> tuple[float, float]:
    pair: tuple[float, ...] = validate.listing(validate.not_negative)(value)
    if len(pair) != 2:
        raise validate.Refused(f"must be a pair of numbers, not {len(pair)}")
    return pair[0], pair[1]


_share, _count = validate.optional(validate.not_negative), validate.whole(0)
NOISE = validate.instance(
    Noise,
    absent=(
        *("hit", "steal_share", "others_share", "waited_seconds", "voluntary", "involuntary"),
        *("minor_faults", "major_faults", "load", "frequency", "throttled"),
    ),
    seconds=validate.not_negative,
    samples=_count,
    hit=validate.mapping(_count),
    steal_share=_share,
    others_share=_share,
    waited_seconds=_share,
    voluntary=_count,
    involuntary=_count,
    minor_faults=_count,
    major_faults=_count,
    load=_share,
    frequency=validate.optional(_frequency),
    throttled=validate.optional(validate.flag),
)


class SystemTime(NamedTuple):
    """What the system did for this process while something ran: page faults, and nanoseconds of processor time.

    `faults` are the minor ones, each a page that the system had to hand out; `system_ns` is the part of the
    `processor_ns` of all threads that was spent in the system.
    """

    faults: int = 0
    system_ns: int = 0
    processor_ns: int = 0

    def __sub__(self, other: SystemTime) -> SystemTime:
        return SystemTime(*(later - earlier for later, earlier in zip(self, other, strict=True)))

    @classmethod
    def now(cls) -> SystemTime:
        """What this process has had so far."""
        return cls.of(resource.getrusage(resource.RUSAGE_SELF))

    @classmethod
    def of(cls, usage: resource.struct_rusage) -> SystemTime:
        """The same of a reading of the counters."""
        system, user = round(usage.ru_stime * 1e9), round(usage.ru_utime * 1e9)
        return cls(usage.ru_minflt, system, system + user)


NOTHING = SystemTime()


@dataclass(frozen=True)
class SystemPart:
    """What the system took of a step: its page `faults`, and its `share` of the processor time of all threads."""

    faults: float
    share: float

    @classmethod
    def of(cls, parts: Sequence[SystemTime], calls: int = 1) -> SystemPart | None:
        """Of as many readings of `calls` steps each: the median of the faults; None where nothing was told."""
        processor = sum(part.processor_ns for part in parts)
        if not processor:
            return None
        faults = median(part.faults for part in parts) / calls
        return cls(faults, sum(part.system_ns for part in parts) / processor)

    @property
    def is_much(self) -> bool:
        """Whether it is worth a word: other work of the system, such as launches, takes some percent of any step."""
        return self.share >= _LEAST_SHARE and self.faults >= _LEAST_FAULTS

    def __str__(self) -> str:
        faults = format_count(self.faults)
        return f"{100 * self.share:.0f} % of this step is the system handing out memory ({faults} page faults)"


def causes(flags: Iterable[int]) -> dict[str, int]:
    """How many of the samples' flags hold each cause, by its name; causes that hit none are left out."""
    counts = dict.fromkeys(Hit, 0)
    for flag in flags:
        if flag:
            for hit in Hit(flag):
                counts[hit] += 1
    return {str(hit.name).lower(): count for hit, count in counts.items() if count}
