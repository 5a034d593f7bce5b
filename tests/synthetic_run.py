"""Synthetic runs with the costs that the field notes report for two slow cores, and noise."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pyprof.failures import Status
from pyprof.indicators.registry import every
from pyprof.records.case import USUAL_MODES, Case, Mode
from pyprof.records.comparison import Comparison, ModelFacts, Pairing, Subject
from pyprof.records.published import diwan2023
from pyprof.records.reading import Reading
from pyprof.records.record import KindCost, Record
from pyprof.records.resolved import Resolved

FACTS = {
    "bert": ModelFacts("text", "token", None, "full attention", ("sdpa", "eager"), "eager"),
    "longformer": ModelFacts("text", "token", "bert", "fixed pattern + memory", ("eager",), "eager"),
    "nystromformer": ModelFacts("text", "token", "bert", "low rank / kernel", ("eager",), "eager"),
    "hubert": ModelFacts("speech", "token", None, "full attention", ("sdpa", "eager"), "eager"),
    "l-hubert": ModelFacts("speech", "token", "hubert", "fixed pattern", ("chunks",), "chunks"),
    "l-hubert-100": ModelFacts("speech", "token", "hubert", "fixed pattern", ("chunks",), "chunks"),
    "vit": ModelFacts("vision", "pixel", None, "full attention", ("sdpa", "eager"), "eager"),
    "swin": ModelFacts("vision", "pixel", "vit", "fixed pattern", ("sdpa", "eager"), "eager"),
}
COMPARISONS = tuple(
    Comparison(name, variant, variant_attention[name], vanilla, {"then": "eager", "now": "sdpa"}[name], modality, unit)
    for variant, variant_attention, vanilla, modality, unit in (
        ("longformer", {"then": "eager", "now": "eager"}, "bert", "text", "token"),
        ("nystromformer", {"then": "eager", "now": "eager"}, "bert", "text", "token"),
        ("l-hubert", {"then": "chunks", "now": "chunks"}, "hubert", "speech", "token"),
        ("l-hubert-100", {"then": "chunks", "now": "chunks"}, "hubert", "speech", "token"),
        ("swin", {"then": "eager", "now": "sdpa"}, "vit", "vision", "pixel"),
    )
    for name in ("then", "now")
)


def resolved(comparisons: Sequence[Comparison] = COMPARISONS, facts: Mapping[str, ModelFacts] = FACTS) -> Resolved:
    """What a study with these comparisons resolved."""
    pairings = (
        Pairing(
            0,
            comparison.name,
            Subject(comparison.vanilla, comparison.vanilla_attention),
            Subject(comparison.variant, comparison.variant_attention),
        )
        for comparison in comparisons
    )
    return Resolved(tuple(pairings), facts, tuple(indicator.facts for indicator in every()), diwan2023())


RESOLVED = resolved()


@dataclass(frozen=True)
class Model:
    """A model's inference latency in seconds over length and what belongs to it, by round figures."""

    seconds: Callable[[float], float]
    attention_share: Callable[[float], float]
    embedding_share: float
    bytes: Callable[[float], float]
    parameters: int


def _grows(low: float, high: float, half: float) -> Callable[[float], float]:
    return lambda n: low + (high - low) * n / (n + half)


