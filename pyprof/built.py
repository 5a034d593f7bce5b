"""What the native part was built for, and that the installed torch is that. Loads no torch."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from pyprof.errors import UsageError

# Written by setup.py beside what it builds.
BUILT = Path(__file__).with_name("_built.json")
NATIVE = ("pyprof._native", "pyprof._window", "pyprof._cuda", "pyprof._window_cuda")
_VERSION = re.compile(r"__version__\s*=\s*['\"]([^'\"]+)['\"]")


@dataclass(frozen=True)
class Built:
    """The torch that the native part was built for, such as "2.13.0+cu130", and its CUDA, None where it has none."""

    torch: str
    cuda: str | None

    @property
    def release(self) -> str:
        """What has to be equal: patch releases of PyTorch keep its binary interface, minor ones do not."""
        return _release(self.torch)


def built_for(path: Path = BUILT) -> Built | None:
    """What the native part was built for; None where that was not written down."""
    try:
        data = json.loads(path.read_text())
        return Built(str(data["torch"]), None if data["cuda"] is None else str(data["cuda"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def installed_torch() -> str | None:
    """The version of the torch that would be imported; None where there is none, or where it does not tell."""
    try:
        spec = importlib.util.find_spec("torch")
        if spec is None or spec.origin is None:
            return None
        match = _VERSION.search(Path(spec.origin).with_name("version.py").read_text())
    except (OSError, ValueError, ImportError):
        return None
    return match[1] if match else None


def mismatch(built: Built | None, installed: str | None) -> str | None:
    """One sentence where the installed torch is not the one that pyprof was built for, else None."""
    if built is None or installed is None or _release(installed) == built.release:
        return None
    return (
        f"this pyprof was built for torch {built.torch} and torch {installed} is installed: install the pyprof that "
        f"was built for it, or torch {built.release}, or build anew (make wheel)"
    )


def refuse_mismatch() -> None:
    """Have the native part say in a sentence that it does not fit the installed torch, where it does not."""
    built = built_for()
    said = None if built is None else mismatch(built, installed_torch())
    if said is not None:
        sys.meta_path.insert(0, _Refusing(said))


class _Refusing:
    """Stands before the native part, which would fail with the name of a missing symbol; all else is let through."""

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in NATIVE:
            raise UsageError(self.sentence)
        return None


def _release(version: str) -> str:
    return ".".join(version.partition("+")[0].split(".")[:2])
