from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pyprof.analysis.arena import arena_tables, differing, rank_correlation
from pyprof.analysis.curves import Curves
from pyprof.models.zoo.config import SHAPES
from pyprof.models.zoo.mechanisms import ARENA
from pyprof.records.case import Case, Mode
from pyprof.records.reading import Reading
from pyprof.records.record import Record

FACTS = tomllib.loads((Path(__file__).parents[2] / "pyprof/reference/lra.toml").read_text())


def test_the_rank_correlation_is_spearmans() -> None:
    scipy = pytest.importorskip("scipy.stats")
    ours = {"a": 1.0, "b": 4.0, "c": 3.0, "d": 9.0, "e": 4.0}
    theirs = {"a": 2.0, "b": 1.0, "c": 5.0, "d": 6.0, "e": 6.0}
    expected = scipy.spearmanr(list(ours.values()), list(theirs.values())).statistic
    assert rank_correlation(ours, theirs) == pytest.approx(expected)
    assert rank_correlation(ours, ours) == pytest.approx(1)
    assert rank_correlation(ours, {name: -value for name, value in ours.items()}) == pytest.approx(-1)
    assert rank_correlation({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.0}) is None
    assert rank_correlation(ours, dict.fromkeys(ours, 1.0)) is None


def test_pairs_in_another_order_are_named_with_the_one_that_is_ahead_here() -> None:
    assert differing({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 3, "c": 2}) == (("c", "b"),)
    assert differing({"a": 1, "b": 2}, {"a": 1, "b": 1}) == ()


def test_the_arenas_models_have_the_settings_of_its_code() -> None:
    assert {each.name.removeprefix("lra-") for each in ARENA} == set(FACTS["efficiency"]["steps_per_second"])
    options = {each.name.removeprefix("lra-"): each.options for each in ARENA}
    told = FACTS["attention"]
    assert options["local"] == told["local"]
    assert options["sinkhorn"]["block"] == told["sinkhorn"]["block"]
    assert options["bigbird"] == {"block": told["bigbird"]["block"], "random": told["bigbird"]["random_blocks"]}
    assert options["linformer"] == {"rank": told["linformer"]["k"], "shared": told["linformer"]["shared_kv_projection"]}
    reformer = told["reformer"]
    assert options["reformer"] == {
        "chunk": reformer["chunk"],
        "rounds": reformer["hashes"],
        "buckets": reformer["buckets"],
    }
    where = {each.name: each.where.rpartition(".")[2] for each in ARENA}
    assert (told["performer"]["features"], told["performer"]["random_projection"]) == ("relu", False)
    assert where["lra-performer"] == "performer_relu:PerformerRelu"
    assert told["synthesizer"]["kind"] == "dense plus dot product"
    assert where["lra-synthesizer"] == "synthesizer:Mixture"


def test_base_and_small_are_the_papers_and_the_released_size() -> None:
    for size, name in (("base", "paper"), ("small", "released")):
        told = FACTS["size"]["text"][name]
        assert SHAPES[size] == {
            "hidden_size": told["embed"],
            "num_attention_heads": told["heads"],
            "num_hidden_layers": told["layers"],
            "intermediate_size": told["ffn"],
        }


def record(model: str, length: int, seconds: float, mode: Mode = "train") -> Record:
    readings = {"latency": Reading(seconds), "peak_memory": Reading(1e6 * seconds)}
    return Record(Case(model, length, mode), "ok", "machine", "2026-01-01T00:00:00Z", 1.0, indicators=readings)


def test_a_run_as_fast_as_published_has_the_published_ratios_and_their_order() -> None:
    told = FACTS["efficiency"]
    records = [
        record(f"lra-{model}", length, 1 / speed)
        for model, speeds in told["steps_per_second"].items()
        for length, speed in zip(told["lengths"], speeds, strict=True)
        if model != "reformer"
    ]
    (table,) = arena_tables(Curves.of([*records, record("lra-linear", 4096, 1.0, "infer"), record("bert", 4096, 1.0)]))
    for cell in table.cells:
        if cell.model == "reformer":
            assert cell.speed is None
        else:
            assert cell.speed == pytest.approx(cell.published_speed)
            assert cell.memory == pytest.approx(1 / cell.published_speed)
    assert (table.longest, table.correlation, table.differing) == (4096, pytest.approx(1), ())
    slow = record("lra-performer", 4096, 0.5)
    (table,) = arena_tables(Curves.of([each for each in records if each.case != slow.case] + [slow]))
    assert table.correlation is not None
    assert 0 < table.correlation < 1
    assert {theirs for _, theirs in table.differing} == {"performer"}


def test_there_is_no_table_without_the_vanilla_transformer_or_a_published_length() -> None:
    assert arena_tables(Curves.of([record("lra-linear", 1024, 1.0), record("lra-local", 1024, 1.0)])) == ()
    assert arena_tables(Curves.of([record("lra-linear", 100, 1.0), record("lra-transformer", 100, 1.0)])) == ()
