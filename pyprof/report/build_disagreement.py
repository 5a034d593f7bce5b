"""The disagreements of a view: pairs of models with their sentence, Kendall's tau of pairs of indicators, fronts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pyprof.analysis.disagreement import Concordance, Contrast, Disagreement, Verdict
from pyprof.analysis.pareto import front
from pyprof.records.indicator import IndicatorFacts
from pyprof.report.build_tables import Part
from pyprof.report.view_disagreement import (
    ContrastLine,
    DisagreementLine,
    FrontLine,
    FrontPlace,
    IndicatorVerdict,
    TauCell,
)


def disagreement_lines(part: Part, found: Iterable[Disagreement]) -> tuple[DisagreementLine, ...]:
    """Every disagreement of a modality."""
    return tuple(_line(part, each) for each in found)


def _line(part: Part, found: Disagreement) -> DisagreementLine:
    agreeing = [each for each in found.contrasts if not each.reversed]
    return DisagreementLine(
        name=found.name,
        mode=found.setting.mode,
        setting=part.words_beside_comparison(found.setting),
        length=found.length,
        columns=tuple(map(part.column, found.subjects)),
        metrics=tuple(each.name for each in found.indicators),
        contrasts=tuple(_contrast(part, each) for each in (*found.reversals, *agreeing)),
        concordances=tuple(map(_cell, found.concordances)),
        within=tuple(map(_cell, found.within)),
        between=tuple(map(_cell, found.between)),
        fronts=tuple(_fronts(part, found)),
    )


def _contrast(part: Part, contrast: Contrast) -> ContrastLine:
    verdicts = tuple(
        IndicatorVerdict(each.indicator, each.ratio, each.low, each.high, each.shown) for each in contrast.verdicts
    )
    first, second = part.column(contrast.first), part.column(contrast.second)
    return ContrastLine(first, second, contrast.reversed, sentence(contrast), verdicts)


def sentence(contrast: Contrast) -> str:
    """What a reviewer asks for: by which indicators a model costs less than another, by which more, and how much."""
    cheaper = sorted(contrast.cheaper, key=lambda each: each.ratio)
    dearer = sorted(contrast.dearer, key=lambda each: -each.ratio)
    first, second = str(contrast.first), str(contrast.second)
    if contrast.first.model != contrast.second.model:
        first, second = contrast.first.model, contrast.second.model
    less, more = _word(cheaper, "cheaper", "better"), _word(dearer, "dearer", "worse")
    if cheaper and dearer:
        return f"by {_listed(cheaper)} {first} is {less} than {second}, by {_listed(dearer)} it is {more}"
    if cheaper or dearer:
        return f"by {_listed(cheaper or dearer)} {first} is {less if cheaper else more} than {second}"
    return ""


def _word(verdicts: Sequence[Verdict], of_costs: str, of_qualities: str) -> str:
    """A quality, where higher is better, is not cheap or dear."""
    return of_qualities if any(each.indicator.better == "higher" for each in verdicts) else of_costs


def _listed(verdicts: Sequence[Verdict]) -> str:
    """Indicators with their factors: "parameters (2.1x) and FLOPs (1.3x)"."""
    words = [f"{in_a_sentence(each.indicator)} ({_factor(max(each.ratio, 1 / each.ratio))})" for each in verdicts]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _factor(ratio: float) -> str:
    return f"{ratio:.0f}x" if ratio >= 99.5 else f"{ratio:.1f}x" if ratio >= 1.095 else f"{ratio:.2f}x"


def in_a_sentence(indicator: IndicatorFacts) -> str:
    """An indicator's title within a sentence: small, but for an abbreviation or a name such as ListOps."""
    title = indicator.title
    first = title.partition(" ")[0]
    return title if first[1:] != first[1:].lower() else title[0].lower() + title[1:]


def _cell(found: Concordance) -> TauCell:
    return TauCell(
        found.one.name,
        found.other.name,
        found.tau,
        found.low,
        found.high,
        found.pairs,
        found.reversals,
        found.undecided,
    )


def _fronts(part: Part, found: Disagreement) -> Iterable[FrontLine]:
    first = next((each for each in found.indicators if each.headline), found.indicators[0])
    for other in found.indicators:
        if other != first:
            drawn = front(found, first, other)
            places = (
                FrontPlace(part.column(each.subject), each.standing, tuple(map(part.column, each.by)), each.shown)
                for each in drawn.places
            )
            yield FrontLine(first.name, other.name, tuple(places))
