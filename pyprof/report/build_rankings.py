"""The rankings of a view: which model costs least at each length, and what to measure where that is not shown."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from pyprof.analysis import ranking
from pyprof.analysis.ranking import Ranking
from pyprof.records.study import Study
from pyprof.report.build_tables import Part
from pyprof.report.view import LeastLine, MeasureLonger, ModalityView, RankingLine, RankingPlace, Reign

# A run takes this much longer than the sampling of its cases: loading and what is not foreseen.
AROUND = 1.25


def ranking_lines(part: Part, ranked: Iterable[Ranking]) -> tuple[RankingLine, ...]:
    """Every ranking of a modality."""
    return tuple(_line(part, each) for each in ranked)


def _line(part: Part, ranked: Ranking) -> RankingLine:
    places = []
    for place in ranked.places:
        ratio, low, high = (
            (None,) * 3 if place.ratio is None else (place.ratio.ratio, place.ratio.low, place.ratio.high)
        )
        places.append(RankingPlace(part.column(place.subject), place.value, ratio, low, high, place.shown))
    return RankingLine(
        name=ranked.name,
        allocator=ranked.setting.allocator,
        dtype=ranked.setting.dtype,
        indicator=ranked.indicator,
        mode=ranked.setting.mode,
        setting=part.words_beside_comparison(ranked.setting),
        length=ranked.length,
        places=tuple(places),
        leaders=tuple(map(part.column, ranked.leaders)),
        decided=ranked.decided,
        missing=tuple((part.column(subject), status) for subject, status in ranked.missing),
        longer=ranked.longer,
    )


def least_lines(part: Part, ranked: Iterable[Ranking]) -> tuple[LeastLine, ...]:
    """Which model costs least from which measured length to which: a line for each sense, indicator and setting."""
    series = groupby(ranked, key=lambda each: (each.name, each.indicator, each.setting))
    return tuple(
        LeastLine(
            name=name,
            indicator=indicator,
            mode=setting.mode,
            setting=part.words_beside_comparison(setting),
            reigns=tuple(
                Reign(reign.shortest, reign.longest, tuple(map(part.column, reign.leaders)))
                for reign in ranking.reigns(list(lengths))
            ),
        )
        for (name, indicator, setting), lengths in series
    )


def measure_longer(
    modalities: Sequence[ModalityView], study: Study | None, directory: Path | None
) -> MeasureLonger | None:
    """The command that decides what the only length leaves undecided; None where nothing is, or no samples would."""
    lines = [
        line
        for part in modalities
        if part.one_length
        for line in part.rankings
        if line.indicator.headline and line.longer is not None
    ]
    needs = [line.longer for line in lines if line.longer is not None]
    if study is None or directory is None or not needs:
        return None
    words = ["pyprof", "study", str(directory / "study.toml")]
    modes = [mode for mode in study.modes if any(line.mode == mode for line in lines)]
    if len(modes) < len(study.modes):
        words += ["--modes", ",".join(modes)]
    senses = {sense: None for block in study.blocks for sense in block.implementations}
    asked = [sense for sense in senses if any(line.name == sense for line in lines)]
    if len(asked) < len(senses):
        words += ["--attention", ",".join(asked)]
    care, seconds = study.care, AROUND * sum(need.seconds for need in needs)
    samples = max(need.samples for need in needs)
    if samples > care.max_samples:
        words += ["--max-samples", str(samples)]
    longest = math.ceil(max(need.case_seconds for need in needs))
    if longest > care.max_seconds:
        words += ["--max-seconds", str(longest)]
    precision = min(need.precision for need in needs)
    if precision < care.precision:
        words += ["--precision", f"{precision:.2g}"]
    if study.time_budget is not None and study.time_budget < 2 * seconds:
        words += ["--time-budget", f"{math.ceil(2 * seconds / 60)} min"]
    words += ["-o", f"{directory}-longer"]
    return MeasureLonger(shlex.join(words), seconds)
