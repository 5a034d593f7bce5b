"""Every example in README.md and docs/ runs as it is printed; links lead somewhere, and tables agree with the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from test_house import ROOMS

from pyprof.records import study as studies
from pyprof.study.resolve import resolve

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FILE = re.compile(r"\b(?<!head/)(?:bench|tests)/[\w/]+\.py\b")
LARGEST_PICTURE = {".svg": 100_000, ".png": 150_000}  # bytes
# Those that are run by hand, not the parts that they share.
BENCHES = [
    path
    for path in sorted((ROOT / "bench").glob("*.py"))
    if "from harness" in path.read_text() and "__main__" in path.read_text()
]


def blocks(page: Path) -> list[tuple[str, str]]:
    return FENCE.findall(page.read_text())


def test_every_fence_is_of_a_language_that_is_run():
    for page in PAGES:
        assert {language for language, _ in blocks(page)} <= {"sh", "python", "toml", "yaml"}, page.name


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    text = FENCE.sub("", page.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(text)}


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text()):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_scripts_and_tests_that_are_named_exist(page):
    for name in FILE.findall(page.read_text()):
        assert (ROOT / name).is_file(), name


def test_pictures_are_small():
    pictures = [each for each in (ROOT / "docs" / "images").iterdir() if each.suffix in LARGEST_PICTURE]
    assert {each.suffix for each in pictures} == LARGEST_PICTURE.keys()
    assert all(each.stat().st_size < LARGEST_PICTURE[each.suffix] for each in pictures)


def test_contributing_lists_the_rooms_as_the_house_checks_them():
    rows = re.findall(r"^\| ([a-z]+) \| [^|]+ \| ([^|]+) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    listed = {room: set() if may == "–" else set(may.split(", ")) for room, may in rows if room != "room"}
    assert listed == ROOMS


@pytest.mark.slow
@pytest.mark.parametrize("script", BENCHES, ids=lambda script: script.stem)
def test_every_bench_says_what_it_does(script):
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "--json" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples(page, tmp_path, monkeypatch):
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "100",
        # Other tests run beside this one, and threads that wait for each other take many times as long then.
        "OMP_NUM_THREADS": "1",
    }
    for language, text in blocks(page):
        if language == "yaml":
            continue  # a workflow, whose commands tests/cli/test_compare_command.py checks
        named = re.match(r"# file: (\S+)\n", text)
        if language == "toml":
            monkeypatch.syspath_prepend(tmp_path)
            resolve(studies.parse(tomllib.loads(text), page.name))
            (tmp_path / (named[1] if named else "long.toml")).write_text(text)
            continue
        if named:
            (tmp_path / named[1]).write_text(text)
            continue
        command = [sys.executable, "-c", text] if language == "python" else ["bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        assert "Traceback" not in done.stderr
