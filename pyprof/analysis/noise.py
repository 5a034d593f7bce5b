"""How quiet the machine was during a run: samples that were hit, and how fast a yardstick ran beside the cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pyprof.records.case import Case
from pyprof.records.noise import Noise, causes
from pyprof.records.record import Record

# The best speed is that which one in twenty readings reaches, the lowest that which as many fall short of: a single
# odd reading says nothing of the machine.
_EXTREME = 0.05
# A case ran while the machine was slow if the yardstick typically ran below this share of its best speed.
SLOW = 0.85


@dataclass(frozen=True)
class SlowCase:
    """A case and the typical speed of the machine around its samples, as a share of the run's best."""

    case: Case
    speed: float


@dataclass(frozen=True)
class RunNoise:
    """What the records of a run tell about the machine while it was measured.

    `hit` of `samples` were marked, by `causes` (a sample can have several). `slowest` is the speed of the yardstick in
    its slowest readings as a share of its best, None without a yardstick; `slow` are the cases that ran while it was
    below `SLOW`, the slowest first, out of `cases` that were measured beside one. `others_share` (of all cores),
    `steal_share` and `throttled` are as in ``pyprof.records.noise.Noise``, over the run; None where nothing tells.
    """

    samples: int
    hit: int
    causes: Mapping[str, int]
    slowest: float | None = None
    cases: int = 0
    slow: tuple[SlowCase, ...] = ()
    others_share: float | None = None
    steal_share: float | None = None
    throttled: bool | None = None


@dataclass
class _Seen:
    """The readings of one yardstick: that of one environment, device and dtype."""

    readings: dict[Hashable, np.ndarray[Any, np.dtype[np.float64]]] = field(default_factory=dict)
    cases: list[tuple[Case, Hashable]] = field(default_factory=list)


def run_noise(records: Iterable[Record]) -> RunNoise | None:
    """The summary of a run; None where its records hold nothing of the machine, as those of older versions."""
    flags: Counter[int] = Counter()
    samples = 0
    seen: dict[Hashable, _Seen] = {}
    noises: dict[Hashable, Noise] = {}
    for record in records:
        case = record.case
        every = (reading.rounds for reading in record.indicators.values() if reading.rounds is not None)
        for rounds in {each.id: each for each in every}.values():
            # Cases that were interleaved share their rounds, and with them the yardstick's readings and the noise.
            shared = record.environment, rounds.id
            samples += len(rounds.hits)
            flags.update(rounds.hits)
            if rounds.noise is not None:
                noises.setdefault(shared, rounds.noise)
            if rounds.yardstick:
                beside = seen.setdefault((record.environment, case.device, case.dtype), _Seen())
                beside.readings.setdefault(shared, np.asarray(rounds.yardstick, dtype=np.float64))
                beside.cases.append((case, shared))
    if not (samples or seen or noises):
        return None
    slowest, slow = _speeds(seen.values())
    return RunNoise(
        samples=samples,
        hit=samples - flags[0],
        causes=_causes(flags),
        slowest=slowest,
        cases=sum(len(yardstick.cases) for yardstick in seen.values()),
        slow=slow,
        others_share=_mean((noise.others_share, noise.seconds) for noise in noises.values()),
        steal_share=_mean((noise.steal_share, noise.seconds) for noise in noises.values()),
        throttled=_any(noise.throttled for noise in noises.values()),
    )


def _speeds(seen: Iterable[_Seen]) -> tuple[float | None, tuple[SlowCase, ...]]:
    """The lowest speed over the best one, and the cases that ran while it was low."""
    slowest: float | None = None
    slow = []
    for yardstick in seen:
        best, worst = np.quantile(np.concatenate(list(yardstick.readings.values())), (_EXTREME, 1 - _EXTREME))
        slowest = min(slowest or 1.0, float(best / worst))
        # The best is a quantile, so that some cases lie above it.
        typical = {
            rounds: min(1.0, float(best / np.median(readings))) for rounds, readings in yardstick.readings.items()
        }
        slow += [SlowCase(case, typical[rounds]) for case, rounds in yardstick.cases if typical[rounds] < SLOW]
    return slowest, tuple(sorted(slow, key=lambda entry: (entry.speed, str(entry.case))))


def _causes(flags: Mapping[int, int]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for flag, count in flags.items():
        for cause in causes([flag]):
            counts[cause] += count
    return dict(counts.most_common())


def _mean(shares: Iterable[tuple[float | None, float]]) -> float | None:
    """The mean over time of shares with the seconds that each is of; None where the system never tells."""
    known = [(share, seconds) for share, seconds in shares if share is not None and seconds]
    return sum(share * seconds for share, seconds in known) / sum(seconds for _, seconds in known) if known else None


def _any(flags: Iterable[bool | None]) -> bool | None:
    known = [flag for flag in flags if flag is not None]
    return any(known) if known else None
