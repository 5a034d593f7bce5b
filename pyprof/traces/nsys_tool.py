"""The program nsys: running a command under it, and exporting its reports."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pyprof.errors import UsageError
from pyprof.layers.profile import Profile
from pyprof.traces import nsys

_WHERE = "install Nsight Systems (developer.nvidia.com/nsight-systems, or Debian's package nsight-systems)"


def found() -> str:
    """Where nsys is; raises UsageError with where to get it."""
    program = shutil.which("nsys")
    if program is None:
        raise UsageError(f"there is no program nsys on the path: {_WHERE}")
    return program


def recording_command(program: str, report: Path, command: Sequence[str]) -> list[str]:
    """What records a command: CUDA and NVTX, from the range `profile` of the domain pyprof on, and without sampling."""
    flags = ["--trace=cuda,nvtx", "--sample=none", "--cpuctxsw=none", "--force-overwrite=true"]
    capture = ["--capture-range=nvtx", "--nvtx-capture=profile@pyprof", "--capture-range-end=stop"]
    return [program, "profile", *flags, *capture, f"--output={report}", *command]


def record(program: str, report: Path, command: Sequence[str]) -> None:
    """Run a command under nsys, with what it prints on standard error; raises UsageError where no report came of it."""
    done = subprocess.run(recording_command(program, report, command), stdout=2, check=False)
    if done.returncode or not report.exists():
        raise UsageError(f"nsys wrote no report {report} (exit code {done.returncode}): see what it said above")


def read_any(path: Path) -> Profile:
    """The profile of an export or of a report; raises UsageError as `nsys.read` does, and where nsys fails."""
    if path.suffix not in (".nsys-rep", ".qdrep"):
        return nsys.read(path)
    if not path.is_file():
        raise UsageError(f"there is no file {path}: name a report of nsys, or its SQLite export")
    program = found()
    with tempfile.TemporaryDirectory() as folder:
        export = Path(folder, "export.sqlite")
        command = [program, "export", "--type=sqlite", f"--output={export}", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not export.exists():
            said = (done.stderr or done.stdout).strip().splitlines()
            raise UsageError(f"nsys cannot export {path}: {said[-1] if said else f'exit code {done.returncode}'}")
        return nsys.read(export)
