"""What a trained model is asked: whether it uses far context, how far its attention reaches, which window would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyprof.errors import IncompleteError, UsageError
from pyprof.quality.language import Bits, Language, bits_per_byte
from pyprof.quality.outcome import SeedOutcome
from pyprof.quality.paired import Paired, compared
from pyprof.quality.plan import Plan
from pyprof.quality.region import Region
from pyprof.quality.subject import Subject
from pyprof.quality.task import Example, Rows, Task
from pyprof.quality.use import Use, use

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pyprof.quality.span import Span
    from pyprof.quality.training import Tell, Trained

# As many validation examples as Long Range Arena averages a span over.
_EXAMPLES = 1000
# The local model whose window is sought.
LOCAL = "zoo-window"


@dataclass(frozen=True)
class Setting:
    """A model, what it is trained on and how, and from which seeds: their judgements are summed example by example."""

    task: Task
    subject: Subject
    plan: Plan
    seeds: Sequence[int] = (0,)
    directory: Path | None = None
    budget: float | None = None

    def of(self, subject: Subject, name: str) -> Setting:
        """The same for another model, which has a directory of its own in the one there is."""
        return replace(self, subject=subject, directory=None if self.directory is None else self.directory / name)

    def to_json(self) -> dict[str, Any]:
        """A JSON object of what was trained."""
        return {
            "task": self.task.name,
            "source": self.task.source,
            **{name: value for name, value in asdict(self.subject).items() if name != "attention"},
            "attention": self.subject.resolved,
            "plan": self.plan.to_json(),
        }


@dataclass(frozen=True)
class UseAnswer:
    """What each disturbance of each region costs a model's quality, over the models of all seeds."""

    setting: Setting
    seeds: tuple[SeedOutcome, ...]
    uses: tuple[Use, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all of it."""
        return {
            **self.setting.to_json(),
            "seeds": [each.to_json() for each in self.seeds],
            "uses": [each.to_json() for each in self.uses],
        }


@dataclass(frozen=True)
class WindowQuality:
    """A local model's quality beside the vanilla one's; `keeps` where it loses less than the margin, for sure."""

    window: int
    paired: Paired
    margin: float

    @property
    def keeps(self) -> bool:
        """Whether the interval of the loss ends below the margin."""
        high = self.paired.loss.high
        return high is not None and high < self.margin

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return {**asdict(self), "keeps": self.keeps}


@dataclass(frozen=True)
class SpanAnswer:
    """How far a vanilla model's attention reaches, and what local models of some windows lose against it."""

    setting: Setting
    seeds: tuple[SeedOutcome, ...]
    span: Span
    windows: tuple[WindowQuality, ...]

    @property
    def needed(self) -> int | None:
        """The smallest window from which on all that were tried keep the quality; None where the largest does not."""
        needed = None
        for each in sorted(self.windows, key=lambda each: -each.window):
            if not each.keeps:
                break
            needed = each.window
        return needed

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all of it."""
        return {
            **self.setting.to_json(),
            "seeds": [each.to_json() for each in self.seeds],
            "span": self.span.to_json(),
            "windows": [each.to_json() for each in self.windows],
            "needed": self.needed,
        }


@dataclass(frozen=True)
class MemoryAnswer:
    """A recurrent model's bits per byte where each window of a text is read alone, and with what it remembers.

    The first window of each stream, before which there is nothing to remember, counts in neither. `paired` is the
    change from without to within memory.
    """

    setting: Setting
    seeds: tuple[SeedOutcome, ...]
    without: Bits
    within: Bits
    paired: Paired

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all of it; perplexities are those of a byte."""
        return {
            **self.setting.to_json(),
            "seeds": [each.to_json() for each in self.seeds],
            "memory": {
                "without": self.without.to_json(),
                "within": self.within.to_json(),
                "paired": asdict(self.paired),
            },
        }


def ask_use(setting: Setting, hows: Sequence[str], regions: Sequence[Region], *, tell: Tell | None = None) -> UseAnswer:
    """Train a model and disturb each region of the test examples in each way.

    Raises UsageError for what cannot be trained or disturbed (before anything is trained), and IncompleteError where a
    training diverged.
    """
    from pyprof.quality.perturb import perturbed_examples

    examples = setting.task.split("test", setting.subject.size)
    inputs = _inputs(setting.task, examples[0])
    for how in hows:
        for region in regions:
            perturbed_examples(examples, how, region, inputs=inputs)
    trained = _trained(setting, tell)

    def judge(of: Sequence[Example]) -> Rows:
        return _judged(setting, trained, of)

    uses = tuple(use(judge, examples, how, region, inputs=inputs) for region in regions for how in hows)
    return UseAnswer(setting, tuple(each.outcome for each in trained), uses)


def ask_span(
    setting: Setting, windows: Sequence[int] = (), *, margin: float = 0.05, tell: Tell | None = None
) -> SpanAnswer:
    """Train a model and see how far its attention reaches on validation examples; then local ones of these windows.

    `margin` is how much of the quality a local model may lose and still keep it: a share of right answers, or bits a
    token. Raises UsageError for what cannot be trained or shows no attention weights, and IncompleteError where a
    training diverged.
    """
    local = [_local(setting.subject, window) for window in sorted(set(windows))]
    trained = _trained(setting, tell)
    span = _span(setting, trained)
    examples = setting.task.split("test", setting.subject.size)
    per_token = "labels" in examples[0]
    vanilla = _judged(setting, trained, examples) if local else None
    found = []
    for window, subject in zip(sorted(set(windows)), local, strict=True):
        other = setting.of(subject, f"window-{window}")
        rows = _judged(other, _trained(other, tell), examples)
        assert vanilla is not None
        found.append(WindowQuality(window, compared(vanilla, rows, per_token=per_token), margin))
    return SpanAnswer(setting, tuple(each.outcome for each in trained), span, tuple(found))


def ask_memory(setting: Setting, *, tell: Tell | None = None) -> MemoryAnswer:
    """Train a recurrent model and read the test text with and without what it remembers of earlier windows.

    Raises UsageError for another task than language modelling and for a model that remembers nothing (before anything
    is trained), and IncompleteError where a training diverged.
    """
    from pyprof.quality.language_model import judged_with_memory, remembers

    task = setting.task
    if not isinstance(task, Language):
        raise UsageError(f"the examples of {task.name} do not follow one another: ask for memory with --task language")
    if not remembers(task.build(setting.subject, setting.seeds[0])):
        raise UsageError(
            f"{setting.subject.model} remembers nothing from one window to the next: ask a recurrent model, such as "
            "zoo-transformer-xl"
        )
    trained = _trained(setting, tell)
    windows = task.split("test", setting.subject.size)
    both = [judged_with_memory(task, each.module, windows, setting.plan.batch) for each in trained]
    without, within = (_summed([rows[which] for rows in both]) for which in (0, 1))
    return MemoryAnswer(
        setting,
        tuple(each.outcome for each in trained),
        bits_per_byte(without),
        bits_per_byte(within),
        compared(without, within, per_token=True),
    )


def _local(subject: Subject, window: int) -> Subject:
    if window < 1:
        raise UsageError(f"a window has at least one neighbour, not {window}")
    return replace(subject, model=LOCAL, attention="best", weights=None, settings={"window": window})


def _inputs(task: Task, example: Example) -> Sequence[str]:
    if missing := [name for name in task.inputs if name not in example]:
        raise UsageError(f"the examples of {task.name} have no {missing[0]}: ask of a task whose inputs are tokens")
    return task.inputs


def _trained(setting: Setting, tell: Tell | None) -> list[Trained]:
    from pyprof.quality.training import data_of, train_seed

    data, found = data_of(setting.task, setting.subject.size), []
    for seed in setting.seeds:
        directory = None if setting.directory is None else setting.directory / f"seed-{seed}"
        trained = train_seed(
            setting.task,
            setting.subject,
            setting.plan,
            seed,
            data=data,
            directory=directory,
            budget=setting.budget,
            tell=tell,
        )
        if trained.outcome.status == "diverged":
            raise IncompleteError(
                f"{setting.subject.model} from seed {seed} diverged ({trained.outcome.reason}), so there is nothing to "
                "ask of it: give a lower learning rate"
            )
        found.append(trained)
    return found


def _judged(setting: Setting, trained: Sequence[Trained], examples: Sequence[Example]) -> Rows:
    """The rows of all seeds' models, summed: an example's figure is then the mean over them."""
    from pyprof.quality.judge import judged

    return _summed([judged(setting.task, each.module, examples, setting.plan.batch) for each in trained])


def _summed(rows: Sequence[Rows]) -> Rows:
    total: Rows = sum(rows[1:], rows[0])
    return total


def _span(setting: Setting, trained: Sequence[Trained]) -> Span:
    import torch

    from pyprof.quality.span import span_over

    examples = setting.task.split("validation", setting.subject.size)
    _inputs(setting.task, examples[0])
    # As many at a time as their weights, a number for each pair of tokens, take little room.
    step = max(1, 2**20 // setting.task.length(setting.subject.size) ** 2)
    distances, lengths = [], []
    for begin in range(0, min(len(examples), _EXAMPLES), step):
        batch = setting.task.collate(examples[begin : min(begin + step, _EXAMPLES)])
        sizes = _sizes(batch)
        over_seeds = [_distances(each.module, batch, sizes) for each in trained]
        distances.append(torch.stack(over_seeds).mean(dim=0))
        lengths += sizes.tolist()
    return span_over(distances, lengths, causal=isinstance(setting.task, Language))


def _distances(module: nn.Module, batch: Mapping[str, Tensor], sizes: Tensor) -> Tensor:
    from pyprof.quality.judge import moved
    from pyprof.quality.span import spans

    placed = moved(batch, next(module.parameters()).device)
    return spans(module, lambda: module(**placed), sizes)


def _sizes(batch: Mapping[str, Tensor]) -> Tensor:
    """The lengths of a batch's examples, (batch,)."""
    import torch

    mask = batch.get("attention_mask")
    tokens = next(iter(batch.values()))
    return torch.full((len(tokens),), tokens.shape[1]) if mask is None else mask.sum(-1)
