"""The page of a run of the published grid: how long it takes to write, how large it is, and when one can use it."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from harness import Bar, Figures, note, parser, publish

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import synthetic_run as synthetic

from pyprof.machine.environment import current_environment
from pyprof.records import study as studies
from pyprof.records.case import Case
from pyprof.records.record import Record
from pyprof.records.run_directory import ENVIRONMENT, LAYERS, PAGE, RECORDS, RESOLVED, STUDY
from pyprof.records.toml import dumps
from pyprof.report.charts.chart import Chart, axis, layered, table
from pyprof.report.page.document import simple_page
from pyprof.study.preview import preview
from pyprof.study.resolve import resolve

METHOD = """\
A synthetic run of every case of the study diwan2023, those of one example with layers as many as BERT's. A whole
process of `pyprof report DIR --html` is started three times: the median of its wall time.

Then the page and one that holds a single empty chart are opened in headless Chromium, seven times each in turn: the
median of the time from the navigation until the page's scripts are through and, scrolled to, its first chart is drawn.
Also how long the table of all records takes to answer a filter. Without Chromium or playwright these are left out.
"""
RUNS, OPENINGS = 3, 7
SECONDS, MEGABYTES, TIMES = 20.0, 12.0, 4.0
BLOCKS = 12
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


# Within a page: when its scripts are through, scroll to its first chart, and note when that is drawn.
WATCH = """
const watch = setInterval(() => {
  const plot = document.documentElement?.dataset.ready && document.querySelector(".plot[data-chart]");
  if (!plot) return;
  if (!window.scrolled) { window.scrolled = true; plot.scrollIntoView(); }
  if (plot.dataset.drawn) { window.usable = performance.now(); clearInterval(watch); }
}, 2);
"""
FILTER = """() => {
  const find = document.getElementById("find"), begin = performance.now();
  find.value = "swin 512 train";
  find.dispatchEvent(new Event("input"));
  document.getElementById("records").getBoundingClientRect();
  return performance.now() - begin;
}"""


def write_run(directory: Path) -> tuple[int, int]:
    """A run directory as the study would leave it; the number of its records and of those with layers."""
    study = studies.load("diwan2023")
    (directory / STUDY).write_text(dumps(study.to_table()))
    (directory / RESOLVED).write_text(json.dumps(resolve(study).to_json()))
    (directory / ENVIRONMENT).write_text(json.dumps(current_environment().to_json()))
    cases = [forecast.case for forecast in preview(study).forecasts]
    with (directory / RECORDS).open("w") as records, (directory / LAYERS).open("w") as layers:
        for case in cases:
            record = synthetic_record(case)
            records.write(json.dumps(record.to_json()) + "\n")
            if record.kinds:
                layers.write(json.dumps({"key": case.key, **columns(record)}, separators=(",", ":")) + "\n")
    return len(cases), sum(case.batch == 1 for case in cases)


def synthetic_record(case: Case) -> Record:
    """What such a case would give, by the costs of tests/synthetic_run.py."""
    known = {"fused": "chunks"}.get(case.attention, case.attention)
    if case.batch == 1:
        record = synthetic.record(case.model, known, case.length, case.mode)
    else:
        record = synthetic.throughput(case.model, known, case.length, case.mode)
    return replace(record, case=case, attention=case.attention)


def columns(record: Record) -> dict[str, list[Any]]:
    """Layers as BERT has them, that share the case's times."""
    chance = random.Random(record.case.key)
    names, kinds, parents = ["", "embeddings", "encoder"], ["other", "embedding", "other"], [None, 0, 0]
    for block in range(BLOCKS):
        top = len(names)
        for name, kind, parent in below_block(f"encoder.layer.{block}"):
            names.append(name)
            kinds.append(kind)
            parents.append(2 if parent is None else top + parent)
    weights = [0.0 if kind == "other" else chance.uniform(0.2, 1.0) for kind in kinds]
    step = (record.step_seconds or 0.0) * 0.97
    own = [step * weight / sum(weights) for weight in weights]
    whole = list(own)
    for index in range(len(names) - 1, 0, -1):
        whole[parents[index] or 0] += whole[index]
    train = record.case.mode == "train"

    def part(times: list[float], share: float) -> list[float | None]:
        return [round(each * share, 9) for each in times]

    nothing: list[float | None] = [None] * len(names)
    return {
        "parent": parents, "path": names, "type": ["Linear"] * len(names), "kind": kinds, "calls": [1] * len(names),
        "parameters": [590_592] * len(names),
        "forward_seconds": part(whole, 1 / 3 if train else 1), "own_forward_seconds": part(own, 1 / 3 if train else 1),
        "backward_seconds": part(whole, 2 / 3) if train else nothing,
        "own_backward_seconds": part(own, 2 / 3) if train else nothing,
    }  # fmt: skip


