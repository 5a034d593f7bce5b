"""The quality of a task as an indicator, beside the costs; importing this loads no torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyprof.indicators.indicator import Indicator
from pyprof.indicators.registry import TRAINED
from pyprof.quality.tasks import find, kind
from pyprof.records import trainings
from pyprof.records.reading import Reading
from pyprof.records.study_parts import Training

if TYPE_CHECKING:
    from pyprof.indicators.indicator import Step
    from pyprof.quality.outcome import Outcome
    from pyprof.quality.plan import Plan
    from pyprof.quality.task import Task
    from pyprof.quality.training import Progress

_PLACE = 200


@cache
def of_task(name: str) -> Indicator:
    """The indicator of a task; raises UsageError for a task that does not exist."""
    task = kind(name)
    metric = task.metric
    return Indicator(
        name=f"{name}_{metric.name}",
        title=f"{task.title} {metric.title.lower()}",
        unit=metric.unit,
        better=metric.better,
        scope="trained from several seeds",
        meaning=f"{metric.meaning} of the task {name}, a mean over seeds",
        source=task.source,
        varies_with_length=False,
        modes=("train",),
        usual=False,
        place=_PLACE,
        how="trained",
        read=partial(_read, name),
        length=partial(_length, name),
        examples=partial(_examples, name),
    )


def __getattr__(name: str) -> Indicator:
    """The indicator of the task of that name, as the registry asks for it."""
    if name not in TRAINED.values():
        raise AttributeError(name)
    return of_task(name)


def _directory(name: str, training: Training) -> Path | None:
    return Path(training.data[name]) if name in training.data else None


def _length(name: str, training: Training, size: str) -> int:
    return find(name, _directory(name, training)).length(size)


def _plan(task: Task, training: Training, size: str) -> Plan:
    return task.plan(size).but(steps=training.steps, check_every=training.check_every)


def _examples(name: str, training: Training, size: str) -> int:
    """How many examples all trainings of a model see."""
    plan = _plan(find(name, _directory(name, training)), training, size)
    return plan.steps * plan.batch * training.seeds * (1 + training.control)


def _read(name: str, step: Step) -> Reading:
    """Train the model of a step from several seeds; the mean quality with its interval, all else in the detail."""
    from pyprof.quality.subject import Subject
    from pyprof.quality.training import train

    case, training = step.case, step.training
    task = find(name, _directory(name, training))
    plan = _plan(task, training, case.size)
    if case.dtype == "autocast-bfloat16":
        plan = plan.but(dtype=case.dtype)
    subject = Subject(case.model, case.size, case.attention, case.device, case.weights)
    outcome = train(
        task,
        subject,
        plan,
        seeds=range(training.seeds),
        directory=trainings.place_of(case.key, of_task(name).name),
        budget=training.budget,
        control=training.control,
        checkpoint_every=training.checkpoint_every,
        tell=partial(_tell, task, training, step.tell),
    )
    return reading(outcome)


def _tell(task: Task, training: Training, tell: Callable[[str, float], None], progress: Progress) -> None:
    """Say how far all trainings of a model are, of which those to come take as long as this one."""
    after = training.seeds - 1 - progress.seed
    if training.control and not progress.shuffled:
        after += training.seeds
    left = progress.left + after * (progress.elapsed + progress.left)
    what = f"{'shuffled labels, ' if progress.shuffled else ''}seed {progress.seed + 1} of {training.seeds}"
    tell(f"{task.title}: {what}, step {progress.step:,} of {progress.steps:,}", left)


def reading(outcome: Outcome) -> Reading:
    """What a record keeps of an outcome: no figure where a seed diverged, since the mean of the others flatters."""
    detail = _detail(outcome)
    if outcome.value is None:
        first = next(each.reason for each in outcome.seeds if each.status == "diverged")
        return Reading(
            None, reason=f"{outcome.diverged} of {len(outcome.seeds)} trainings diverged: {first}", detail=detail
        )
    low, high = outcome.interval or (None, None)
    return Reading(outcome.value, low, high, detail=detail)


def _detail(outcome: Outcome) -> dict[str, Any]:
    told = outcome.to_json()
    kept = ("task", "metric", "seeds", "control", "baseline", "published", "source", "plan")
    seeds = outcome.seeds
    joules = [each.joules for each in seeds]
    return {
        **{name: told[name] for name in kept},
        "examples": sum(each.examples for each in seeds),
        "seconds": sum(each.seconds for each in seeds),
        "joules": sum(each for each in joules if each is not None) if None not in joules else None,
        "joules_reason": next((each.joules_reason for each in seeds if each.joules_reason is not None), None),
    }
