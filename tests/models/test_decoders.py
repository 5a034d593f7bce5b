"""The decoders of the study of generation: their caches by hand, and what cannot generate."""

from __future__ import annotations

import pytest
import torch
from model_steps import registry_step

from pyprof.errors import UsageError
from pyprof.indicators import cache, flops, memory_components
from pyprof.models import registry
from pyprof.models.blueprint import blueprint, meta_parameters
from pyprof.models.decoder_entries import DECODERS
from pyprof.records.case import Case
from pyprof.study.foregone import why_foregone

NAMES = [entry.name for entry in DECODERS]
# Of the tiny size: layers, width of a head, bytes of a number; heads and tokens whose keys and values are kept.
LAYERS, HEAD, FLOAT = 2, 4, 4
KEPT = {"decoder": (12, 40), "decoder-grouped": (4, 40), "decoder-shared": (1, 40), "decoder-window": (12, 7)}
INDEX = 8


@pytest.mark.parametrize("name", NAMES)
def test_the_cache_by_hand(name: str) -> None:
    heads, tokens = KEPT[name]
    held = 2 * LAYERS * heads * tokens * HEAD * FLOAT
    extra = LAYERS * INDEX if name == "decoder-window" else 0
    for batch in (1, 3):
        step = registry_step(name, 40, "generate", "sdpa", batch=batch)
        assert cache.count(step).value == batch * held + extra
        step()
        assert cache.count(step).value == batch * held + extra


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_flops_of_one_more_token(attention: str) -> None:
    length, width, inner, words = 40, 48, 96, 128
    step = registry_step("decoder", length, "generate", attention)
    by_layer = 4 * width**2 + 3 * width * inner + 2 * (length + 1) * width
    reading = flops.count(step)
    assert reading.value == 2 * (LAYERS * by_layer + width * words)
    assert reading.detail["uncounted"] == {}


@pytest.mark.parametrize("mode", ["prefill", "generate"])
def test_components_of_the_peak_hold_the_cache(mode: str) -> None:
    step = registry_step("decoder", 40, mode, "sdpa")
    parts = memory_components.count(step)
    assert parts.value == step.peak_memory().value
    cached = 2 * LAYERS * 12 * 40 * HEAD * FLOAT
    held = parts.detail["inputs"] if mode == "generate" else parts.detail["workspace"]
    assert held >= cached


def test_one_more_position_than_the_longest_is_there() -> None:
    step = registry_step("decoder", 64, "generate", "sdpa")
    step()
    with pytest.raises(UsageError, match="loaded for lengths up to 64"):
        step.model.fit(65)


@pytest.mark.parametrize("model", ["bert", "vit", "zoo-linear"])
@pytest.mark.parametrize("mode", ["prefill", "generate"])
def test_an_encoder_is_skipped_with_the_reason(model: str, mode: str) -> None:
    with pytest.raises(UsageError, match=f"{model} is no decoder and cannot generate, so it has no mode {mode}"):
        registry.load(model, size="tiny", attention="best", mode=mode, longest=64)
    case = Case(model, 64, mode, registry.resolve(model, "best"), "tiny")  # type: ignore[arg-type]
    assert "is no decoder" in (why_foregone(case, {}) or "")


def test_a_factory_that_is_no_decoder_says_so() -> None:
    loaded = registry.load("pyprof.models.sparse:dense", attention="own", mode="generate", longest=8)
    with pytest.raises(UsageError, match="sparse:dense keeps no keys and values"):
        loaded.fit(8)


def test_an_encoder_decoder_of_a_factory_generates() -> None:
    loaded = registry.load("pyprof.models.backbones:encoder_decoder", attention="own", mode="generate", longest=8)
    loaded.fit(8)
    args, kwargs = loaded.inputs(8, 2)
    assert loaded.call(*args, **kwargs)[0].shape == (2, 1, 512)


def test_only_what_attention_keeps_differs() -> None:
    sizes = {name: meta_parameters(blueprint(registry.entry(name), "base")) for name in NAMES}
    assert sizes["decoder"] == sizes["decoder-window"]
    # Keys and values of 4 heads, and of 1, in place of 12.
    assert sizes["decoder"] - sizes["decoder-grouped"] == 12 * 2 * 768 * 8 * 64
    assert sizes["decoder"] - sizes["decoder-shared"] == 12 * 2 * 768 * 11 * 64
    assert 105e6 < sizes["decoder"] < 115e6


def test_they_are_trained_and_run_without_a_cache_too() -> None:
    for mode in ("infer", "train"):
        step = registry_step("decoder-window", 16, mode, "sdpa")
        step()
        assert step.model.attention == "sdpa"
    with torch.no_grad():
        assert step.model.module(input_ids=torch.zeros(1, 4, dtype=torch.long)).get("cache") is None
