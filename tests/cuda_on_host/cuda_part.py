"""Builds csrc/cuda for the host, over the fake runtime and the fake CUPTI, as a module that Python can load."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
import sysconfig
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
COMPILER = shutil.which("g++") or shutil.which("c++")
FAKE_RUNTIME, FAKE_CUPTI = HERE / "fake_runtime", HERE / "fake_cupti"
WARNINGS = ("-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror")


def compile_shared(output: Path, sources: list[Path], includes: list[str], *flags: str) -> Path:
    """A shared library; flags of a sanitizer have to be given."""
    assert COMPILER
    command = [COMPILER, "-std=c++20", "-g", "-shared", "-fPIC", "-pthread", "-fvisibility=hidden", *flags]
    command += [f"-I{path}" for path in includes] + [str(path) for path in sources] + ["-o", str(output)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return output


def build_module(folder: Path, *flags: str) -> tuple[ModuleType, ctypes.CDLL]:
    """The module `_cuda`, and the controls of the fake runtime inside it."""
    library = folder / f"_cuda{sysconfig.get_config_var('EXT_SUFFIX')}"
    sources = [*sorted((ROOT / "csrc/cuda").glob("*.cpp")), FAKE_RUNTIME / "runtime.cpp"]
    includes = [FAKE_RUNTIME, FAKE_CUPTI, ROOT / "csrc", pybind11_headers(), sysconfig.get_paths()["include"]]
    compile_shared(library, sources, [str(path) for path in includes], *(flags or ("-O1",)))
    spec = importlib.util.spec_from_file_location("_cuda", library)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, ctypes.CDLL(str(library))


def pybind11_headers() -> Path:
    """Those that PyTorch brings, which is there wherever pyprof is built."""
    spec = importlib.util.find_spec("torch")
    assert spec
    assert spec.origin
    return Path(spec.origin).parent / "include"


def build_fake_cupti(folder: Path, *flags: str) -> Path:
    """A libcupti over the driver without a device; see fake_cupti/driver.h."""
    sources = [FAKE_CUPTI / "driver.cpp", FAKE_CUPTI / "cupti.cpp"]
    return compile_shared(folder / "libfake_cupti.so", sources, [str(FAKE_CUPTI)], *(flags or ("-O2",)), *WARNINGS)
