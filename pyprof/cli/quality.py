"""`pyprof quality`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyprof.cli import live, quality_questions
from pyprof.cli.options import (
    add_attention,
    add_command,
    add_json,
    directory,
    named,
    names,
    positive,
    print_json,
    seconds,
    whole,
)
from pyprof.cli.output import models_print_to_standard_error, say
from pyprof.errors import ExitCode, UsageError
from pyprof.quality.plan import DTYPES
from pyprof.quality.tasks import TASKS

if TYPE_CHECKING:
    from pyprof.cli.options import Commands
    from pyprof.quality.plan import Plan
    from pyprof.quality.rates import Tried
    from pyprof.quality.subject import Subject
    from pyprof.quality.task import Task
    from pyprof.quality.training import Progress

_DESCRIPTION = f"""Train a model on a task from several seeds and judge it: the quality that its cost buys.

MODEL is a name from `pyprof models`, an importable factory package.module:function whose module gives hidden states,
or the directory of a local checkpoint. Tasks: {", ".join(TASKS)}, or a class of yours as package.module:Class.
The default size, tiny, learns within seconds on small built-in data; small and base are trained as published, and take
the published data where they are somebody else's (--data).

examples:
  pyprof quality lra-transformer --task listops
  pyprof quality zoo-routing --perturb shuffle,replace --region first:0.5,first:0.75
  pyprof quality zoo-dense --span --windows 4,16,64
  pyprof quality lra-linear --task image --seeds 3 --control --json
  pyprof quality lra-local --task text --size small --data aclImdb -o runs/imdb
