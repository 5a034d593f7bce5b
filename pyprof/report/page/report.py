"""The page of one or several runs: the answer first, then where time goes, what it costs, all records, and how it was
measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pyprof.records.run_directory import Run
from pyprof.report.charts.arena import arena_charts, score_charts
from pyprof.report.charts.chart import Chart, Group
from pyprof.report.charts.curves import curve_groups
from pyprof.report.charts.differences import difference_groups
from pyprof.report.charts.disagreement import disagreement_groups
from pyprof.report.charts.growth import growth_charts
from pyprof.report.charts.parts import part_groups
from pyprof.report.charts.scaling import scaling_groups
from pyprof.report.charts.shares import share_group
from pyprof.report.charts.tipping import tipping_charts
from pyprof.report.page.answers import answers, in_one_line
from pyprof.report.page.document import document, figure, group, heading, section
from pyprof.report.page.growth import arena_part, growth_part, scores_part, speech_part
from pyprof.report.page.markup import Markup, Part, grid, tag
from pyprof.report.page.ranks import ranks_part
from pyprof.report.page.records import records_data, records_part
from pyprof.report.page.taken import taken
from pyprof.report.page.trees import trees_data, trees_part
from pyprof.report.page.usage import usage_part
from pyprof.report.several import Several, several
from pyprof.report.short_names import ShortNames
from pyprof.report.style import length_range
from pyprof.report.view import ModalityView, ShareLine, View

_CONTENTS = {
    "answer": "The answer",
    "differences": "How the runs differ",
    "shares": "Where the time goes",
    "costs": "What it costs",
    "disagreement": "Where indicators disagree",
    "usage": "What it costs in all",
    "ranks": "The ranks of sharded models",
    "growth": "How costs grow",
    "scores": "Scores on the arena's tasks",
    "speech": "Word error rates",
    "arena": "Beside the arena",
    "published": "Beside the published findings",
    "records-section": "All records",
    "layers": "The layers of one case",
    "taken": "How the numbers were taken",
}

_OWN = "A layer's own time is its time less that of what it calls, so that nothing is counted twice."

_DISAGREE = (
    "One cost alone misleads: of two models one may have fewer parameters and take longer. Only what is shown is "
    "called a disagreement, with the noise of what was measured carried through; all lengths and senses are in --json."
)

_Run = tuple[str, ModalityView]


def report_page(runs: Sequence[Run]) -> str:
    """The page of a run or, with several, of all of them over each other and against the first.

    Raises UsageError where vl-convert is not installed.
    """
    told = several(runs)
    names_of_models = ShortNames.of_views(told.views)
    trees = trees_data(list(zip(told.names, runs, told.views, strict=True)), names_of_models)
    told = names_of_models.within(told)
    first, charts = answers(told)
    by_modality = list(told.by_modality())
    shares = [made for own in by_modality if (made := share_group(own)) is not None]
    costs = [(own[0][1].name, [*curve_groups(own), *part_groups(own)]) for own in by_modality]
    differing = difference_groups(told.differences)
    published, tips = _published(told, by_modality)
    scaled = [
        made
        for own in by_modality
        for run, part in own
        for made in scaling_groups(part, told.views[0].indicators, run if len(runs) > 1 else "")
    ]
    records = records_data(told)
    disagreeing = [
        made
        for own in by_modality
        for run, part in own
        for made in disagreement_groups(part, told.views[0].indicators, run)
    ]
    names = told.names if len(runs) > 1 else [""]
    growing = [each for run, view in zip(names, told.views, strict=True) for each in growth_charts(view.growth, run)]
    arena = [each for run, view in zip(names, told.views, strict=True) for each in arena_charts(view.arena, run)]
    scores = [each for run, view in zip(names, told.views, strict=True) for each in score_charts(view.scores, run)]
    groups = [*shares, *(each for _, own in costs for each in own), *disagreeing, *scaled, *differing]
    charts += [*(chart for each in groups for chart in each.charts), *growing, *scores, *arena, *tips]
    sections: dict[str, list[Part]] = {
        "answer": first,
        "differences": _differences(told, differing),
        "shares": [tag("p", _OWN), *map(group, shares)] if shares else [],
        "costs": [[tag("h3", name.capitalize()), *map(group, own)] for name, own in costs if own],
        "disagreement": [tag("p", _DISAGREE), *map(group, disagreeing)] if disagreeing else [],
        "usage": [*_of_each(told, usage_part)],
        "ranks": [*_of_each(told, ranks_part)],
        "growth": [*map(figure, growing), *_of_each(told, growth_part)],
        "scores": [*map(figure, scores), *_of_each(told, scores_part)],
        "speech": [*_of_each(told, speech_part)],
        "arena": [*map(figure, arena), *_of_each(told, arena_part)],
        "published": [*published, *map(group, scaled)],
        "records-section": [*records_part(told, records)],
        "layers": [*trees_part(trees)],
        "taken": [
            [tag("h3", name) if len(runs) > 1 else None, *taken(view, run.study, run.environments.values())]
            for name, view, run in zip(told.names, told.views, runs, strict=True)
        ],
    }
    present = {name: parts for name, parts in sections.items() if parts}
    title = f"pyprof: {', '.join(dict.fromkeys(view.study for view in told.views))}"
    parts: list[Part] = [
        heading(title),
        *_about(told),
        *(tag("p", each, class_="faint") for each in names_of_models.legend()),
        tag(
            "nav",
            tag("ul", [tag("li", tag("a", _CONTENTS[name], href=f"#{name}")) for name in present]),
            aria_label="Contents",
        ),
        *(section(name, _CONTENTS[name], *parts) for name, parts in present.items()),
    ]
    data = {"records": records, "trees": trees}
    return document(title, parts, charts, data, more=("records.js", "trees.js"))


def _about(told: Several) -> Iterable[Markup]:
    """The machine of each run, what became of its cases, and whether to trust them."""
    for name, view in zip(told.names, told.views, strict=True):
        label = tag("strong", f"{name}: ") if len(told.views) > 1 else None
        started = f", started {view.started[:16].replace('T', ' ')} UTC" if view.started else ""
        yield tag("p", label, view.machine, tag("br"), tag("span", in_one_line(view), started, class_="faint"))
        if view.trust is not None and view.trust.level != "trust":
            class_ = "bad" if view.trust.level == "do not trust" else "care"
            yield tag("p", tag("span", view.trust.sentence, class_=class_), " ", tag("a", "More", href="#taken"))


def _of_each(told: Several, part: Callable[[View], Iterable[Markup]]) -> Iterable[Markup]:
    """A part of each run's view, below the run's name where there are several."""
    for name, view in zip(told.names, told.views, strict=True):
        own = list(part(view))
        if own and len(told.views) > 1:
            yield tag("h3", name)
        yield from own


def _differences(told: Several, groups: Sequence[Group]) -> list[Part]:
    said: list[Part] = []
    for pair in told.pairs:
        what = "; ".join(pair.different) or "nothing that results depend on"
        said.append(
            tag("p", tag("strong", f"{pair.after} against {pair.before}: "), "the environments differ in ", what, ".")
        )
    settings = dict.fromkeys(line.settings for line in told.differences if any(line.settings))
    said += [tag("p", f"Compared although settings differ: {before} against {after}.") for before, after in settings]
    if told.pairs and not groups:
        said.append(tag("p", "The runs have no measured case in common."))
    return [*said, *map(group, groups)]


def _share_table(told: Several) -> Iterable[Markup]:
    """How much lies outside self-attention: a line for each modality and sense, a column for each mode."""
    rows: dict[tuple[str, str, str], dict[str, ShareLine]] = {}
    several = len(told.views) > 1
    for name, view in zip(told.names, told.views, strict=True):
        for part in view.modalities:
            for line in part.share_lines:
                what = f"{part.name}, below {line.below:,} {part.unit}s" + (f", {name}" if several else "")
                rows.setdefault((what, line.comparison, line.setting), {})[line.mode] = line
    modes = list(dict.fromkeys(mode for own in rows.values() for mode in own))
    source = next((view.source for view in told.views if view.source), "the publication")
    body = []
    for (what, sense, setting), own in rows.items():
        cells = [_share_cell(own[mode]) if mode in own else "–" for mode in modes]
        first = next(iter(own.values()))
        body.append([what, ", ".join(filter(None, (sense, setting))), *cells, f"{100 * first.published:.1f} %"])
    if body:
        yield grid(
            ["where", "sense", *modes, "published"],
            body,
            caption=f"Mean share of latency outside self-attention, beside {source} (on a GPU, eager attention)",
        )


def _share_cell(line: ShareLine) -> Part:
    return f"{100 * line.share:.0f} % ", tag("small", length_range(line.shortest, line.longest))


def _published(told: Several, by_modality: Sequence[Sequence[_Run]]) -> tuple[list[Part], list[Chart]]:
    """The findings of the publication beside this run's, and the tipping points on an axis."""
    charts = [chart for own in by_modality for chart in tipping_charts(own)]
    parts: list[Part] = list(_share_table(told))
    for own in by_modality:
        mine = tipping_charts(own)
        if mine:
            parts.append(tag("h3", own[0][1].name.capitalize()))
            parts.append(tag("div", map(figure, mine), class_="charts wide"))
    return parts, charts
