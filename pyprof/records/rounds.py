"""Rounds: readings taken in turn, one of each case and of a yardstick in every round, and what disturbed them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pyprof.records import validate
from pyprof.records.noise import NOISE, Noise
from pyprof.statistics.estimate import CONFIDENCE

# At least this share of a sample counts as run. The wait is that between the watch's two stamps, which stand a little
# outside of the sample's, so that a short one may seem to have done nothing but wait. The rest has to be above zero,
# because its logarithm is taken, and not so near to zero that one such round outweighs the others.
LEAST_RAN = 0.05


@dataclass(frozen=True)
class Rounds:
    """The rounds that the samples of one reading were taken in, one sample in each.

    `id` is shared by all cases that were timed together. Round by round there are the `yardstick` (nanoseconds), the
    `hits` of noise on the sample (flags of ``pyprof.records.noise.Hit``) and the `waits` in the run queue (nanoseconds,
    a part of the sample); the `others_waits` of the process's other threads together, for which a step waits at every
    barrier, and both of the yardstick's reading (`yardstick_waits`, `yardstick_others_waits`); the `faults` of a step
    (pages that the system handed out) and of its `processor` time (of all threads, nanoseconds) the part that was spent
    in the `system`; and what some `page_faults` took at that moment (nanoseconds of
    ``pyprof.timing.page_faults.PAGES`` of them); and where the rounds of another process came between, when each had
    `ended` (nanoseconds of the machine's clock, which all its processes share). Each is empty where it was not told.
    `noise` sums up the whole time,
    and `stopped_by` names the rule that ended the rounds. `confidence` is the level to ask of intervals so that they
    keep 95 %: more than that where the rounds ended because an interval had become narrow.
    """

    id: str
    stopped_by: str = ""
    yardstick: tuple[int, ...] = ()
    hits: tuple[int, ...] = ()
    waits: tuple[int, ...] = ()
    others_waits: tuple[int, ...] = ()
    yardstick_waits: tuple[int, ...] = ()
    yardstick_others_waits: tuple[int, ...] = ()
    faults: tuple[int, ...] = ()
    system: tuple[int, ...] = ()
    processor: tuple[int, ...] = ()
    page_faults: tuple[int, ...] = ()
    ended: tuple[int, ...] = ()
    noise: Noise | None = None
    confidence: float = CONFIDENCE

    @property
    def yardstick_ran(self) -> tuple[int, ...]:
        """The yardstick's readings without what its own thread waited in the run queue."""
        return without_waits(self.yardstick, self.yardstick_waits)

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return {
            "id": self.id,
            "stopped_by": self.stopped_by,
            "yardstick": list(self.yardstick),
            "hits": list(self.hits),
            "waits": list(self.waits),
            "others_waits": list(self.others_waits),
            "yardstick_waits": list(self.yardstick_waits),
            "yardstick_others_waits": list(self.yardstick_others_waits),
            "faults": list(self.faults),
            "system": list(self.system),
            "processor": list(self.processor),
            "page_faults": list(self.page_faults),
            "ended": list(self.ended),
            "noise": None if self.noise is None else asdict(self.noise),
            "confidence": self.confidence,
        }

    def check_lengths(self, samples: int) -> None:
        """Raise `Refused` unless each series is empty or has an entry for each of so many samples."""
        for name in _SERIES:
            count = len(getattr(self, name))
            if count not in (0, samples):
                raise validate.Refused(f": rounds: {name} has {count} entries for {samples} samples")


# These were not kept from the beginning.
_LATER = ("others_waits", "yardstick_waits", "yardstick_others_waits", "ended")
_SERIES: Mapping[str, validate.Check] = {
    "yardstick": validate.wholes(1),
    **dict.fromkeys(("hits", "waits", *_LATER, "faults", "system", "processor", "page_faults"), validate.wholes(0)),
}
ROUNDS = validate.instance(
    Rounds,
    absent=_LATER,
    id=validate.words,
    stopped_by=validate.words,
    noise=validate.optional(NOISE),
    confidence=validate.real(0, 1),
    **_SERIES,
)


def without_waits(samples: tuple[int, ...], waits: tuple[int, ...]) -> tuple[int, ...]:
    """The part of each sample in which the thread ran, in nanoseconds.

    What a step waited in the run queue depends on other processes alone, so that it is no part of its time wherever
    two times are compared: on a busy machine it would hide a difference that a quarter of the rounds shows without it.
    """
    if len(waits) != len(samples) or not any(waits):
        return samples
    return tuple(max(sample - wait, round(LEAST_RAN * sample), 1) for sample, wait in zip(samples, waits, strict=True))
