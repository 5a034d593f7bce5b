"""What was published in 2023, to be put beside a fresh run."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from pyprof.analysis.tipping import Tipping

SOURCE = "Diwan, Choi, Harwath, ACL 2023"
Agreement = Literal["agrees", "earlier", "later", "new"]
Side = Literal["below", "within", "above", "out of range"]


@dataclass(frozen=True)
class DataSet:
    """A well-known data set and the mean length of its examples."""

    name: str
    length: int


@dataclass(frozen=True)
class ModalityGrid:
    """The models and lengths that were measured for one modality; `lengths` holds the last one too."""

    vanilla: str
    variants: tuple[str, ...]
    unit: str
    lengths: range


@dataclass(frozen=True)
class ShareFinding:
    """The mean share of latency outside self-attention over the lengths below `below`."""

    share: float
    below: int
    unit: str


@dataclass(frozen=True)
class TippingFinding:
    """The published range of a tipping point; both bounds are None where none was found to exist."""

    low: int | None
    high: int | None
    unit: str


@dataclass(frozen=True)
class Published:
    """The facts of the 2023 study by modality; `notes` are its findings in words."""

    grids: Mapping[str, ModalityGrid]
    data_sets: Mapping[str, tuple[DataSet, ...]]
    shares: Mapping[str, ShareFinding]
    tipping: Mapping[str, TippingFinding]
    without_tipping: tuple[str, ...]
    notes: Mapping[str, str]

    def tipping_of(self, modality: str, metric: str) -> TippingFinding | None:
        """The finding for a metric: one range covers all metrics over length, except those without a tipping point."""
        finding = self.tipping.get(modality)
        if finding is None or metric == "parameters":
            return None
        return TippingFinding(None, None, finding.unit) if metric in self.without_tipping else finding


@cache
def published() -> Published:
    """The facts in reference/diwan2023.toml."""
    data = tomllib.loads(files("pyprof.reference").joinpath("diwan2023.toml").read_text(encoding="utf-8"))
    findings = data["finding"]
    tipping = dict(findings["tipping_point"])
    absent = tuple(metric for metric, value in tipping.items() if value == "non-existent")
    ranges = {key: TippingFinding(**value) for key, value in tipping.items() if key not in absent}
    return Published(
        grids={modality: _grid(entry) for modality, entry in data["modality"].items()},
        data_sets={modality: _data_sets(entry) for modality, entry in data["dataset_tokens"].items()},
        shares={modality: ShareFinding(**entry) for modality, entry in findings["non_self_attention_share"].items()},
        tipping={modality: entry for key, entry in ranges.items() for modality in key.split("_and_")},
        without_tipping=absent,
        notes={name: entry["note"] for name, entry in findings.items() if "note" in entry},
    )


def _grid(entry: Mapping[str, Any]) -> ModalityGrid:
    lengths = entry["lengths"]
    every = range(lengths["start"], lengths["stop"] + 1, lengths["step"])
    return ModalityGrid(entry["vanilla"], tuple(entry["variants"]), entry["unit"], every)


def _data_sets(entry: Mapping[str, int]) -> tuple[DataSet, ...]:
    return tuple(sorted((DataSet(name, length) for name, length in entry.items()), key=lambda one: one.length))


def agreement(tipping: Tipping, finding: TippingFinding, measured: tuple[int, int]) -> Agreement | None:
    """How a tipping point relates to the published one; None where the run cannot tell.

    agrees: the two intervals overlap, or neither exists. earlier, later: they do not. new: one exists where none was
    found in 2023. `measured` is the range of lengths that the run covers.
    """
    crossing = tipping.crossing
    if finding.low is None or finding.high is None:
        found = crossing is not None or tipping.status == "everywhere"
        return "new" if found else "agrees" if tipping.status == "nowhere" else None
    if crossing is not None:
        if crossing.low is None and crossing.high is None:
            low = high = crossing.length
        else:
            low, high = crossing.low or 0.0, crossing.high or float("inf")
        return "earlier" if high < finding.low else "later" if low > finding.high else "agrees"
    if tipping.status == "everywhere" and measured[0] < finding.low:
        return "earlier"
    return "later" if tipping.status == "nowhere" and measured[1] > finding.high else None


def side(length: int, tipping: Tipping, measured: tuple[int, int]) -> Side | None:
    """Where a length lies: below the tipping point (the vanilla model costs less), within its interval, or above it.

    None where there is nothing to say; "out of range" where only a measurement at longer lengths could tell.
    """
    crossing = tipping.crossing
    if crossing is None:
        if tipping.status not in ("everywhere", "nowhere"):
            return None
        if not measured[0] <= length <= measured[1]:
            return "out of range"
        return "above" if tipping.status == "everywhere" else "below"
    if length < (crossing.length if crossing.low is None else crossing.low):
        return "below"
    if length > (crossing.length if crossing.high is None else crossing.high):
        return "above"
    return "within"
