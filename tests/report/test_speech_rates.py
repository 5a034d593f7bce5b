"""Word error rates beside the published ones: the analysis, a terminal, a page and JSON."""

from __future__ import annotations

from io import StringIO

import pytest

from pyprof.analysis.curves import Curves
from pyprof.analysis.speech_rates import speech_rates
from pyprof.indicators import registry
from pyprof.quality.asr.published import SOURCE, published
from pyprof.records.case import Case
from pyprof.records.comparison import ModelFacts
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.resolved import Resolved
from pyprof.report.as_json import document
from pyprof.report.build import About, build_view
from pyprof.report.console import Console
from pyprof.report.page.growth import speech_part
from pyprof.report.style import Glyphs, figure
from pyprof.report.terminal import render

TASKS = ("speech", "speech_frozen")
INDICATORS = tuple(registry.find(name).facts for name in ("latency", *(f"{task}_word_error_rate" for task in TASKS)))
MODELS = {"hubert": (0.035, 0.07), "l-hubert": (0.09, 0.2), "l-hubert-100": (None, 0.15)}


def reading(task: str, value: float | None, seconds: float, *, seeds: bool) -> Reading:
    own = {"low": 0.9 * (value or 0), "high": 1.1 * (value or 0), "resampled": "40 speakers"}
    cost = {"seconds": 12.3, "latency": seconds, "real_time_factor": seconds / 12.3, "peak_memory": 2**29}
    detail = {
        "task": task,
        "published": dict(published(frozen=task == "speech_frozen")),
        "source": SOURCE,
        "seeds": [{"seed": 0, "detail": {}}],
    }
    if value is not None:
        words = [100, 200, 150, 50, 100, 200]
        by_cluster = {"errors": [round(value * each) + each % 100 // 50 for each in words], "words": words}
        detail["seeds"] = [{"seed": 0, "detail": {"word_error_rate": own, "cost": cost, "by_cluster": by_cluster}}]
    if value is None:
        return Reading(None, reason="1 of 1 trainings diverged: the loss is nan", detail=detail)
    return Reading(value, *((value - 0.01, value + 0.01) if seeds else ()), detail=detail)


def records(*, seeds: bool = False) -> list[Record]:
    made = []
    for number, (model, values) in enumerate(MODELS.items()):
        seconds = 0.1 * (number + 1)
        rates = {
            f"{task}_word_error_rate": reading(task, value, seconds, seeds=seeds)
            for task, value in zip(TASKS, values, strict=True)
        }
        case = Case(model, 615, "train")
        indicators = {"latency": Reading(seconds), **rates}
        made.append(Record(case, "ok", "machine", "2026-01-01T00:00:00Z", 1.0, indicators=indicators))
    return made


def view(found: list[Record]):
    facts = {name: ModelFacts("speech", "token") for name in MODELS}
    return build_view(found, Resolved((), facts, INDICATORS), About("speech", "a machine"))


def test_rows_have_both_rates_and_what_hearing_costs() -> None:
    (table,) = speech_rates(Curves.of(records()), INDICATORS)
    assert (table.tasks, table.source) == (("speech_frozen", "speech"), SOURCE)
    dense, local, other = table.rows
    assert [row.rates["speech"].published for row in table.rows] == [0.034, 0.0852, 0.0739]
    assert [row.rates["speech_frozen"].published for row in table.rows] == [0.0709, 0.2106, 0.1448]
    assert (dense.rates["speech"].value, dense.rates["speech"].low) == (0.035, pytest.approx(0.0315))
    assert dense.rates["speech"].over == "40 speakers"
    above = local.rates["speech_frozen"].above
    assert dense.rates["speech_frozen"].above is None
    assert above is not None
    assert above.value == pytest.approx(0.13, abs=0.005)
    assert above.low is not None
    assert 0.12 < above.low < above.value < (above.high or 0) < 0.14
    assert (local.latency, local.seconds, local.peak_memory) == (0.2, 12.3, 2**29)
    # A model of which one training diverged has the cost of the other.
    assert other.rates["speech"].reason == "1 of 1 trainings diverged: the loss is nan"
    assert other.latency == pytest.approx(0.3)


def test_the_interval_over_seeds_comes_first() -> None:
    (table,) = speech_rates(Curves.of(records(seeds=True)), INDICATORS)
    rate = table.rows[0].rates["speech"]
    assert (rate.low, rate.high, rate.over) == (0.035 - 0.01, 0.035 + 0.01, "seeds")


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_terminal_has_ours_beside_the_published(width: int) -> None:
    file = StringIO()
    Console(file=file, width=width).print(render(view(records()), width, Glyphs()))
    lines = file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    text = " ".join(" ".join(lines).split())
    assert "intervals over 40 speakers" in text
    assert "l-hubert-100, fine-tuned: 1 of 1 trainings diverged: the loss is nan" in text
    assert "9.00 [8.1–9.9] / 8.52" in text
    assert "utterance of 12.3 s" in text


def test_a_page_and_json_have_them_too() -> None:
    made = view(records())
    page = "".join(speech_part(made))
    assert "9.00 [8.1–9.9] / 8.52" in page
    assert "trainings diverged" in page
    told = document(made)["speech"][0]
    assert told["rows"][0]["rates"]["speech"]["value"] == 0.035


def test_a_run_without_speech_has_none() -> None:
    plain = Record(
        Case("hubert", 64, "train"), "ok", "m", "2026-01-01T00:00:00Z", 1.0, indicators={"latency": Reading(1.0)}
    )
    made = view([plain])
    assert made.speech == ()
    assert not [*speech_part(made)]


def test_a_share_is_written_without_a_unit() -> None:
    latency, rate, _ = INDICATORS
    assert (figure(latency, 0.0123), figure(rate, 0.0852)) == ("12.3 ms", "0.0852")
    assert figure(registry.find("flops").facts, 2e9) == "2.0 G FLOP"
