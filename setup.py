"""Builds the native part against the installed PyTorch; everything declarative is in pyproject.toml."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup

if sys.version_info < (3, 11):  # noqa: UP036 - said in a sentence where pip has not said it already
    raise SystemExit(
        f"pyprof needs Python 3.11 or newer and this is {sys.version.split()[0]}: build it with a newer one."
    )
if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
    raise SystemExit("pyprof needs a C++ compiler and found none: install g++ (on Debian: apt-get install g++).")
if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
    raise SystemExit(
        "pyprof needs Python.h and found none: install Python's headers (on Debian: apt-get install python3-dev)."
    )

import torch
from torch.utils import cpp_extension
from torch.utils.cpp_extension import CUDA_HOME, BuildExtension, CppExtension, CUDAExtension

FLAGS = ["-std=c++20", "-O3", "-fno-plt", "-g1", "-Wall", "-Wextra", "-Wno-unused-parameter", "-fvisibility=hidden"]
INCLUDE = str(Path("csrc").absolute())


def version() -> str:
    """The own version; of a wheel that is shared also what it is built for, such as 0.1.0+torch2.13.cu130."""
    own = re.search(r'^__version__ = "(.+)"$', Path("pyprof/__init__.py").read_text(), re.MULTILINE)[1]
    if not os.environ.get("PYPROF_WHEEL"):
        return own
    release = ".".join(torch.__version__.partition("+")[0].split(".")[:2])
    return f"{own}+torch{release}.{'cu' + torch.version.cuda.replace('.', '') if torch.version.cuda else 'cpu'}"


class Build(BuildExtension):
    """Builds the native part, and writes beside it what it was built for: see pyprof/built.py."""

    def run(self) -> None:
        super().run()
        folder = Path("pyprof" if self.inplace else Path(self.build_lib, "pyprof"))
        folder.mkdir(parents=True, exist_ok=True)
        built = {"torch": torch.__version__, "cuda": torch.version.cuda}
        (folder / "_built.json").write_text(json.dumps(built) + "\n")


def sources(*folders: str) -> list[str]:
    return sorted(str(path) for folder in folders for path in Path(folder).glob("*.cpp"))


def window_sources(cuda: bool) -> list[str]:
    """The sources of sliding-window attention: for the host, or those that need CUDA."""
    paths = [path for pattern in ("*.cpp", "*.cu") for path in Path("csrc/window_attention").glob(pattern)]
    return sorted(str(path) for path in paths if cuda == (path.suffix == ".cu" or path.name.startswith("cuda_")))


def window_headers() -> list[str]:
    return sorted(str(path) for pattern in ("*.h", "*.cuh") for path in Path("csrc/window_attention").glob(pattern))


def cuda_home() -> Path | None:
    """Where CUDA's headers are; a guess from the place of nvcc is checked, since nvcc can be a wrapper script."""
    guesses = [os.environ.get("CUDA_HOME"), CUDA_HOME, "/usr/local/cuda"]
    found = (Path(guess) for guess in guesses if guess and Path(guess, "include", "cuda_runtime_api.h").exists())
    return next(found, None)


def nvtx_include() -> list[str]:
    """Where NVTX's headers are: in the wheel nvidia-nvtx, or else in CUDA's toolkit; pyprof is built without, too."""
    folders = [folder for place in sys.path for folder in Path(place).glob("nvidia/*/include")]
    home = cuda_home()
    folders += [home / "include"] if home else []
    return [str(folder) for folder in folders if (folder / "nvtx3" / "nvToolsExt.h").exists()][:1]