MODELS: dict[tuple[str, str], Model] = {
    ("bert", "eager"): Model(
        lambda n: 0.01 + 1.18e-3 * n + 1.75e-7 * n * n,
        _grows(0.2, 0.9, 2000),
        0.01,
        lambda n: 4.4e8 + 26e3 * n + 100 * n * n,
        109_482_240,
    ),
    ("bert", "sdpa"): Model(
        lambda n: 0.01 + 1.05e-3 * n + 1.7e-7 * n * n,
        _grows(0.2, 0.85, 2200),
        0.01,
        lambda n: 4.4e8 + 26e3 * n,
        109_482_240,
    ),
    ("longformer", "eager"): Model(
        lambda n: 0.06 + 1.44e-3 * n,
        _grows(0.4, 0.55, 500),
        0.01,
        lambda n: 6.0e8 + 60e3 * n,
        148_659_456,
    ),
    ("nystromformer", "eager"): Model(
        lambda n: 0.08 + 1.13e-3 * n,
        _grows(0.25, 0.4, 500),
        0.01,
        lambda n: 4.4e8 + 40e3 * n,
        109_790_976,
    ),
    ("hubert", "eager"): Model(
        lambda n: 0.03 + 1.6e-3 * n + 3.2e-7 * n * n,
        _grows(0.1, 0.75, 2000),
        0.33,
        lambda n: 3.8e8 + 90e3 * n + 105 * n * n,
        94_371_712,
    ),
    ("hubert", "sdpa"): Model(
        lambda n: 0.03 + 1.55e-3 * n + 2.5e-7 * n * n,
        _grows(0.1, 0.7, 2200),
        0.33,
        lambda n: 3.8e8 + 90e3 * n,
        94_371_712,
    ),
    ("l-hubert", "chunks"): Model(
        lambda n: 0.08 + 1.95e-3 * n,
        _grows(0.25, 0.35, 500),
        0.30,
        lambda n: 3.9e8 + 110e3 * n,
        94_371_712,
    ),
    ("l-hubert-100", "chunks"): Model(
        lambda n: 0.08 + 2.05e-3 * n,
        _grows(0.27, 0.37, 500),
        0.29,
        lambda n: 3.9e8 + 120e3 * n,
        94_371_712,
    ),
    ("vit", "eager"): Model(
        lambda n: 0.006 + 4.0e-6 * n * n + 3.0e-12 * n**4,
        _grows(0.2, 0.8, 600),
        0.03,
        lambda n: 3.5e8 + 1.6e2 * n * n + 2.4e-4 * n**4,
        86_389_248,
    ),
    ("vit", "sdpa"): Model(
        lambda n: 0.006 + 3.9e-6 * n * n + 2.4e-12 * n**4,
        _grows(0.2, 0.75, 700),
        0.03,
        lambda n: 3.5e8 + 1.6e2 * n * n,
        86_389_248,
    ),
    ("swin", "eager"): Model(
        lambda n: 0.015 + 4.55e-6 * n * n,
        _grows(0.35, 0.45, 300),
        0.05,
        lambda n: 3.6e8 + 3.0e2 * n * n,
        86_743_224,
    ),
    ("swin", "sdpa"): Model(
        lambda n: 0.015 + 4.3e-6 * n * n,
        _grows(0.35, 0.45, 300),
        0.05,
        lambda n: 3.6e8 + 2.7e2 * n * n,
        86_743_224,
    ),
}
OWNED = {
    "embedding": 0.2,
    "self-attention": 0.26,
    "feedforward": 0.52,
    "normalisation": 0.001,
    "head": 0.019,
    "other": 0.0,
}
ENVIRONMENT = "5f0c1d2e3a4b5c6d"


