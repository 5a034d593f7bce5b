"""Training on transformers' Trainer: what is added is seeds, budgets, checkpoints that count, and an honest end."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model

from pyprof.errors import UsageError
from pyprof.failures import sentence
from pyprof.quality import checkpoints, require_extra
from pyprof.quality.judge import judged
from pyprof.quality.outcome import Outcome, SeedOutcome
from pyprof.quality.plan import Plan
from pyprof.quality.subject import Subject
from pyprof.quality.task import Example, Task
from pyprof.records.study_parts import CHECKPOINT_SECONDS
from pyprof.records.whole_file import write_whole

if TYPE_CHECKING:
    from torch import nn

    from pyprof.quality.loop import Loop

WEIGHTS, OUTCOME = "model.safetensors", "outcome.json"
SEEDS = tuple(range(5))


@dataclass(frozen=True)
class Progress:
    """How far the training from one seed is; `elapsed` and `left` are seconds, the second ones foreseen."""

    seed: int
    step: int
    steps: int
    examples: int
    loss: float | None
    elapsed: float
    left: float
    shuffled: bool = False


Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class Data:
    """The examples that trainings of several seeds share."""

    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]


@dataclass(frozen=True)
class Trained:
    """A model after its training, in eval mode on its device, and what came of it."""

    module: nn.Module
    outcome: SeedOutcome


def data_of(task: Task, size: str) -> Data:
    """All examples of a task at a size."""
    return Data(task.split("train", size), task.split("validation", size), task.split("test", size))


def train(
    task: Task,
    subject: Subject,
    plan: Plan | None = None,
    *,
    seeds: Sequence[int] = SEEDS,
    directory: Path | None = None,
    budget: float | None = None,
    control: bool = False,
    checkpoint_every: float = CHECKPOINT_SECONDS,
    tell: Tell | None = None,
) -> Outcome:
    """Train a model from several seeds and judge each on the task's test examples.

    `budget` bounds the seconds of each training, set-up aside. With a `directory` every seed has one in it, where it
    goes on after it was killed, and is read back where it was finished; `checkpoint_every` are the seconds between two
    checkpoints where the plan does not say after how many steps. `control` trains as many on shuffled labels.

    Raises UsageError for what cannot be trained, and where the extra `quality` is missing.
    """
    require_extra()
    plan = task.plan(subject.size) if plan is None else plan
    data = data_of(task, subject.size)

    def outcomes(shuffled: bool) -> tuple[SeedOutcome, ...]:
        return tuple(
            train_seed(
                task,
                subject,
                plan,
                seed,
                data=data,
                directory=None if directory is None else directory / f"{'control' if shuffled else 'seed'}-{seed}",
                budget=budget,
                shuffled=shuffled,
                checkpoint_every=checkpoint_every,
                tell=tell,
            ).outcome
            for seed in seeds
        )

    return Outcome(
        task=task.name,
        model=subject.model,
        size=subject.size,
        attention=subject.resolved,
        device=subject.device,
        metric=task.metric,
        plan=plan,
        seeds=outcomes(False),
        baseline=task.baseline(data.train, data.test),
        control=outcomes(True) if control else (),
        published=dict(task.published),
        source=task.source,
    )


def train_seed(
    task: Task,
    subject: Subject,
    plan: Plan,
    seed: int,
    *,
    data: Data | None = None,
    directory: Path | None = None,
    budget: float | None = None,
    shuffled: bool = False,
    checkpoint_every: float = CHECKPOINT_SECONDS,
    tell: Tell | None = None,
) -> Trained:
    """Train a model from one seed; see `train`. With `shuffled` the labels of its training examples are permuted."""
    require_extra()
    from pyprof.quality.loop import Loop

    data = data_of(task, subject.size) if data is None else data
    if shuffled:
        data = replace(data, train=task.shuffled(data.train, seed))
    identity = {
        "task": task.name,
        "data": None if task.directory is None else str(task.directory),
        "options": dict(task.options),
        **asdict(replace(subject, attention=subject.resolved)),
        "plan": plan.to_json(),
        "seed": seed,
        "shuffled": shuffled,
    }
    with _undisturbed(seed):
        module = task.build(subject, seed)
        finished = None if directory is None else _finished(directory, identity, module)
        if finished is not None:
            return Trained(module.to(subject.device).eval(), finished)
        with tempfile.TemporaryDirectory() if directory is None else _kept(directory) as place:
            keep = None if directory is None else checkpoint_every
            loop = Loop(task, module, data, plan, seed, Path(place), subject.device, budget, tell, shuffled, identity)
            loop.run(keep)
        outcome = _outcome(loop, task, module, data)
    if directory is not None:
        _finish(directory, identity, module, outcome)
    return Trained(module.eval(), outcome)


def _outcome(loop: Loop, task: Task, module: nn.Module, data: Data) -> SeedOutcome:
    quality: float | None = None
    detail: dict[str, Any] = {}
    reason = loop.why_diverged
    if reason is None:
        rows = judged(task, module, data.test, loop.plan.batch)
        quality = task.quality(rows)
        if np.isfinite(quality):
            detail = task.detail(module.eval(), data.test, rows, loop.plan.batch)
        else:
            quality, reason = None, f"its {task.metric.name} on the test examples is no number"
    stopped = loop.step < loop.plan.steps
    return SeedOutcome(
        seed=loop.seed,
        status="diverged" if reason is not None else "out of budget" if stopped else "done",
        quality=quality,
        reason=reason or (f"the budget ended after {loop.step:,} of {loop.plan.steps:,} steps" if stopped else None),
        steps=loop.step,
        examples=loop.step * loop.plan.batch,
        seconds=round(loop.elapsed, 3),
        joules=loop.joules,
        joules_reason=loop.joules_reason,
        loss=loop.loss,
        curve=tuple(loop.curve),
        detail=detail,
    )


def _finished(directory: Path, identity: Mapping[str, Any], module: nn.Module) -> SeedOutcome | None:
    """The outcome of a training that was finished before, with its weights in the module; None where there is none."""
    if not (directory / OUTCOME).is_file():
        return None
    document = checkpoints.read_document(directory / OUTCOME)
    if document.get("identity") != identity:
        raise UsageError(f"{directory} holds another training: choose another directory")
    try:
        load_model(module, directory / WEIGHTS)
        return SeedOutcome.from_json(document["outcome"])
    except (KeyError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        raise UsageError(
            f"{directory} holds a damaged training ({sentence(error)}): remove it to train anew"
        ) from error


def _finish(directory: Path, identity: Mapping[str, Any], module: nn.Module, outcome: SeedOutcome) -> None:
    save_model(module, str(directory / WEIGHTS))
    document = {"identity": identity, "outcome": outcome.to_json()}
    write_whole(directory / OUTCOME, json.dumps(document, indent=2, allow_nan=False) + "\n")
    checkpoints.remove(directory)


@contextmanager
def _kept(directory: Path) -> Iterator[str]:
    directory.mkdir(parents=True, exist_ok=True)
    yield str(directory)


@contextmanager
def _undisturbed(seed: int) -> Iterator[None]:
    """Leave the generators of random numbers as they were, which Trainer seeds; and compute deterministically."""
    python, numpy = random.getstate(), np.random.get_state()
    strict, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    deterministic: Any = torch.utils.deterministic
    filled = deterministic.fill_uninitialized_memory
    cards = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=cards):
        try:
            torch.use_deterministic_algorithms(True, warn_only=True)
            # Filling what is written anyway would cost time and change nothing.
            deterministic.fill_uninitialized_memory = False
            torch.manual_seed(seed)
            yield
        finally:
            torch.use_deterministic_algorithms(strict, warn_only=warn)
            deterministic.fill_uninitialized_memory = filled
            random.setstate(python)
            np.random.set_state(numpy)