def cuda_extensions() -> list[CppExtension]:
    """The CUDA part: PYPROF_CUDA=1 builds it, 0 leaves it out, auto (the default) decides by the installed PyTorch."""
    wanted = os.environ.get("PYPROF_CUDA", "auto")
    if wanted not in ("auto", "0", "1"):
        raise SystemExit(f"PYPROF_CUDA is {wanted!r}: set it to auto, 0 or 1.")
    home = cuda_home()
    if wanted == "1" and not torch.version.cuda:
        raise SystemExit(
            "PYPROF_CUDA=1 needs a PyTorch with CUDA and this one has none: install one, or set PYPROF_CUDA=0."
        )
    if wanted == "1" and not home:
        raise SystemExit("PYPROF_CUDA=1 needs CUDA's headers and found none: set CUDA_HOME to the toolkit's folder.")
    if wanted == "0" or not torch.version.cuda or not home:
        return []
    include_dirs = [INCLUDE, str(home / "include")]
    library_dirs = [str(path) for path in (home / "lib64", home / "lib") if path.is_dir()]
    clock = CppExtension(
        "pyprof._cuda",
        sources=sources("csrc/cuda"),
        include_dirs=include_dirs,
        library_dirs=library_dirs,
        libraries=["cudart", "c10_cuda"],
        extra_compile_args=FLAGS,
    )
    if not Path(home, "bin", "nvcc").exists():
        if wanted == "1":
            raise SystemExit(f"PYPROF_CUDA=1 needs nvcc and found none in {home}: set CUDA_HOME to the whole toolkit.")
        return [clock]
    # One binary for every card from Ampere on: the newest one named also brings its intermediate code for later ones.
    newest = "9.0a;10.0+PTX" if tuple(map(int, torch.version.cuda.split(".")[:2])) >= (12, 8) else "9.0a;9.0+PTX"
    wanted_cards = os.environ.get("TORCH_CUDA_ARCH_LIST", f"8.0;{newest}").replace(" ", ";").split(";")
    # What Hopper has beyond its successors is in its own variant, which runs there as well as the plain one.
    cards = ["9.0a" if card == "9.0" else card for card in wanted_cards]
    os.environ["TORCH_CUDA_ARCH_LIST"] = ";".join(dict.fromkeys(cards))
    hopper = ["-DPYPROF_HOPPER"] if "9.0a" in cards else []
    cpp_extension.CUDA_HOME = str(home)  # the same toolkit as above, whatever PyTorch has guessed
    window = CUDAExtension(
        "pyprof._window_cuda",
        sources=window_sources(cuda=True),
        depends=window_headers(),
        include_dirs=include_dirs,
        library_dirs=library_dirs,
        extra_compile_args={"cxx": [*FLAGS, *hopper], "nvcc": ["-std=c++20", "-O3", "-lineinfo"]},
    )
    return [clock, window]


native = CppExtension(
    "pyprof._native",
    sources=sources("csrc", "csrc/recorder", "csrc/nvtx", "csrc/memory", "csrc/planted"),
    include_dirs=[INCLUDE, *nvtx_include()],
    extra_compile_args=FLAGS,
)
# Needs nothing of PyTorch, so that a measurement doesn't load it.
stopwatch = Extension(
    "pyprof._stopwatch",
    sources=sources("csrc/stopwatch"),
    depends=["csrc/stopwatch/monotonic.h"],
    include_dirs=[INCLUDE],
    extra_compile_args=FLAGS,
)
# Without -fopenmp PyTorch's parallel loops, which are in its headers, would run on one thread.
window = CppExtension(
    "pyprof._window",
    sources=window_sources(cuda=False),
    depends=window_headers(),
    include_dirs=[INCLUDE],
    extra_compile_args=[*FLAGS, "-fopenmp"],
    extra_link_args=["-fopenmp"],
)

setup(
    version=version(),
    packages=[
        *find_packages(include=["pyprof", "pyprof.*"]),
        "pyprof.models",
        *(f"pyprof.models.{name}" for name in find_packages("models")),
    ],
    package_dir={"pyprof.models": "models"},
    package_data={
        "pyprof": ["py.typed", "*.pyi"],
        "pyprof.studies": ["*.toml"],
        "pyprof.reference": ["*.toml"],
        "pyprof.records": ["*.json"],
        "pyprof.report.page": ["*.css", "*.js"],
    },
    ext_modules=[native, stopwatch, window, *cuda_extensions()],
    cmdclass={"build_ext": Build.with_options(no_python_abi_suffix=False)},
)