def below_block(path: str) -> Iterator[tuple[str, str, int | None]]:
    """The layers of one block, each with the place of its parent in it."""
    yield path, "other", None
    yield f"{path}.attention", "self-attention", 0
    yield f"{path}.attention.self", "self-attention", 1
    for name in ("query", "key", "value", "dropout"):
        yield f"{path}.attention.self.{name}", "self-attention", 2
    yield f"{path}.attention.output", "self-attention", 1
    for name, kind in (("dense", "self-attention"), ("dropout", "self-attention"), ("LayerNorm", "normalisation")):
        yield f"{path}.attention.output.{name}", kind, 7
    yield f"{path}.intermediate", "feedforward", 0
    for name in ("dense", "activation"):
        yield f"{path}.intermediate.{name}", "feedforward", 11
    yield f"{path}.output", "feedforward", 0
    for name, kind in (("dense", "feedforward"), ("dropout", "feedforward"), ("LayerNorm", "normalisation")):
        yield f"{path}.output.{name}", kind, 14


def empty_page() -> str:
    """A page of one chart with nothing in it but its axes."""
    tables = {"rows": {"x": [0, 1], "y": [0, 1]}}
    mark = {
        **table("rows"),
        "mark": {"type": "point", "opacity": 0},
        "encoding": {"x": axis("x", "x"), "y": axis("y", "y")},
    }
    return simple_page("empty", (), [Chart("empty", "empty", "An empty chart.", tables, {"": layered([mark], tables)})])


def openings(paths: dict[str, Path]) -> tuple[dict[str, list[float]], list[float]]:
    """Milliseconds until each page can be used, in turn, and those that a filter of the first one's table takes."""
    from playwright.sync_api import sync_playwright

    times: dict[str, list[float]] = {name: [] for name in paths}
    filtered = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, sync_playwright() as play:
        context = play.chromium.launch_persistent_context(profile, executable_path=BROWSER, args=FLAGS, headless=True)
        context.add_init_script(WATCH)
        for _ in range(OPENINGS):
            for number, (name, path) in enumerate(paths.items()):
                page = context.new_page()
                page.goto(path.as_uri(), wait_until="commit")
                while not (usable := page.evaluate("window.usable")):
                    page.wait_for_timeout(20)
                times[name].append(usable)
                if number == 0:
                    filtered.append(page.evaluate(FILTER))
                page.close()
        context.close()
    return times, filtered


def main() -> int:
    options = parser(METHOD).parse_args()
    pyprof = str(Path(sys.executable).with_name("pyprof"))
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory)
        count, with_layers = write_run(run)
        written = []
        for _ in range(RUNS):
            begin = time.perf_counter()
            subprocess.run([pyprof, "report", directory, "--html"], check=True, stdout=subprocess.DEVNULL)
            written.append(time.perf_counter() - begin)
        size = (run / PAGE).stat().st_size / 1e6
        rows: list[tuple[str, float, str]] = [("written in", median(written), "s"), ("size", size, "MB")]
        bars = [
            Bar(f"page of {count:,} cases, {with_layers:,} with layers, is written in", median(written), "s", SECONDS),
            Bar("its size", size, "MB", MEGABYTES),
        ]
        empty = run / "empty.html"
        empty.write_text(empty_page(), encoding="utf-8")
        try:
            if BROWSER is None:
                raise ImportError("there is no Chromium")
            times, filtered = openings({"the page": run / PAGE, "an empty chart": empty})
        except ImportError as error:
            note(f"how soon it can be used is left out: {error}")
        else:
            middle = {name: median(taken) for name, taken in times.items()}
            rows += [(f"{name} can be used after", taken, "ms") for name, taken in middle.items()]
            rows.append(("a filter of its table answers after", median(filtered), "ms"))
            ratio = middle["the page"] / middle["an empty chart"]
            bars.append(Bar("time until it can be used, of that of an empty chart", ratio, "times", TIMES))
    return publish(METHOD, [Figures("page", ["what", "median", "unit"], rows)], bars, options.json)


if __name__ == "__main__":
    sys.exit(main())
