"""What was published, to be put beside a fresh run: figures by modality, and the lengths of well-known data sets.

A run keeps a copy, so that its report stays what it was when the figures that pyprof ships are extended.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from pyprof.records import validate


@dataclass(frozen=True)
class DataSet:
    """A well-known data set and the mean length of its examples."""

    name: str
    length: int


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
class ModelFigures:
    """What was printed of one model at one length: `values` by the name of an indicator, in its unit, or by words for
    what has no indicator here (a quality, a time on their hardware). `series` is the way in which it was made larger or
    smaller than others.
    """

    length: int
    values: Mapping[str, float]
    series: str = ""


@dataclass(frozen=True)
class Published:
    """The figures of one publication by modality.

    `tipping` has the range that the tipping points of the indicators in `covered` lie in, `without_tipping` those of
    them for which none was found to exist. `figures` maps models to what was printed of them, `quality` is the name of
    the one that tells how good they are.
    """

    source: str
    covered: tuple[str, ...]
    data_sets: Mapping[str, tuple[DataSet, ...]]
    shares: Mapping[str, ShareFinding]
    tipping: Mapping[str, TippingFinding]
    without_tipping: tuple[str, ...]
    figures: Mapping[str, ModelFigures] = field(default_factory=dict)
    quality: str | None = None

    def tipping_of(self, modality: str, indicator: str) -> TippingFinding | None:
        """The finding on an indicator's tipping point; None where the publication says nothing of it."""
        finding = self.tipping.get(modality)
        if finding is None or indicator not in self.covered:
            return None
        return TippingFinding(None, None, finding.unit) if indicator in self.without_tipping else finding

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return asdict(self)


_length = validate.whole(1, validate.LARGE)
_SHARE = validate.instance(ShareFinding, share=validate.figure, below=_length, unit=validate.text)
_TIPPING = validate.instance(
    TippingFinding, low=validate.optional(_length), high=validate.optional(_length), unit=validate.text
)
_FIGURES = validate.instance(
    ModelFigures, absent=("series",), length=_length, values=validate.mapping(validate.figure), series=validate.words
)
PUBLISHED = validate.instance(
    Published,
    absent=("figures", "quality"),
    quality=validate.optional(validate.words),
    figures=validate.mapping(_FIGURES),
    source=validate.words,
    covered=validate.listing(validate.text),
    data_sets=validate.mapping(
        validate.listing(validate.instance(DataSet, name=validate.text, length=_length)),
    ),
    shares=validate.mapping(_SHARE),
    tipping=validate.mapping(_TIPPING),
    without_tipping=validate.listing(validate.text),
)


@cache
def diwan2023() -> Published:
    """The figures in reference/diwan2023.toml."""
    data = tomllib.loads(files("pyprof.reference").joinpath("diwan2023.toml").read_text(encoding="utf-8"))
    tipping = dict(data["finding"]["tipping_point"])
    absent = tuple(indicator for indicator, value in tipping.items() if value == "non-existent")
    ranges = {key: TippingFinding(**value) for key, value in tipping.items() if key not in absent}
    shares = data["finding"]["non_self_attention_share"]
    return Published(
        source=data["source"],
        covered=tuple(data["study"]["indicators"].values()),
        data_sets={modality: _data_sets(lengths) for modality, lengths in data["dataset_tokens"].items()},
        shares={modality: ShareFinding(**share) for modality, share in shares.items()},
        tipping={modality: finding for key, finding in ranges.items() for modality in key.split("_and_")},
        without_tipping=absent,
    )


_ACCURACY = "ImageNet accuracy (%)"


@cache
def misnomer() -> Published:
    """Tables 1 and 2 in reference/misnomer.toml, their GFLOPs as the multiply-adds that they are."""
    data = tomllib.loads(files("pyprof.reference").joinpath("misnomer.toml").read_text(encoding="utf-8"))
    printed: dict[str, dict[str, float]] = {}
    for row in data["vit_patch_size"]:
        printed[row["model"].lower().replace("/", "")] = _row(row, row["msec_per_example"])
    columns = data["vit_scaling"].pop("columns")
    for name, values in data["vit_scaling"].items():
        row = dict(zip(columns, values, strict=True))
        printed[f"vit-{name.lower()}"] = _row(row, row["msec_per_image"]) | {_ACCURACY: row["imagenet_accuracy"]}
    ways = {"vit-d": "deeper", "vit-w": "wider"}
    figures = {
        name: ModelFigures(data["image_size"], values, ways.get(name[:5], "")) for name, values in printed.items()
    }
    return Published(data["source"], (), {}, {}, {}, (), figures, _ACCURACY)


def _row(row: Mapping[str, Any], milliseconds: float) -> dict[str, float]:
    return {
        "parameters": row["million_parameters"] * 1e6,
        "macs": row["gflops"] * 1e9,
        "ms per image on their TPUs": milliseconds,
    }


# The publications whose figures stand beside those of a run, by the name that a study gives.
PUBLICATIONS = {"diwan2023": diwan2023, "misnomer": misnomer}


def _data_sets(lengths: Mapping[str, int]) -> tuple[DataSet, ...]:
    return tuple(sorted((DataSet(name, length) for name, length in lengths.items()), key=lambda each: each.length))
