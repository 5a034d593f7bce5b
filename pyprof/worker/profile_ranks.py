"""Profile the layers of a model that a factory returns sharded: every rank does, and they take each step together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pyprof.errors import ModelError
from pyprof.layers.profile import Profile
from pyprof.models.setup import ModelSetup
from pyprof.records.ranks import Rank, Waiting, waiting
from pyprof.statistics.estimate import Estimate, estimate_median
from pyprof.worker.ranks import RankProcesses
from pyprof.worker.sharded import Looked, look, looks, rank_of

if TYPE_CHECKING:
    from pyprof.worker.rank import Place

# Beside the seconds that steps are taken for: loading, a step that warms up, the last step before the time is up.
_AROUND_SECONDS = 900.0


@dataclass(frozen=True)
class Loaded:
    """What a title says of a loaded model."""

    title: str
    class_name: str
    unit: str
    attention: str


@dataclass(frozen=True)
class RankProfiles:
    """The profiles of all ranks, and what is kept of each; `step` is the time of one that is as long as the slowest
    rank's, in seconds, and `told` says which one the others wait for.
    """

    loaded: Loaded
    profiles: tuple[Profile, ...]
    ranks: tuple[Rank, ...]
    step: Estimate
    told: Waiting | None

    @property
    def shown(self) -> int:
        """The rank whose layers are shown: the one that the others wait for."""
        return 0 if self.told is None else self.told.slowest

    def to_json(self) -> dict[str, Any]:
        """What a profile has beside the layers of one rank."""
        told = {"slowest": None, "waits_seconds": None} if self.told is None else self.told.to_json()
        return {
            "step": vars(self.step),
            "shown": self.shown,
            **told,
            "each": [
                {**rank.to_json(), "kinds": {kind: list(cost) for kind, cost in profile.kinds().items()}}
                for rank, profile in zip(self.ranks, self.profiles, strict=True)
            ],
        }


class ProfileRank:
    """What one rank does for a profile."""

    def __init__(self, setup: ModelSetup, mode: str, kinds: Sequence[tuple[str, str]]) -> None:
        self._setup, self._mode, self._kinds = setup, mode, tuple(kinds)

    def join(self, place: Place) -> None:
        """Get ready as one of the ranks."""
        self._place = place

    def load(self) -> Loaded:
        """Load the model on this rank's device."""
        loaded = replace(self._setup, device=self._place.device).load(self._mode)
        self._loaded = replace(loaded, kinds=(*self._kinds, *loaded.kinds))
        return Loaded(loaded.title, loaded.class_name, loaded.unit, loaded.attention)

    def profile(self, seconds: float) -> Profile:
        """Steps with and without probes in turn, as many as all ranks take."""
        from pyprof.worker.profile_model import profile_model

        return profile_model(self._loaded, self._setup.length, self._setup.batch, seconds, together=self._place)

    def look(self, count: int) -> Looked:
        """Steps with the communication in them."""
        from pyprof import device as devices
        from pyprof.worker.profile_model import step_of

        step = step_of(self._loaded, self._setup.length, self._setup.batch)
        zero = partial(self._loaded.step.zero_grad, set_to_none=True)

        def renew() -> None:
            zero()
            step.inputs.renew()

        return look(devices.of(self._place.device), renew, step, self._place, count)


def profile_ranks(
    setup: ModelSetup, mode: str, kinds: Sequence[tuple[str, str]], count: int, threads: int, seconds: float
) -> RankProfiles:
    """Profile a model over `count` ranks for about `seconds`; times are seconds, `threads` are for all ranks together.

    Raises ModelError where a rank fails, dies or gives no answer, and UsageError where there are too few devices.
    """
    try:
        processes = RankProcesses(
            ProfileRank(setup, mode, kinds), count, setup.device, threads, seconds + _AROUND_SECONDS
        )
        try:
            loaded = processes.ask("load")[0]
            profiles: list[Profile] = processes.ask("profile", seconds)
            step = _step(profiles)
            looked: list[Looked] = processes.ask("look", looks(step.value))
            devices = processes.devices
        finally:
            processes.close()
    except MemoryError as error:
        raise ModelError(str(error)) from error
    ranks = tuple(
        rank_of(device, own, profile, samples=_samples(profile))
        for device, own, profile in zip(devices, looked, profiles, strict=True)
    )
    return RankProfiles(loaded, tuple(profiles), ranks, step, waiting(ranks))


def _samples(profile: Profile) -> tuple[int, ...]:
    return () if profile.plain is None else profile.plain.samples


def _step(profiles: Sequence[Profile]) -> Estimate:
    """The step without probes as the slowest rank has it, round by round; those that any rank left out are left out."""
    rounds = min(len(_samples(profile)) for profile in profiles)
    slowest = np.max([_samples(profile)[-rounds:] for profile in profiles], axis=0)
    return estimate_median(slowest * 1e-9)
