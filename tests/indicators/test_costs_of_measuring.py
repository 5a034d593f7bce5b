"""What each indicator takes to measure is told, and none of it is in the rounds that are timed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pyprof.indicators import registry
from pyprof.records import study as studies
from pyprof.records.case import Case
from pyprof.worker import bench as bench_module
from pyprof.worker.bench import Bench
from pyprof.worker.limits import settle

PAGE = Path(__file__).parents[2] / "docs" / "indicators.md"


def test_the_page_tells_what_every_indicator_takes() -> None:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) ?●? \| (.+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    told = {name: cost for names, _, cost in rows for name in re.findall(r"`(\w+)`", names)}
    for indicator in registry.every():
        assert told.get(indicator.name, "").strip(), indicator.name


@pytest.mark.parametrize("mode", ["infer", "train", "prefill", "generate"])
def test_nothing_is_measured_in_the_timed_rounds(mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    timing: list[bool] = []
    measured: list[str] = []
    time_together = bench_module.time_together

    def timed(*args: Any) -> Any:
        timing.append(True)
        try:
            return time_together(*args)
        finally:
            timing.pop()

    def watched(indicator: registry.Indicator) -> registry.Indicator:
        read = indicator.read
        if read is None:
            return indicator

        def spy(*args: Any) -> Any:
            assert not timing, indicator.name
            measured.append(indicator.name)
            return read(*args)

        return replace(indicator, read=spy)

    monkeypatch.setattr(bench_module, "time_together", timed)
    model = "decoder" if mode in ("prefill", "generate") else "bert"
    table = studies.load("misnomer-all").to_table() | {"size": "tiny", "device": "cpu", "modes": [mode]}
    table["comparison"] = [{"vanilla": model, "lengths": {"values": [16]}, "implementations": ["now"]}]
    table["measure"] |= {"min_samples": 1, "max_samples": 1}
    study = settle(studies.parse(table, "here")).study
    own = Bench(study, "here")
    own._indicators = tuple(map(watched, own._indicators))
    record = own.measure(Case(model, 16, mode, "sdpa", "tiny")).record
    assert record.status == "ok", record.reason
    asked = {each.name for each in own._indicators if mode in each.modes and each.batch == 1}
    assert set(record.indicators) == asked
    assert set(measured) == asked - {"latency"}
