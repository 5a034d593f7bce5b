"""The tipping points of a whole run: every comparison, metric and mode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from pyprof.analysis.curves import Curve, Curves, Key, Setting
from pyprof.analysis.ratio import Cost, RatioPoint, costs, ratio_points
from pyprof.analysis.tipping import ANSWERED, Tipping, find_tipping
from pyprof.failures import TIME_IS_UP
from pyprof.records.comparison import Comparison, Subject
from pyprof.records.indicator import IndicatorFacts, OfIndicator


@dataclass(frozen=True)
class TippingPoint(OfIndicator):
    """Where one variant tips in one metric and setting, and the ratios that say so.

    `time_was_up`: there is no answer because the study's time ended before lengths that would give it.
    """

    comparison: Comparison
    indicator: IndicatorFacts
    setting: Setting
    points: tuple[RatioPoint, ...]
    tipping: Tipping
    time_was_up: bool = False

    @property
    def measured(self) -> tuple[int, int] | None:
        """The shortest and the longest length at which both were measured."""
        return (self.points[0].length, self.points[-1].length) if self.points else None


def tipping_points(
    curves: Curves, comparisons: Sequence[Comparison], indicators: Sequence[IndicatorFacts]
) -> tuple[TippingPoint, ...]:
    """All tipping points in the order of the comparisons; a setting is looked at where it has the metric at all.

    An indicator that does not vary with the length has no length to tip at.
    """
    metrics = [indicator for indicator in indicators if indicator.varies_with_length]
    measured: dict[Setting, set[str]] = {}
    for (_, setting), curve in curves.ok.items():
        measured.setdefault(setting, set()).update(name for record in curve.values() for name in record.indicators)

    given = {name for names in measured.values() for name in names}
    for _, setting in curves.all:
        # Where nothing at all was measured, each that other settings have is missing.
        absent = (each.name for each in metrics if setting.mode in each.modes and setting.batch == each.batch)
        measured.setdefault(setting, {name for name in absent if name in given})

    @cache
    def costs_of(subject: Subject, setting: Setting, metric: IndicatorFacts) -> Mapping[int, Cost]:
        return costs(curves.ok.get((subject, setting), {}), metric)

    points = []
    for comparison in comparisons:
        variants = [key for key in curves.all if comparison.has_variant(key[0])]
        vanillas = [key for key in curves.all if comparison.has_vanilla(key[0])]
        settings = dict.fromkeys(
            setting for _, setting in (*variants, *vanillas) if setting.conditions == comparison.conditions
        )
        for metric in metrics:
            for setting in settings:
                if metric.name in measured.get(setting, ()):
                    contrast = _Contrast(comparison, metric, setting, costs_of)
                    points += contrast.compare(curves, _at(variants, setting), _at(vanillas, setting))
    return tuple(points)


def _at(sides: Iterable[Key], setting: Setting) -> list[Subject]:
    return [subject for subject, at in sides if at == setting]


@dataclass(frozen=True)
class _Contrast:
    """One comparison in one metric and setting."""

    comparison: Comparison
    indicator: IndicatorFacts
    setting: Setting
    costs: Callable[[Subject, Setting, IndicatorFacts], Mapping[int, Cost]]

    def compare(self, curves: Curves, variants: Sequence[Subject], vanillas: Sequence[Subject]) -> list[TippingPoint]:
        """One tipping point for every pair of loaded weights, which as a rule is one; never none."""
        comparison = self.comparison
        if not variants:
            return [self._absent(f"{comparison.variant} {comparison.variant_how}: no case")]
        if not vanillas:
            return [self._absent(f"{comparison.vanilla} {comparison.vanilla_how}: no case")]
        return [self._pair(curves, variant, vanilla) for variant in variants for vanilla in vanillas]

    def _pair(self, curves: Curves, variant: Subject, vanilla: Subject) -> TippingPoint:
        ours, theirs = (self.costs(subject, self.setting, self.indicator) for subject in (variant, vanilla))
        points = ratio_points(ours, theirs)
        planned = [curves.all[subject, self.setting] for subject in (variant, vanilla)]
        left_out = any(TIME_IS_UP in (record.reason or "") for curve in planned for record in curve.values())
        if points:
            tipping = find_tipping(points)
            time_was_up = left_out and tipping.status not in ANSWERED
            return TippingPoint(self.comparison, self.indicator, self.setting, points, tipping, time_was_up)
        why = map(_outcomes, (variant, vanilla), planned)
        return self._absent(f"no length was measured for both ({'; '.join(why)})", left_out)

    def _absent(self, reason: str, time_was_up: bool = False) -> TippingPoint:
        tipping = Tipping("not measured", reason=reason)
        return TippingPoint(self.comparison, self.indicator, self.setting, (), tipping, time_was_up)


def _outcomes(subject: Subject, curve: Curve) -> str:
    counts = Counter(record.status for record in curve.values())
    return f"{subject}: " + ", ".join(f"{count} {status}" for status, count in counts.most_common())
