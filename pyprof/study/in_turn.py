"""Measure one study of two states of some code in turn, round by round, so that both meet the same machine."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pyprof.errors import ExitCode, PyprofError, UsageError
from pyprof.machine.interruption import ASKING, interrupted_by
from pyprof.plain import shown
from pyprof.records.run_directory import Run, read
from pyprof.worker.turns import VARIABLE

_FINE = (ExitCode.DONE, ExitCode.INCOMPLETE)
# A run that is told to stop ends its measuring process and keeps what it has, which takes no time.
_STOP_SECONDS = 10.0
# Cores differ, by what else is on them: with each thread on one of its own, both runs have the same. Left to the
# system, all steps of a run took up to 6 % more or less than those of the other, where the code was the same.
_BOUND = {"OMP_PROC_BIND": "true", "OMP_PLACES": "threads"}


@dataclass(frozen=True)
class Code:
    """A state of the code under test: `folder` is where imports are looked for first, beside `variables`."""

    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """The environment of the processes that measure it."""
        paths = (str(self.folder.absolute()), os.environ.get("PYTHONPATH", ""))
        bound = {name: os.environ.get(name, usual) for name, usual in _BOUND.items()}
        return {**os.environ, **bound, **self.variables, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


class RunFailed(PyprofError):
    """One of the two runs ended early; what was measured is kept."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        # A process that a signal ended has none of ours.
        self.exit_code = code if code in set(ExitCode) else ExitCode.DEFECT


def measure_in_turn(
    study: str,
    codes: Mapping[str, Code],
    directory: Path,
    *,
    resume: bool = False,
    progress: Callable[[str, str], None] = lambda name, line: None,
) -> dict[str, Run]:
    """Measure a study (a built-in one or a TOML file) of each code into a run of its name under the directory.

    Each has a process of its own, and all hold one turn: whoever has it takes a round, and the others wait. `progress`
    is told each line that a run says, with its name, one at a time. With `resume` runs go on where they ended.

    Raises UsageError where a folder is not there, and RunFailed where a run ends early: of that it has the message and
    the exit code, and the others are stopped.
    """
    for name, code in codes.items():
        if not code.folder.is_dir():
            raise UsageError(f"the code of {name} is not there: check the folder {shown(str(code.folder))}")
    directory.mkdir(parents=True, exist_ok=True)
    ended: Ended = queue.SimpleQueue()
    runs: list[_Run] = []
    telling = threading.Lock()

    def tell(name: str, line: str) -> None:
        with telling:
            progress(name, line)

    # The runs are in sessions of their own, and would go on when this process has ended.
    with tempfile.TemporaryDirectory(prefix="pyprof-") as turns, interrupted_by(*ASKING):
        try:
            for name, code in codes.items():
                command = _command(study, directory / name, resume)
                runs.append(_Run(name, command, code.environment() | {VARIABLE: turns}, tell, ended))
            for _ in runs:
                one = ended.get()
                if one.code not in _FINE:
                    raise RunFailed(f"{one.name}: {one.last}", one.code)
        finally:
            for run in runs:
                run.stop()
    return {name: read(directory / name) for name in codes}


def _command(study: str, directory: Path, resume: bool) -> list[str]:
    resumed = ["--resume"] if resume and directory.exists() else []
    options = ["-o", str(directory), "--no-page", "--json", *resumed]
    return [sys.executable, "-P", "-m", "pyprof", "study", study, *options]


class _Run:
    """One of the runs: a process, and a thread that hears what it says and puts the run into `ended` at its end."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        progress: Callable[[str, str], None],
        ended: Ended,
    ) -> None:
        self.name, self.last, self.code = name, "it said nothing", -1
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # A session of its own: Ctrl-C reaches this process alone, which stops the runs in order.
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, args=(progress, ended), daemon=True)
        self._listener.start()

    def stop(self) -> None:
        """Interrupt it where it still runs, which keeps what it has measured."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._listener.join(_STOP_SECONDS)

    def _listen(self, progress: Callable[[str, str], None], ended: Ended) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.strip():
                self.last = line.strip().removeprefix("pyprof: ")
                progress(self.name, self.last)
        self.code = self._process.wait()
        ended.put(self)


Ended = queue.SimpleQueue[_Run]