"""


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "quality", _run, _DESCRIPTION)
    parser.add_argument("model", metavar="MODEL", type=named)
    parser.add_argument(
        "--task", type=named, metavar="TASK", help="what it is trained and judged on (of a question: language)"
    )
    parser.add_argument("--size", choices=("tiny", "small", "base"), default="tiny", help="default: tiny")
    add_attention(parser)
    parser.add_argument(
        "--seeds", type=whole(1, 1000), metavar="N", help="trainings (default: 5, and 1 for a question)"
    )
    parser.add_argument("--control", action="store_true", help="train as often on shuffled labels, as a control")
    plan = parser.add_argument_group("the training, as the task has it unless you say otherwise")
    plan.add_argument("--steps", type=whole(1), metavar="N", help="steps of a training")
    plan.add_argument("--batch", type=whole(1), metavar="N", help="examples of a step")
    plan.add_argument(
        "--rates",
        type=_rates,
        metavar="A,B",
        help="learning rates; of several, that which is best on validation examples (over 3 seeds at most)",
    )
    plan.add_argument(
        "--length", type=whole(1), metavar="N", help="bytes of a window of --task language (default: that of the size)"
    )
    plan.add_argument("--dtype", choices=DTYPES, help="autocast-bfloat16 computes what it may in bfloat16")
    plan.add_argument("--device", metavar="DEVICE", default="cpu", help="cpu (default) or cuda")
    plan.add_argument("--weights", type=named, metavar="DIR", help="a checkpoint that the model starts from")
    plan.add_argument("--data", type=directory, metavar="DIR", help="where the task's data are")
    plan.add_argument(
        "--budget", type=seconds, metavar="TIME", help="of a training, such as 90 or '5 min' (default: no end)"
    )
    speech = parser.add_argument_group("speech")
    speech.add_argument("--decoding", metavar="HOW", help="greedy (default), beam, or beam:WIDTH")
    speech.add_argument(
        "--splits",
        type=names,
        metavar="A,B,C",
        help="those of --data for training, validation and test (default: train-clean-100,dev-clean,test-clean)",
    )
    kept = parser.add_argument_group("keeping trainings")
    kept.add_argument(
        "-o", "--output", type=directory, metavar="DIR", help="keep checkpoints and trained weights in this directory"
    )
    kept.add_argument("--resume", action="store_true", help="go on with the trainings in --output")
    quality_questions.add_options(parser.add_argument_group("questions to the trained model"))
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    _check_output(options)
    from pyprof.quality import require_extra, tasks
    from pyprof.quality.subject import Subject
    from pyprof.quality.training import train

    asked = quality_questions.asks(options)
    if options.task is None and not asked:
        raise UsageError("a model is trained on a task: name it by --task")
    require_extra()
    task = tasks.find(options.task or quality_questions.TASK, options.data, **_of_task(options))
    subject = Subject(options.model, options.size, options.attention or "best", options.device, options.weights)
    seeds = range(options.seeds or (1 if asked else 5))
    plan, tried = _with_rate(_plan(task, options), options, task, subject, seeds)
    if asked:
        from pyprof.quality.questions import Setting

        setting = Setting(task, subject, plan, seeds, options.output, options.budget)
        return quality_questions.answer(options, setting, _show_progress)
    with models_print_to_standard_error():
        outcome = train(
            task,
            subject,
            plan,
            seeds=seeds,
            directory=options.output,
            budget=options.budget,
            control=options.control,
            tell=_show_progress,
        )
    outcome = replace(outcome, rates=tried)
    live.clear()
    if options.json:
        print_json(outcome.to_json())
    else:
        from pyprof.report.console import Console
        from pyprof.report.quality import outcome_blocks

        console = Console()
        for block in outcome_blocks(outcome, task.title, task.detail_lines(outcome.seeds)):
            console.print(block)
    if outcome.diverged:
        say(f"{outcome.diverged} of {len(outcome.seeds)} trainings diverged, with their reasons above")
    return ExitCode.INCOMPLETE if outcome.diverged else ExitCode.DONE


def _of_task(options: argparse.Namespace) -> dict[str, Any]:
    """What was said of the task itself."""
    said = {"decoding": options.decoding, "splits": options.splits, "length": options.length}
    return {name: value for name, value in said.items() if value is not None}


def _plan(task: Task, options: argparse.Namespace) -> Plan:
    return task.plan(options.size).but(steps=options.steps, batch=options.batch, dtype=options.dtype)


def _rates(text: str) -> tuple[float, ...]:
    return tuple(map(positive, names(text)))


def _with_rate(
    plan: Plan, options: argparse.Namespace, task: Task, subject: Subject, seeds: Sequence[int]
) -> tuple[Plan, tuple[Tried, ...]]:
    """The plan with the learning rate that was given, or the best of several with what each led to."""
    rates: tuple[float, ...] = options.rates or ()
    if len(set(rates)) < 2:
        return plan.but(learning_rate=rates[0] if rates else None), ()
    from pyprof.quality.rates import best_of, try_rates

    with models_print_to_standard_error():
        tried = try_rates(
            task,
            subject,
            plan,
            rates,
            seeds=seeds,
            directory=options.output,
            budget=options.budget,
            tell=_show_progress,
        )
    return plan.but(learning_rate=best_of(tried, task.metric)), tried


def _check_output(options: argparse.Namespace) -> None:
    """Raise UsageError where a directory holds what this command would mix with its own."""
    place: Path | None = options.output
    if options.resume and place is None:
        raise UsageError("--resume goes on with the trainings of a directory: name it by -o")
    holds = place is not None and place.is_dir() and any(place.iterdir())
    if holds and not options.resume:
        raise UsageError(f"{place} is not empty: go on with its trainings by --resume, or choose another -o")
    if options.resume and not holds:
        raise UsageError(f"{place} holds no trainings to go on with: leave --resume out, or check -o")


def _show_progress(progress: Progress) -> None:
    from pyprof.quantity import format_seconds

    what = f"{'shuffled, ' if progress.shuffled else ''}seed {progress.seed}"
    loss = "" if progress.loss is None else f", loss {progress.loss:.3f}"
    left = f"about {format_seconds(progress.left)} left"
    line = f"{what}: step {progress.step:,} of {progress.steps:,}{loss}, {left}"
    if live.is_terminal():
        live.show(line)
    elif progress.step == progress.steps:
        live.line(line)
