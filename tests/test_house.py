"""The rules of the house: which room may import which, what stays light, what an installed package holds."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from pyprof.printing import NOTEBOOK, RENDERERS

ROOT = Path(__file__).parents[1]
# What each room may import, itself aside, from the top down. `models` is installed as pyprof.models; errors, failures,
# names, printing and quantity are the ground that every room stands on.
ROOMS = {
    "cli": {
        "report",
        "analysis",
        "study",
        "executors",
        "worker",
        "attention",
        "overhead",
        "machine",
        "timing",
        "layers",
        "device",
        "indicators",
        "models",
        "records",
        "traces",
        "quality",
    },
    "traces": {"layers"},
    "report": {"analysis", "records", "attention", "overhead", "quality", "machine", "timing", "layers", "statistics"},
    "study": {
        "executors",
        "worker",
        "analysis",
        "models",
        "indicators",
        "device",
        "records",
        "machine",
        "studies",
        "reference",
    },
    "analysis": {"records", "statistics", "reference"},
    "executors": {"worker", "machine", "device", "timing", "records"},
    "overhead": {"worker", "models", "layers", "timing", "machine", "device", "records", "statistics"},
    "quality": {
        "worker",
        "models",
        "layers",
        "indicators",
        "ops",
        "machine",
        "timing",
        "device",
        "records",
        "statistics",
        "reference",
    },
    "attention": {"ops", "machine", "timing", "device", "records", "statistics"},
    "worker": {"timing", "layers", "device", "indicators", "models", "machine", "records", "statistics"},
    "machine": {"timing", "device", "records", "statistics"},
    "models": {"layers", "device", "ops"},
    "layers": {"device", "timing", "records", "statistics"},
    "indicators": {"records", "device", "statistics"},
    "device": {"timing", "records"},
    "timing": {"records", "statistics"},
    "records": {"statistics", "studies", "reference"},
    "ops": set(),
    "statistics": set(),
}
TORCH_FREE = ("analysis", "report", "statistics", "traces")


def files(room: str) -> list[Path]:
    folder = ROOT / "models" if room == "models" else ROOT / "pyprof" / room
    return sorted(folder.rglob("*.py"))


def imports(path: Path) -> list[str]:
    """All modules that a file imports at any place, but for those that only type checkers see."""
    tree = ast.parse(path.read_text())
    found = []
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_one_way(room):
    paths = files(room)
    assert paths
    for path in paths:
        for name in imports(path):
            parts = name.split(".")
            if parts[0] != "pyprof" or len(parts) < 2 or parts[1] not in ROOMS or parts[1] == room:
                continue
            assert parts[1] in ROOMS[room], f"{path.relative_to(ROOT)} imports {name}"


def test_a_lower_room_names_no_renderer_and_what_prints_a_result_is_the_report():
    """The table in pyprof.printing is the one place that joins a result with its renderer."""
    for name in (*RENDERERS.values(), *NOTEBOOK.values()):
        module, function = name.split(":")
        assert module.startswith("pyprof.report.")
        assert callable(getattr(importlib.import_module(module), function))
    for room in ROOMS.keys() - {"cli", "report"}:
        assert not [path for path in files(room) if "pyprof.report" in path.read_text()]


@pytest.mark.parametrize("room", TORCH_FREE)
def test_what_only_computes_never_imports_torch(room):
    for path in files(room):
        heavy = [name for name in imports(path) if name.split(".")[0] in ("torch", "transformers", "scipy")]
        assert not heavy, f"{path.relative_to(ROOT)} imports {heavy}"


LIGHT = ["import pyprof", "from pyprof.cli.main import build_parser; build_parser().format_help()"]
LIGHT += [
    "import pyprof.report.run, pyprof.report.terminal, pyprof.records.run_directory",
    "import pyprof.models.registry",
]


@pytest.mark.parametrize("statement", LIGHT)
def test_what_must_stay_light_loads_neither_torch_nor_transformers(statement):
    program = f"{statement}; import sys; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_built_package_holds_models_as_a_part_of_pyprof_and_all_data(tmp_path):
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert not (tmp_path / "models").exists()
    for name in (
        "pyprof/models/registry.py",
        "pyprof/ops/chunks.py",
        "pyprof/studies/quick.toml",
        "pyprof/studies/diwan2023.toml",
        "pyprof/reference/diwan2023.toml",
        "pyprof/reference/misnomer.toml",
        "pyprof/records/schema1.json",
        "pyprof/models/fairseq/hubert.py",
        "pyprof/models/zoo/mechanisms.py",
        "pyprof/quality/arena/listops.py",
        "pyprof/py.typed",
        "pyprof/report/page/page.css",
        "pyprof/report/page/page.js",
        "pyprof/report/page/records.js",
        "pyprof/report/page/trees.js",
    ):
        assert (tmp_path / name).is_file(), name


def test_the_shipped_reference_is_what_was_published():
    """The grid of the built-in study is the published one."""
    import tomllib

    from pyprof.records import study as studies

    published = tomllib.loads((ROOT / "pyprof/reference/diwan2023.toml").read_text())
    grids = {block.vanilla: block.lengths.values for block in studies.load("diwan2023").blocks}
    for modality in published["modality"].values():
        grid = modality["lengths"]
        assert grids[modality["vanilla"]] == tuple(range(grid["start"], grid["stop"] + 1, grid["step"]))