def record(model: str, attention: str, length: int, mode: Mode, samples: int = 7, noise: float = 0.01) -> Record:
    """One case of batch 1: latency, peak memory, parameters and layers."""
    facts = MODELS[model, attention]
    true = facts.seconds(length) * (2.9 if mode == "train" else 1.0)
    random_state = random.Random(f"{model} {attention} {length} {mode}")
    readings = sorted(true * (1 + abs(random_state.gauss(0, noise))) for _ in range(samples))
    median = readings[samples // 2]
    wide = samples >= 5
    latency = Reading(
        median,
        readings[0] if wide else None,
        readings[-1] if wide else None,
        tuple(round(value * 1e9) for value in readings),
        (round(readings[-1] * 1.2e9),),
    )
    share, embedding = facts.attention_share(length), facts.embedding_share
    rest = 0.97 - share - embedding
    forward = median / 2.9 if mode == "train" else median
    shares = {
        "embedding": embedding,
        "self-attention": share,
        "feedforward": rest * 0.86,
        "normalisation": rest * 0.09,
        "head": rest * 0.01,
        "other": rest * 0.04,
    }
    back = 1.9 if mode == "train" else None
    kinds = {
        kind: KindCost(
            part * forward, None if back is None else part * forward * back, round(OWNED[kind] * facts.parameters)
        )
        for kind, part in shares.items()
    }
    memory = facts.bytes(length) + (facts.parameters * 4 if mode == "train" else 0)
    indicators = {
        "latency": latency,
        "peak_memory": Reading(float(round(memory)), samples=(round(memory),)),
        "parameters": Reading(float(facts.parameters)),
    }
    inside = sum(cost.forward_seconds + (cost.backward_seconds or 0) for cost in kinds.values())
    return Record(
        Case(model, length, mode, attention),
        "ok",
        ENVIRONMENT,
        "2026-05-09T07:35:25Z",
        12.5,
        None,
        indicators,
        kinds,
        inside / 0.97,
        inside / 0.97 * 0.03,
        attention,
    )


def throughput(model: str, attention: str, length: int, mode: Mode) -> Record:
    """One case of the largest batch."""
    one = record(model, attention, length, mode)
    latency = one.indicators["latency"]
    value, low, high = (1.25 / (bound or 1.0) for bound in (latency.value, latency.high, latency.low))
    reading = Reading(value, low, high, latency.samples, detail={"batch": 16})
    case = Case(model, length, mode, attention, batch="largest")
    return Record(case, "ok", ENVIRONMENT, one.started, 21.0, None, {"throughput": reading}, attention=attention)


def missing(case: Case, status: Status, reason: str) -> Record:
    """One case that gave nothing."""
    return Record(case, status, ENVIRONMENT, "2026-05-09T07:35:25Z", 0.0, reason)


LENGTHS: dict[str, Sequence[int]] = {
    "text": (62, 242, 542, 1022, 1562, 1802, 2042, 2582, 3362),
    "speech": (50, 200, 600, 1000, 1500, 1750, 2000, 2500),
    "vision": (32, 96, 224, 384, 512, 640, 768, 1024),
}


def quick() -> Iterator[Record]:
    """A run as the quick study gives it: long training steps are left out by the budget."""
    for model, attention in MODELS:
        lengths = LENGTHS[FACTS[model].modality]
        for mode in USUAL_MODES:
            for length in lengths:
                if mode == "train" and length > lengths[-3]:
                    predicted = MODELS[model, attention].seconds(length) * 2.9 * 7
                    reason = f"left out by the time budget: predicted to take {predicted:.1f} s"
                    yield missing(Case(model, length, mode, attention), "skipped", reason)
                elif model == "bert" and attention == "eager" and length == 3362:
                    reason = "needed 3.1 GiB and 2.9 GiB were free"
                    yield missing(Case(model, length, mode, attention), "oom", reason)
                else:
                    yield record(model, attention, length, mode)
            for length in (lengths[2], lengths[4]):
                yield throughput(model, attention, length, mode)


def large(count: int) -> Iterator[str]:
    """The JSON lines of `count` records over as many lengths as that takes, with raw samples for about 2.5 kB each."""
    bases = [record(*key, 512, mode, samples=100).to_json() for key in MODELS for mode in USUAL_MODES]
    for number in range(count):
        base, length = bases[number % len(bases)], 32 + 8 * (number // len(bases))
        seconds = MODELS[base["case"]["model"], base["case"]["attention"]].seconds(length)
        seconds *= 1 + 0.01 * math.sin(number)
        latency = {**base["indicators"]["latency"], "value": seconds, "low": seconds * 0.99, "high": seconds * 1.01}
        case = {**base["case"], "length": length}
        key = Case.from_json(case).key
        yield json.dumps({**base, "key": key, "case": case, "indicators": {**base["indicators"], "latency": latency}})
