"""The exit codes stand in one place in the code; the help, the documentation and the errors agree with it."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

from pyprof.cli.main import build_parser
from pyprof.errors import ExitCode, PyprofError

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def test_the_codes_are_those_that_scripts_rely_on():
    assert {code.name: int(code) for code in ExitCode} == {
        "DONE": 0,
        "GATE_FAILED": 1,
        "WRONG_USE": 2,
        "INCOMPLETE": 3,
        "UNJUDGEABLE": 4,
        "DEFECT": 70,
        "INTERRUPTED": 130,
    }


def test_the_documented_table_is_that_of_the_code():
    documented = [(int(code), summary, meaning) for code, summary, meaning in ROW.findall(PAGE.read_text())]
    assert documented == [(int(code), code.summary, code.meaning) for code in ExitCode]


def test_the_help_lists_them_all():
    [line] = [line for line in build_parser().format_help().splitlines() if line.startswith("exit codes: ")]
    listed = [entry.split(" ", 1) for entry in line.removeprefix("exit codes: ").split(", ")]
    assert listed == [[str(int(code)), code.summary] for code in ExitCode]


def test_every_error_ends_in_one_of_them():
    for room in ("study", "worker", "records", "models"):  # where errors of rooms' own are defined
        package = importlib.import_module(f"pyprof.{room}")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    kinds, waiting = set(), [PyprofError]
    while waiting:
        kind = waiting.pop()
        kinds.add(kind)
        waiting += kind.__subclasses__()
    assert len(kinds) > 4
    for kind in kinds:
        assert kind.exit_code in set(ExitCode), f"{kind.__name__} ends in {kind.exit_code}"
    assert PyprofError.exit_code is ExitCode.WRONG_USE
