"""Quality against each cost by the way of scaling."""

from __future__ import annotations

import pytest

from pyprof.records import study as studies
from pyprof.records.case import Case
from pyprof.records.published import misnomer
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.resolved import Resolved
from pyprof.report.build import About, build_view
from pyprof.report.charts.scaling import scaling_groups
from pyprof.report.view import View
from pyprof.study.resolve import resolve

LENGTH = 224
SCALED = [name for name, figures in misnomer().figures.items() if figures.series]


def view(names: list[str], measured: bool = True, *, resolved: Resolved | None = None) -> View:
    """A run of these models: parameters and multiply-adds as they are printed, and a latency."""
    study = studies.load("vit-scaling")
    records = []
    for number, name in enumerate(names):
        printed = misnomer().figures[name].values
        readings = {"parameters": Reading(printed["parameters"]), "macs": Reading(printed["macs"])}
        if measured:
            readings["latency"] = Reading(0.01 * (number + 1), 0.009 * (number + 1), 0.011 * (number + 1))
        records.append(Record(Case(name, LENGTH, attention="sdpa"), "ok", "here", "2026-01-01", 1.0, None, readings))
    return build_view(records, resolved or resolve(study), About("vit-scaling", "here"))


def test_all_rows_of_table_2_are_drawn_for_each_cost() -> None:
    made = view(SCALED)
    [group] = scaling_groups(made.modalities[0], made.indicators)
    assert [chart.name for chart in group.charts] == [
        "scaling-parameters",
        "scaling-macs",
        "scaling-latency",
        "scaling-ms-per-image-on-their-tpus",
    ]
    for chart in group.charts:
        rows = chart.tables["models"]
        assert sorted(rows["model"]) == sorted(SCALED)
        assert set(rows["way"]) == {"deeper", "wider"}
        accuracy = dict(zip(rows["model"], rows["quality"], strict=True))
        assert (accuracy["vit-d48"], accuracy["vit-w4096"]) == (61.8, 63.3)
    formats = [chart.spec["layer"][0]["encoding"]["x"]["axis"]["format"] for chart in group.charts]
    assert formats == ["~s", "~s", "~g", "~g"]
    deep = {"vit-d48": 0.64, "vit-w3072": 0.35}
    printed = group.charts[-1].tables["models"]
    assert dict(zip(printed["model"], printed["cost"], strict=True)) | deep == dict(
        zip(printed["model"], printed["cost"], strict=True)
    )


@pytest.mark.parametrize("names", [["vit-d6", "vit-d8"], ["vit-b16", "vit-b32"]])
def test_one_way_of_scaling_is_no_comparison(names: list[str]) -> None:
    made = view(names)
    assert scaling_groups(made.modalities[0], made.indicators) == []


def test_what_was_not_measured_is_not_drawn() -> None:
    made = view(["vit-d6", "vit-d8", "vit-w768"], measured=False)
    [group] = scaling_groups(made.modalities[0], made.indicators)
    assert "scaling-latency" not in [chart.name for chart in group.charts]
