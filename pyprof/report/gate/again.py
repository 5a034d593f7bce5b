"""What to do about a comparison that was too disturbed to judge: which run to measure again, how, and how long."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyprof.analysis.gate.change import Change, Obstacle
from pyprof.analysis.gate.compare import Gate
from pyprof.analysis.gate.timed import MOST_DETECTABLE, MOST_SPEED
from pyprof.quantity import format_seconds, named, plural
from pyprof.records.disturbance import MOST_LOST
from pyprof.records.run_directory import Run
from pyprof.report.style import short_case
from pyprof.timing.cores import spoken


@dataclass(frozen=True)
class Again:
    """What to measure again: `runs` by their directories, in about `seconds` together, by these `commands`.

    `cases` are those that could not be judged, as reports write them, and `obstacles` what kept them from it. `advice`
    are sentences.
    """

    runs: tuple[str, ...]
    cases: tuple[str, ...]
    obstacles: tuple[Obstacle, ...]
    seconds: float
    commands: tuple[str, ...]
    advice: tuple[str, ...]


def again(gate: Gate, baseline: Run, head: Run) -> Again | None:
    """What to measure again; None where everything could be judged."""
    disturbed = gate.having("too disturbed")
    if not disturbed:
        return None
    runs = _runs(disturbed, baseline, head)
    # What disturbs a run prolongs it, so that the shorter one tells how long a quiet one takes.
    once = min(sum(record.seconds for record in run.records.values()) for run in (baseline, head))
    in_turn = _took_turns(head)
    if in_turn:
        # Each waited for the other meanwhile. Which folders the code is in, a run does not tell.
        seconds, commands = once, []
    else:
        seconds = once * len(runs)
        commands = [
            f"pyprof study {shlex.quote(str(run.directory / 'study.toml'))} -o {shlex.quote(f'{run.directory}-again')}"
            for run in runs
        ]
    obstacles = tuple(dict.fromkeys(change.obstacle for change in disturbed if change.obstacle is not None))
    return Again(
        runs=tuple(str(run.directory) for run in runs),
        cases=tuple(dict.fromkeys(short_case(change.case) for change in disturbed)),
        obstacles=obstacles,
        seconds=seconds,
        commands=tuple(commands),
        advice=tuple(_advice(gate, disturbed, runs, seconds, head, in_turn)),
    )


def _runs(disturbed: Sequence[Change], baseline: Run, head: Run) -> list[Run]:
    """The runs in which threads were held up; both where that isn't told."""
    guilty = [
        run
        for place, run in enumerate((baseline, head))
        if any((change.held_up[place] or 0.0) > MOST_LOST for change in disturbed)
    ]
    return guilty or [baseline, head]


def _took_turns(run: Run) -> bool:
    readings = (reading for record in run.records.values() for reading in record.indicators.values())
    return any(reading.rounds is not None and reading.rounds.ended for reading in readings)


def _advice(
    gate: Gate, disturbed: Sequence[Change], runs: Sequence[Run], seconds: float, head: Run, in_turn: bool
) -> Iterator[str]:
    names = named([short_case(change.case) for change in disturbed])
    yield f"Not judged: {len(disturbed)} of {plural(len(gate.changes), 'comparison')} ({names})."
    directories = " and ".join(str(run.directory) for run in runs)
    obstacles = {change.obstacle for change in disturbed}
    if "waits" in obstacles:
        most = max(share for change in disturbed for share in change.held_up if share is not None)
        yield (
            f"In {directories} other processes took the cores, and the steps waited for threads up to "
            f"{100 * most:.0f} % of their time: such times say nothing of the code."
        )
    elif "speed" in obstacles:
        yield (
            f"A fixed work beside the steps took more than {MOST_SPEED:g} times as long in one run as in the other: "
            "so much slower a machine slows each kind of work by a factor of its own."
        )
    if "scatter" in obstacles:
        yield (
            "The machine was disturbed, and samples lie so far apart that not even a regression of "
            f"{100 * MOST_DETECTABLE:.0f} % beyond the margin would have been shown: a quieter machine helps, or more "
            "rounds (min_samples under [measure])."
        )
    if obstacles - {"waits"} and not in_turn:
        yield "pyprof gate measures both states of the code in turn, so that they meet the same machine."
    threads = head.environment.threads
    if threads > 1:
        cores = spoken(range(threads - 1))
        yield f"What cannot be stopped needs a core of its own: measure both runs with --pin {cores}, say."
    if in_turn:
        yield (
            "Measure both again by the same pyprof gate with another -o while nothing else runs on these cores "
            f"(pyprof env --check says what does); on a quiet machine that takes about {format_seconds(seconds)}."
        )
        return
    yield (
        f"Measure {directories} again while nothing else runs on these cores "
        f"(pyprof env --check says what does); a quiet run takes about {format_seconds(seconds)}:"
    )
