"""Which learning rate to train with: that whose models are best on validation examples, and never on test examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pyprof.errors import IncompleteError

if TYPE_CHECKING:
    from pyprof.quality.plan import Plan
    from pyprof.quality.subject import Subject
    from pyprof.quality.task import Metric, Task
    from pyprof.quality.training import Tell

# From so many of the seeds each rate is tried.
SEEDS = 3


@dataclass(frozen=True)
class Tried:
    """A learning rate and the mean quality on validation examples that it led to; None where a training diverged."""

    rate: float
    quality: float | None

    def to_json(self) -> dict[str, Any]:
        """A JSON object of both."""
        return asdict(self)


def try_rates(
    task: Task,
    subject: Subject,
    plan: Plan,
    rates: Sequence[float],
    *,
    seeds: Sequence[int] = (0,),
    directory: Path | None = None,
    budget: float | None = None,
    tell: Tell | None = None,
) -> tuple[Tried, ...]:
    """Train with each rate from the first three of the seeds; the options are those of `pyprof.quality.training.train`.

    Raises UsageError for what cannot be trained.
    """
    from pyprof.quality.training import Data, train_seed

    validation = task.split("validation", subject.size)
    data = Data(task.split("train", subject.size), validation, validation)
    tried = []
    for rate in sorted(set(rates)):
        outcomes = [
            train_seed(
                task,
                subject,
                plan.but(learning_rate=rate),
                seed,
                data=data,
                directory=None if directory is None else directory / f"rate-{rate:g}-seed-{seed}",
                budget=budget,
                tell=tell,
            ).outcome
            for seed in seeds[:SEEDS]
        ]
        found = [each.quality for each in outcomes if each.quality is not None]
        tried.append(Tried(rate, fmean(found) if len(found) == len(outcomes) else None))
    return tuple(tried)


def best_of(tried: Sequence[Tried], metric: Metric) -> float:
    """The rate that led to the best quality, the lowest of equally good ones.

    Raises IncompleteError where the trainings of all diverged.
    """
    sign = 1 if metric.better == "higher" else -1
    done = [each for each in tried if each.quality is not None]
    if not done:
        raise IncompleteError("the trainings diverged with all learning rates: give lower ones")
    return max(done, key=lambda each: (sign * (each.quality or 0.0), -each.rate)).rate
