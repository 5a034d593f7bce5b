"""Builds the CUDA kernels for the host, over the emulation, plain and under the sanitizers; runs cases on them.

A program is of one implementation (a file of under_test/) and one variant, with or without mutants (see mutants.py).
What it is linked from is compiled once a session.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
COMPILER = shutil.which("g++") or shutil.which("c++")
NO_COMPILER = "there is no C++ compiler"
_PARTS = ("machine", "launch", "hopper_machine", "turns", "banks", "arithmetic", "fibre")
EMULATION = [HERE / "emulation" / f"{name}.cpp" for name in _PARTS]
HARNESS = [HERE / "window_program.cpp", HERE / "window_problem.cpp"]
REFERENCE = ROOT / "csrc/window_attention/reference.cpp"


@dataclass(frozen=True)
class Variant:
    name: str
    flags: tuple[str, ...] = ()
    # The emulation's own bookkeeping is not watched by ThreadSanitizer: it would order what a GPU does not.
    emulation_flags: tuple[str, ...] = ()


ADDRESS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DPYPROF_ASAN")
PLAIN = Variant("plain")
ASAN = Variant("asan", ADDRESS, ADDRESS)
TSAN = Variant("tsan", ("-fsanitize=thread", "-DPYPROF_TSAN"), ("-DPYPROF_TSAN",))
VARIANTS = (PLAIN, ASAN, TSAN)


class Workshop:
    """Objects and programs of one test session, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def program(self, implementation: str, variant: Variant, mutants: bool = False) -> Path:
        """The program that tests one implementation: as it is, or with its mutants, of which one can be turned on."""
        output = self._place(f"{implementation}.mutants" if mutants else implementation, variant.name)
        if not output.exists():
            kernels = output.with_suffix(".o")
            flags = (*variant.flags, *(["-DPYPROF_MUTANTS"] if mutants else []))
            self._compile(HERE / "under_test" / f"{implementation}.cpp", kernels, flags)
            self.link(output, variant, [kernels, *self._harness(variant)])
        return output

    def emulation_program(self, source: Path, variant: Variant) -> Path:
        """A program that needs the emulation only."""
        output = self._place(source.stem, variant.name)
        if not output.exists():
            kernels = output.with_suffix(".o")
            self._compile(source, kernels, variant.flags)
            self.link(output, variant, [kernels, *self._emulation(variant)])
        return output

    def link(self, output: Path, variant: Variant, objects: list[Path]) -> Path:
        sanitizers = [flag for flag in variant.flags if flag.startswith("-fsanitize")]
        _call([*sanitizers, *map(str, objects), "-o", str(output)])
        return output

    def _place(self, name: str, variant: str) -> Path:
        return self.folder / f"{name}.{variant}.program"

    def _emulation(self, variant: Variant) -> list[Path]:
        return [self._object(source, variant, variant.emulation_flags, "-O2") for source in EMULATION]

    def _harness(self, variant: Variant) -> list[Path]:
        import torch

        oracle = self._object(REFERENCE, PLAIN, (f"-I{Path(torch.__file__).parent / 'include'}",), "-O2")
        return [
            oracle,
            *self._emulation(variant),
            *(self._object(source, variant, variant.flags) for source in HARNESS),
        ]

    def _object(self, source: Path, variant: Variant, flags: tuple[str, ...], *more: str) -> Path:
        output = self.folder / f"{source.stem}.{variant.name}.o"
        if not output.exists():
            self._compile(source, output, (*flags, *more))
        return output

    def _compile(self, source: Path, output: Path, flags: Iterable[str]) -> None:
        paths = [ROOT / "csrc", ROOT / "csrc/window_attention", HERE / "emulation", HERE]
        includes = [f"-I{path}" for path in paths]
        _call(
            [
                "-std=c++20",
                "-O1",
                "-g1",
                "-Wall",
                "-Wextra",
                "-Werror",
                *flags,
                *includes,
                "-c",
                str(source),
                "-o",
                str(output),
            ]
        )


def _call(arguments: list[str]) -> None:
    assert COMPILER
    done = subprocess.run([COMPILER, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


def run(
    program: Path, cases: Iterable[str] = (), *arguments: str, seconds: float = 600
) -> subprocess.CompletedProcess[str]:
    """Runs a program on cases, one a line of its input."""
    # Some kernels place memory so widely that ThreadSanitizer cannot start; without that randomness it can.
    prefix = ["setarch", "-R"] if shutil.which("setarch") else []
    command = [*prefix, str(program), *arguments]
    at_once = os.environ | {"TSAN_OPTIONS": "halt_on_error=1"}  # one race is enough, and a report takes long
    return subprocess.run(command, input="\n".join(cases), capture_output=True, text=True, timeout=seconds, env=at_once)


def holds(done: subprocess.CompletedProcess[str]) -> bool:
    return done.returncode == 0 and "all held" in done.stdout


def bits(done: subprocess.CompletedProcess[str]) -> str:
    """What tells apart everything that the kernels of a program have written."""
    assert holds(done), done.stdout + done.stderr[-4000:]
    return next(line for line in done.stdout.splitlines() if line.startswith("bits "))
