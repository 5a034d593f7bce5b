"""The bars for a GPU, read from what the parts of bench/gpu.py wrote: reached, not reached, or not measured and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Document = Mapping[str, Any]
MODELS = 7


@dataclass(frozen=True)
class Found:
    """One bar: what was promised, the figure, and whether it is reached (None where there is no figure)."""

    name: str
    bar: str
    figure: str
    reached: bool | None

    @property
    def verdict(self) -> str:
        """In a word or two."""
        return {True: "reached", False: "not reached", None: "not measured"}[self.reached]


class Missing(Exception):
    """There is nothing to judge by, and why."""


def bars(documents: Mapping[str, Document]) -> list[Found]:
    """A row for each bar, whatever is missing; `documents` are what the parts printed, by the part's name."""
    return [_judged(name, bar, judge, documents) for name, bar, judge in _BARS]


def _judged(name: str, bar: str, judge: Callable[[_Documents], tuple[str, bool]], documents: Any) -> Found:
    try:
        figure, reached = judge(_Documents(documents))
    except Missing as missing:
        return Found(name, bar, str(missing), None)
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        return Found(name, bar, f"what was printed lacks it ({type(error).__name__}: {error})", None)
    return Found(name, bar, figure, reached)


@dataclass(frozen=True)
class _Documents:
    """The documents by part; a part that left none is the reason for having no figure."""

    parts: Mapping[str, Document]

    def of(self, part: str) -> Document:
        document = self.parts.get(part)
        if not isinstance(document, Mapping):
            raise Missing(f"the part {part!r} left no document")
        return document

    def rows(self, name: str) -> list[Document]:
        """What the part "models" found of each model; raises Missing where it failed for all of them."""
        found = [row for row in self.of("models")["rows"] if row["what"] == name]
        rows = [row for row in found if row.get("reason") is None]
        if not rows:
            raise Missing("; ".join({str(row["reason"]) for row in found}) or f"the part 'models' has no {name}")
        return rows


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.2f} %"


def _interval(ratio: Document) -> str:
    if ratio["low"] is None or ratio["high"] is None:
        return f"{_percent(ratio['value'])} (too few rounds)"
    return f"{_percent(ratio['value'])} [{_percent(ratio['low'])}, {_percent(ratio['high'])}]"


def _steps(given: _Documents) -> tuple[str, bool]:
    rows = given.rows("step")
    every = [(f"{row['model']} {row['mode']}", row["ratio"]) for row in rows]
    if any(ratio["low"] is None for _, ratio in every):
        raise Missing("too few rounds for an interval")
    widest = max(every, key=lambda one: one[1]["high"] - one[1]["low"])
    shown = [name for name, ratio in every if not ratio["low"] <= 1 <= ratio["high"]]
    width = widest[1]["high"] - widest[1]["low"]
    told = f"{len(every)} of {2 * MODELS}; a difference in {', '.join(shown) or 'none'}; "
    told += f"widest {100 * width:.2f} % ({widest[0]})"
    return told, not shown and width <= 0.03 and len(every) == 2 * MODELS


def _looked_at(*parts: str, most: float) -> Callable[[_Documents], tuple[str, bool]]:
    def judge(given: _Documents) -> tuple[str, bool]:
        ratios = []
        for part in parts:
            plain = given.of(part)["plain"]
            if plain is None or plain["ratio"] is None:
                raise Missing(f"{part}: no plain step beside a probed one")
            ratios.append((part, plain["ratio"]))
        told = "; ".join(f"{part}: {_interval(ratio)}" for part, ratio in ratios)
        return told, all(ratio["value"] <= most for _, ratio in ratios)

    return judge


def _stated(given: _Documents) -> tuple[str, bool]:
    mode = given.of("overhead")["modes"][0]
    stated = mode["stated"]["ratio"]
    outside = next(row["ratio"] for row in mode["rows"] if row["tool"] == "pyprof")
    if outside is None or stated["low"] is None:
        raise Missing("too few rounds for an interval")
    return f"stated {_interval(stated)}, from outside {_interval(outside)}", stated["low"] <= outside[
        "value"
    ] <= stated["high"]


def _kernels(given: _Documents) -> tuple[str, bool]:
    rows = given.rows("kernels")
    worst = max(rows, key=lambda row: row["worst"])
    lacking = [f"{row['model']} {row['mode']}" for row in rows if row["ours"] != row["theirs"]]
    told = f"{len(rows)} of {2 * MODELS}; worst {100 * worst['worst']:.2f} % ({worst['model']} {worst['mode']}"
    told += f", {worst['layer']}); other numbers of kernels in {', '.join(lacking) or 'none'}"
    return told, worst["worst"] <= 0.01 and not lacking and len(rows) == 2 * MODELS


def _captured(given: _Documents) -> tuple[str, bool]:
    device = given.of("profile, graph")["device_time"]
    if device is None:
        raise Missing("no kernel times: " + "; ".join(given.of("profile, graph")["notes"]))
    total = device["total"]["kernels"]
    if not total:
        raise Missing("the captured step ran no kernel")
    found = 1 - (device["unknown"]["kernels"] + device["unplaced"]) / total
    return f"{100 * found:.2f} % of {total:g}", found >= 0.99


def _callback(given: _Documents) -> tuple[str, bool]:
    bar = given.of("callback")["bars"][0]
    return f"{bar['value']:.0f} {bar['unit']}", bar["value"] <= 150


def _hopper(given: _Documents) -> tuple[str, bool]:
    """What bench/hopper.py holds Hopper's kernels of window attention to."""
    bars = given.of("hopper")["bars"]
    if not bars:
        raise Missing("no bar was judged")
    missed = [f"{bar['name']} {bar['value']:.3g} {bar['unit']}".strip() for bar in bars if not bar["holds"]]
    told = f"{len(bars) - len(missed)} of {len(bars)}{'; not: ' if missed else ''}{', '.join(missed)}"
    return told, not missed


def _misfortunes(given: _Documents) -> tuple[str, bool]:
    rows = given.rows("misfortune")
    told = "; ".join(f"{row['case']}: {row['told']}" for row in rows)
    return told, all(row["holds"] for row in rows) and len(rows) == 3


_BARS: tuple[tuple[str, str, Callable[[_Documents], tuple[str, bool]]], ...] = (
    ("step of a profile against steps without any profiler, batch 32", "no difference, at most 3 % wide", _steps),
    ("looked-at steps, BERT-base bf16, 512 tokens, infer, batch 1", "at most +5 %", _looked_at("profile", most=1.05)),
    (
        "the same at batch 32, and train at batch 8",
        "at most +2 %",
        _looked_at("profile, batch 32", "profile, train", most=1.02),
    ),
    ("the stated cost against that from outside", "within its interval", _stated),
    ("kernel time of layers against torch.profiler's", "within 1 % over 50 us, all kernels", _kernels),
    ("layers of a captured step", "at least 99 % of its kernels", _captured),
    ("host cost of a launch callback, fake library", "at most 150 ns", _callback),
    ("capture under probes, a second profiler, a lost device", "a sentence, and on it goes", _misfortunes),
    (
        "Hopper's kernels of window attention",
        "right, the same bits, faster than FlashAttention, at most 1.05 times the prototypes",
        _hopper,
    ),
)
