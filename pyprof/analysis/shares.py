"""Where the time goes: the share of each kind of layer, over length."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

from pyprof.analysis.curves import Curves, Setting
from pyprof.records.comparison import Comparison, Subject
from pyprof.records.published import ShareFinding
from pyprof.records.record import Record

SELF_ATTENTION = "self-attention"
OUTSIDE = "outside"
# What ran several kinds of layers in one piece.
FUSED = "fused"
KINDS = (
    *(SELF_ATTENTION, "cross-attention", "convolution", "state space", "recurrence", "feedforward", "router", FUSED),
    *("embedding", "normalisation", "head", "communication", "other", OUTSIDE),
)


@dataclass(frozen=True)
class ShareRow:
    """The shares of the kinds in one step: own times, forward and backward together; they sum to 1.

    The kind "outside" is the part of the step outside of every layer: the loss, say; it has no direction. `forward`
    and `backward` are seconds of the host by kind, `device` what a device worked for it in both; None where nothing of
    that was seen.
    """

    length: int
    seconds: float
    shares: Mapping[str, float]
    forward: Mapping[str, float] = field(default_factory=dict)
    backward: Mapping[str, float] | None = None
    device: Mapping[str, float] | None = None

    @property
    def non_attention(self) -> float | None:
        """The share outside self-attention; None where fused layers hide how much of them it is."""
        return None if self.shares.get(FUSED) else 1 - self.shares.get(SELF_ATTENTION, 0.0)


@dataclass(frozen=True)
class ShareCurve:
    """The shares of one model in one setting, shortest length first."""

    subject: Subject
    setting: Setting
    rows: tuple[ShareRow, ...]


@dataclass(frozen=True)
class ShareSummary:
    """The mean share of latency outside self-attention, over the models of one side-by-side and lengths below a bound.

    `comparison` names the implementations ("then", "now"); `covered` is the shortest and the longest length that was
    measured below the bound.
    """

    modality: str
    unit: str
    setting: Setting
    comparison: str
    below: int
    share: float
    models: tuple[str, ...]
    covered: tuple[int, int]
    published: float


def share_row(record: Record) -> ShareRow | None:
    """The shares of one record; None where its layers were not timed."""
    seconds = {kind: cost.forward_seconds + (cost.backward_seconds or 0.0) for kind, cost in record.kinds.items()}
    if record.outside_seconds is not None:
        seconds[OUTSIDE] = record.outside_seconds
    total = sum(seconds.values())
    if not record.kinds or total <= 0:
        return None
    ranked = _ranked(tuple(seconds))
    own = {kind: record.kinds[kind] for kind in ranked if kind in record.kinds}
    backward = {kind: cost.backward_seconds for kind, cost in own.items() if cost.backward_seconds is not None}
    device = {kind: cost.device_seconds for kind, cost in own.items() if cost.device_seconds is not None}
    return ShareRow(
        length=record.case.length,
        seconds=total,
        shares={kind: seconds[kind] / total for kind in ranked},
        forward={kind: cost.forward_seconds for kind, cost in own.items()},
        backward=backward or None,
        device=device or None,
    )


@cache
def _ranked(kinds: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(kinds, key=rank))


def rank(kind: str) -> tuple[int, str]:
    """The order in which kinds are shown: self-attention first, what is outside of every layer last."""
    return (KINDS.index(kind) if kind in KINDS else KINDS.index("other"), kind)


def share_curves(curves: Curves) -> tuple[ShareCurve, ...]:
    """The shares of everything whose layers were timed."""
    shares = []
    for (subject, setting), curve in curves.ok.items():
        rows = tuple(row for record in curve.values() if (row := share_row(record)) is not None)
        if rows:
            shares.append(ShareCurve(subject, setting, rows))
    return tuple(shares)


def mean_over_length(rows: Sequence[tuple[int, float]]) -> float:
    """The mean of values over length: the trapezoidal integral over the range, divided by the range.

    So a densely measured stretch counts no more than a sparse one, and a study with lengths chosen by bisection has
    the mean of one with evenly spaced lengths.
    """
    if len(rows) == 1:
        return rows[0][1]
    area = sum((b - a) * (first + second) / 2 for (a, first), (b, second) in pairwise(rows))
    return area / (rows[-1][0] - rows[0][0])


def share_summaries(
    curves: Sequence[ShareCurve], comparisons: Iterable[Comparison], published: Mapping[str, ShareFinding]
) -> tuple[ShareSummary, ...]:
    """For each modality with a published share, each comparison's name and each setting: the mean over its models."""
    members: dict[tuple[str, str, tuple[str, str]], list[Comparison]] = {}
    for comparison in comparisons:
        if not comparison.of_one_model:
            key = comparison.modality, comparison.sense, comparison.conditions
            members.setdefault(key, []).append(comparison)
    summaries = []
    for (modality, name, conditions), own in members.items():
        finding = published.get(modality)
        chosen = [
            curve
            for curve in curves
            if any(each.has_variant(curve.subject) or each.has_vanilla(curve.subject) for each in own)
        ]
        for setting in dict.fromkeys(curve.setting for curve in chosen if curve.setting.conditions == conditions):
            here = [curve for curve in chosen if curve.setting == setting]
            summary = None if finding is None else _summary(modality, name, here, finding)
            if summary is not None:
                summaries.append(summary)
    return tuple(summaries)


def _summary(modality: str, name: str, curves: Sequence[ShareCurve], finding: ShareFinding) -> ShareSummary | None:
    below = {
        str(curve.subject): [
            (row.length, share)
            for row in curve.rows
            if row.length < finding.below and (share := row.non_attention) is not None
        ]
        for curve in curves
    }
    means = {subject: mean_over_length(rows) for subject, rows in below.items() if rows}
    if not means:
        return None
    lengths = [length for rows in below.values() for length, _ in rows]
    return ShareSummary(
        modality,
        finding.unit,
        curves[0].setting,
        name,
        finding.below,
        sum(means.values()) / len(means),
        tuple(means),
        (min(lengths), max(lengths)),
        finding.share,
    )
