"""The program nsys: running a command under it, and exporting its reports."""

from __future__ import annotations

import shutil
import subprocess
import sys
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
    """What records a command: CUDA and NVTX, from the range `profile` of the domain pyprof on, and without sampling.

    Of CUDA graphs every kernel is recorded, not the launch of the whole alone, which is nsys's default.
    """
    flags = ["--trace=cuda,nvtx", "--sample=none", "--cpuctxsw=none", "--cuda-graph-trace=node"]
    capture = ["--capture-range=nvtx", "--nvtx-capture=profile@pyprof", "--capture-range-end=stop"]
    return [program, "profile", *flags, "--force-overwrite=true", *capture, f"--output={report}", *command]


def record(program: str, report: Path, command: Sequence[str]) -> None:
    """Run a command under nsys, and show what it printed only where no report came of it; then raise UsageError."""
    raw = report.with_suffix(".qdstrm")
    for old in (report, raw):
        if old.is_file():
            old.unlink()
    done = subprocess.run(recording_command(program, report, command), stdout=subprocess.PIPE, check=False)
    if done.returncode == 0 and raw.exists():
        _import(program, raw, report)
    if done.returncode or not report.exists():
        sys.stderr.write(done.stdout.decode(errors="replace"))
        raise UsageError(f"nsys wrote no report {report} (exit code {done.returncode}): see what it said above")


def _import(program: str, raw: Path, report: Path) -> None:
    """Make a report of what nsys leaves where it does not find its importer, as Debian's package does not.

    The importer lies beside one of the places that the program's name is a link to.
    """
    link = Path(program)
    while True:
        importer = link.parent.parent / "host-linux-x64" / "QdstrmImporter"
        if importer.exists():
            done = subprocess.run([importer, "-i", raw, "-o", report], stdout=subprocess.DEVNULL, check=False)
            if done.returncode == 0 and report.exists():
                raw.unlink()
            return
        if not link.is_symlink():
            return
        link = link.parent / link.readlink()


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
