"""The view of a run directory, which needs nothing but what the run holds."""

from __future__ import annotations

from pyprof.quantity import format_bytes
from pyprof.records.environment import Environment
from pyprof.records.run_directory import Run
from pyprof.report.build import About, build_view
from pyprof.report.view import View


def view_of(run: Run) -> View:
    """All that a report says about a run."""
    about = About(run.study.name, machine_lines(run), run.warnings, run.study, run.directory)
    return build_view(run.records.values(), run.resolved, about)


def machine_lines(run: Run) -> str:
    """The machine of a run; of unlike ones each with the name that tables give it."""
    if not run.others:
        return machine_line(run.environment)
    return "; ".join(f"machine {each.fingerprint[:8]}: {machine_line(each)}" for each in run.environments.values())


def machine_line(environment: Environment) -> str:
    """The machine and its software in one line."""
    cards = ", ".join(gpu.name for gpu in environment.gpus)
    parts = [
        f"{cards} with {environment.cpu}" if cards else environment.cpu,
        f"{environment.threads} of {environment.cores} cores"
        + (f" (pinned to {environment.pinned})" if environment.pinned else ""),
        format_bytes(environment.memory_bytes),
        f"torch {environment.torch}",
        f"transformers {environment.transformers}",
    ]
    return ", ".join(parts)
