"""What came of training and judging a model on a task; importing this loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any, Literal

from pyprof.quality.plan import Plan
from pyprof.quality.rates import Tried
from pyprof.quality.task import Metric
from pyprof.statistics.bounded import bounded_interval
from pyprof.statistics.estimate import CONFIDENCE, FEWEST_SAMPLES
from pyprof.statistics.student import student_half_width

Status = Literal["done", "out of budget", "diverged"]


@dataclass(frozen=True, kw_only=True)
class SeedOutcome:
    """One training: what its model achieves on the test examples, and what it took.

    `quality` is None exactly where it diverged, which `reason` tells of. `examples` were seen in `steps` steps of
    `seconds` in all; `joules` are those of the device meanwhile, the idle part included, None with a reason where
    nothing counts them. `loss` is that of the last step, `curve` the quality on validation examples by step, and
    `detail` what else the task tells, as JSON.
    """

    seed: int
    status: Status
    quality: float | None
    steps: int
    examples: int
    seconds: float
    reason: str | None = None
    joules: float | None = None
    joules_reason: str | None = None
    loss: float | None = None
    curve: tuple[tuple[int, float], ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return {**asdict(self), "curve": [list(point) for point in self.curve]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SeedOutcome:
        """Rebuild it from its JSON object."""
        return cls(**{**data, "curve": tuple((int(step), float(value)) for step, value in data["curve"])})


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A model on a task, trained from several seeds.

    `baseline` is the quality of who never looks at an input, `control` are trainings on shuffled labels, `published`
    has the publication's scores by model. `rates` are the learning rates that were tried on validation examples.
    """

    task: str
    model: str
    size: str
    attention: str
    device: str
    metric: Metric
    plan: Plan
    seeds: tuple[SeedOutcome, ...]
    baseline: float
    control: tuple[SeedOutcome, ...] = ()
    published: Mapping[str, float] = field(default_factory=dict)
    source: str = ""
    rates: tuple[Tried, ...] = ()

    @property
    def value(self) -> float | None:
        """The mean quality over the seeds; None where one diverged, since the mean of the others flatters."""
        return mean_of(self.seeds)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean; None below five seeds."""
        return interval_of(self.seeds, self.metric)

    @property
    def diverged(self) -> int:
        """How many of the seeds diverged."""
        return sum(each.status == "diverged" for each in self.seeds)

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields, with the mean and its interval."""
        low, high = self.interval or (None, None)
        return {
            "task": self.task,
            "model": self.model,
            "size": self.size,
            "attention": self.attention,
            "device": self.device,
            "metric": self.metric.to_json(),
            "value": self.value,
            "low": low,
            "high": high,
            "baseline": self.baseline,
            "seeds": [each.to_json() for each in self.seeds],
            "control": [each.to_json() for each in self.control],
            "published": dict(self.published),
            "source": self.source,
            "plan": self.plan.to_json(),
            "rates": [each.to_json() for each in self.rates],
        }


def mean_of(seeds: tuple[SeedOutcome, ...]) -> float | None:
    """The mean quality of trainings; None for none, and where one diverged."""
    values = [each.quality for each in seeds if each.quality is not None]
    return fmean(values) if values and len(values) == len(seeds) else None


def interval_of(seeds: tuple[SeedOutcome, ...], metric: Metric) -> tuple[float, float] | None:
    """The interval of the mean quality over seeds, which are drawn and not sorted out; None below five.

    It is Student's, taken where the bounds of the metric are infinitely far away.
    """
    mean = mean_of(seeds)
    if mean is None or len(seeds) < FEWEST_SAMPLES:
        return None
    values = [each.quality for each in seeds if each.quality is not None]
    return bounded_interval(mean, student_half_width(values, CONFIDENCE), metric.least, metric.most)
