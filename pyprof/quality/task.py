"""A task: examples, what a model makes of them, and what its answers are worth; importing this loads no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from pyprof.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pyprof.quality.outcome import SeedOutcome
    from pyprof.quality.plan import Plan
    from pyprof.quality.subject import Subject

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Example = Mapping[str, Any]
# Behind the name of an input in an example: the places at which its tokens stand, where some were taken out.
PLACES = "_places"
# What judging gives: a row for each example, whose columns are sums.
Rows = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a task's answers are judged by: a quality in `unit` ("1" for a share), higher or lower being better.

    `least` and `most` are what it can be at the ends, None for no end: its intervals stay within them.
    """

    name: str
    title: str
    better: Literal["higher", "lower"]
    meaning: str
    unit: str = "1"
    least: float | None = None
    most: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return asdict(self)


ACCURACY = Metric(
    name="accuracy",
    title="Accuracy",
    better="higher",
    meaning="share of test examples answered right",
    least=0.0,
    most=1.0,
)


class Task(ABC):
    """What a model is trained and judged on.

    `directory` holds the data where they are someone else's; without one they are generated, or a small built-in
    stand-in takes their place. Examples are the same for the same size and seed.
    """

    name: str
    title: str
    source: str
    metric: Metric = ACCURACY
    # What stands in a `directory`, in a phrase; None for a task whose data are generated.
    layout: str | None = None
    # The names in an example of the arrays of tokens that a model reads.
    inputs: tuple[str, ...] = ("tokens",)

    def __init__(self, directory: Path | None = None) -> None:
        if directory is not None and self.layout is None:
            raise UsageError(f"the task {self.name} makes its data itself and takes no directory: leave it out")
        if directory is not None and not directory.is_dir():
            raise UsageError(f"there is no directory {str(directory)!r}: {self.name} needs {self.layout}")
        self.directory = directory

    @property
    def published(self) -> Mapping[str, float]:
        """The scores of the publication `source` by the names of its models here, in the metric's unit."""
        return {}

    @property
    def options(self) -> Mapping[str, Any]:
        """What was chosen of the task beside its data, as JSON; a training goes on with the same choice only."""
        return {}

    @abstractmethod
    def length(self, size: str) -> int:
        """The longest input at a size, in tokens (or the unit of the task's models)."""

    @abstractmethod
    def plan(self, size: str) -> Plan:
        """How a model of that size is trained: as in the released configuration, or at tiny within seconds."""

    @abstractmethod
    def split(self, name: Split, size: str, seed: int = 0) -> Sequence[Example]:
        """The examples of one split; those of two splits differ. Raises UsageError where data are damaged."""

    @abstractmethod
    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """A batch as keyword arguments of the module, padded with 0 on the right, labels included."""

    @abstractmethod
    def build(self, subject: Subject, seed: int) -> nn.Module:
        """The model with the task's head, its random weights fixed by the seed.

        Called with a batch it gives a dict with its `loss` and what `judge` needs.
        """

    @abstractmethod
    def judge(self, output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
        """A row of sums for each example of a batch, (batch, k) in float64: right answers and answers, say."""

    def quality(self, rows: Rows) -> float:
        """The metric from the rows of examples: by default the sum of the first column over that of the second."""
        return float(rows[:, 0].sum() / rows[:, 1].sum())

    def detail(self, module: nn.Module, examples: Sequence[Example], rows: Rows, batch: int) -> dict[str, Any]:
        """What else a training's outcome tells, as JSON: called once, after the test examples were judged."""
        return {}

    def detail_lines(self, seeds: Sequence[SeedOutcome]) -> Sequence[str]:
        """The details of trainings in words, for a terminal."""
        return ()

    def baseline(self, train: Sequence[Example], test: Sequence[Example]) -> float:
        """The quality of who never looks at an input: by default always the most frequent label of the training."""
        most, _ = Counter(label_of(example) for example in train).most_common(1)[0]
        return sum(label_of(example) == most for example in test) / len(test)

    def shuffled(self, examples: Sequence[Example], seed: int) -> Sequence[Example]:
        """The same inputs with their labels permuted: what a control is trained on."""
        return Relabelled(examples, np.random.default_rng([seed, 0x5EED]).permutation(len(examples)))


class Relabelled(Sequence[Example]):
    """Examples of which each has the label of another one: number `order[i]` gives its to number i."""

    def __init__(self, examples: Sequence[Example], order: npt.NDArray[np.int64]) -> None:
        self._examples, self._order = examples, order

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        return {**self._examples[number], "label": self._examples[int(self._order[number])]["label"]}


def label_of(example: Example) -> int:
    """The class of an example."""
    return int(example["label"])
