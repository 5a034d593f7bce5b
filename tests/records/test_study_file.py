"""Study files: what is read, what is refused and how, what is written."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pyprof.errors import UsageError
from pyprof.records import study as studies
from pyprof.records import toml
from pyprof.records.study import load, parse, read
from pyprof.records.study_parts import Care, Lengths
from pyprof.study.resolve import resolve

BLOCK = {"vanilla": "bert", "variants": ["longformer"], "lengths": [128, 512]}
MINIMAL = {"name": "mine", "comparison": [BLOCK]}


def with_block(**changes: object) -> dict[str, Any]:
    return {"name": "mine", "comparison": [{**BLOCK, **changes}]}


def test_minimal_study_has_the_documented_defaults() -> None:
    study = parse(MINIMAL, "mine")
    assert study.metrics == ()
    assert [indicator.name for indicator in resolve(study).indicators] == [
        "latency",
        "device_time",
        "throughput",
        "peak_memory",
        "parameters",
    ]
    assert study.modes == ("infer", "train")
    assert (study.device, study.dtype, study.size, study.time_budget) == ("auto", "float32", "base", None)
    assert study.care == Care()
    assert study.blocks[0].implementations == ("then", "now")


def test_durations_and_sizes_are_read_with_their_units() -> None:
    study = parse(
        {**MINIMAL, "time_budget": "8 min", "memory_budget": "2 GiB", "measure": {"timeout": "1.5 h"}}, "mine"
    )
    assert study.time_budget == 480.0
    assert study.memory_budget == 2**31
    assert study.care.timeout == 5400.0


def test_a_range_includes_its_stop_where_the_step_lands_on_it() -> None:
    on = parse(with_block(lengths={"start": 62, "stop": 182, "step": 60}), "mine")
    off = parse(with_block(lengths={"start": 62, "stop": 181, "step": 60}), "mine")
    assert on.blocks[0].lengths.values == (62, 122, 182)
    assert off.blocks[0].lengths.values == (62, 122)


def test_lists_of_lengths_are_put_in_order() -> None:
    assert parse(with_block(lengths=[512, 128]), "mine").blocks[0].lengths == Lengths((128, 512))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({**MINIMAL, "time_bugdet": "8 min"}, "mine has no key 'time_bugdet': did you mean 'time_budget'?"),
        (
            {**MINIMAL, "measure": {"precission": 0.1}},
            "mine: measure has no key 'precission': did you mean 'precision'?",
        ),
        ({**MINIMAL, "modes": ["infer", "trian"]}, "mine: modes has no mode 'trian': did you mean 'train'?"),
        ({**MINIMAL, "metrics": []}, "mine: metrics is an empty list: name at least one, or leave the key out"),
        ({**MINIMAL, "metrics": "latency"}, "mine: metrics must be a list, not 'latency'"),
        ({**MINIMAL, "modes": ["infer", "infer"]}, "mine: modes names 'infer' twice: name it once"),
        ({**MINIMAL, "seed": "one"}, "mine: seed must be a whole number, not 'one'"),
        ({**MINIMAL, "seed": True}, "mine: seed must be a whole number, not True"),
        ({**MINIMAL, "threads": 0}, "mine: threads must be from 1 to 4096, not 0"),
        ({**MINIMAL, "device": "cuda:x"}, "mine: device must be auto, cpu, cuda or cuda:N, not 'cuda:x'"),
        ({**MINIMAL, "size": "large"}, "mine: size has no size 'large': choose from base, small, tiny"),
        ({**MINIMAL, "compiled": 1}, "mine: compiled must be true or false, not 1"),
        ({**MINIMAL, "time_budget": 0}, "mine: time_budget must be above zero, such as '8 min', not 0"),
        ({**MINIMAL, "measure": {"precision": 2}}, "mine: measure: precision must be above 0 and below 1, not 2"),
        (
            {**MINIMAL, "measure": {"max_samples": 3}},
            "mine: measure: max_samples (3) is below min_samples (6): raise it",
        ),
        ({"name": "mine"}, "mine lacks the key 'comparison': add it"),
        ({**MINIMAL, "comparison": []}, "mine: comparison must be written as [[comparison]], at least once"),
        (
            {**MINIMAL, "families": {"brt": "dense"}},
            "mine: families names 'brt', which the study has not: did you mean 'bert'?",
        ),
        (
            {**MINIMAL, "weights": {"brt": "there"}},
            "mine: weights names 'brt', which the study has not: did you mean 'bert'?",
        ),
        (
            {**MINIMAL, "kinds": {"brt": [["pooler", "pooling"]]}},
            "mine: kinds names 'brt', which the study has not: did you mean 'bert'?",
        ),
        (
            {**MINIMAL, "kinds": [["pooler", "pooling"]]},
            "mine: kinds must be a table from models to lists of [REGEX, KIND], not a list",
        ),
        (
            {**MINIMAL, "kinds": {"bert": [["pooler"]]}},
            "mine: kinds: bert has a rule that is no pair: write [REGEX, KIND], such as ['encoder\\.0', 'first block']",
        ),
        ({**MINIMAL, "kinds": {"bert": ["pooler"]}}, "mine: kinds: bert must be a list, not 'pooler'"),
        (
            with_block(lengths=[]),
            "mine: comparison 1: lengths is an empty list: name at least one, or leave the key out",
        ),
        (with_block(lengths=[128, -5]), "mine: comparison 1: lengths must be at least 1, not -5"),
        (with_block(lengths=[128.5]), "mine: comparison 1: lengths must be a whole number, not 128.5"),
        (
            with_block(lengths={"start": 60, "stop": 600, "step": -60}),
            "mine: comparison 1: lengths: step must be at least 1, not -60",
        ),
        (
            with_block(lengths={"start": 600, "stop": 60, "step": 60}),
            "mine: comparison 1: lengths: stop (60) is below start (600): swap them",
        ),
        (
            with_block(lengths={"start": 60, "stop": 600}),
            "mine: comparison 1: lengths lacks step: give start, stop and step, or a list",
        ),
        (
            with_block(lengths={"start": 1, "stop": 10**9, "step": 1}),
            "mine: comparison 1: lengths has 1000000000 lengths and at most 10000 are possible: use a larger step",
        ),
        (
            with_block(lengths={"values": [1, 2], "tolerance": 8}),
            "mine: comparison 1: lengths has a tolerance, which only auto = true uses: add that or remove it",
        ),
        (
            with_block(variants=["bert"]),
            "mine: comparison 1 compares 'bert' with itself: take it out of the variants",
        ),
        (with_block(variant=["longformer"]), "mine: comparison 1 has no key 'variant': did you mean 'variants'?"),
    ],
)
def test_bad_values_are_one_sentence(table: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(table, "mine")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"vanilla": "brt"}, "there is no model 'brt': did you mean 'bert'?"),
        ({"implementations": ["flash"]}, "bert has no attention implementation 'flash'"),
        ({"implementations": ["sdpa"]}, "longformer has no attention implementation 'sdpa'"),
        ({"lengths": [128, 10**7]}, "bert takes lengths from 1 to"),
        ({"vanilla": "vit", "variants": ["swin"], "lengths": [16, 224]}, "vit takes lengths from 32 to"),
        ({"vanilla": "vit", "variants": ["swin"], "lengths": [225]}, "multiple of 16 pixels, not 225"),
    ],
)
def test_what_no_model_can_do_is_refused_before_anything_runs(block: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(parse(with_block(**block), "mine"))


def test_an_unknown_metric_is_refused_before_anything_runs() -> None:
    with pytest.raises(UsageError) as caught:
        resolve(parse({**MINIMAL, "metrics": ["latencies"]}, "mine"))
    assert str(caught.value) == "mine: metrics has no metric 'latencies': did you mean 'latency'?"


def test_bad_units_are_explained() -> None:
    with pytest.raises(UsageError, match="mine: time_budget: '8 mins' is not a duration"):
        parse({**MINIMAL, "time_budget": "8 mins"}, "mine")


@pytest.mark.parametrize("name", ["quick", "diwan2023"])
def test_built_in_studies_can_be_planned_and_written_and_read_again(name: str) -> None:
    study = load(name)
    assert resolve(study).pairings
    assert parse(tomllib.loads(toml.dumps(study.to_table())), name) == study


def test_quick_has_all_seven_models_at_base_size_and_both_modes() -> None:
    study = load("quick")
    assert set(study.models) == {"bert", "longformer", "nystromformer", "hubert", "l-hubert", "vit", "swin"}
    assert (study.size, set(study.modes), study.time_budget) == ("base", {"infer", "train"}, 480.0)
    both = ("then", "now")
    found = {block.vanilla: block.implementations for block in study.blocks}
    assert found == {"bert": both, "hubert": (*both, "sdpa/chunks"), "vit": both}


def test_diwan2023_has_the_published_grid() -> None:
    reference = tomllib.loads((Path(studies.__file__).parents[1] / "reference" / "diwan2023.toml").read_text())
    study = load("diwan2023")
    for block, modality in zip(study.blocks, reference["modality"].values(), strict=True):
        published = modality["lengths"]
        assert block.vanilla == modality["vanilla"]
        assert set(modality["variants"]) <= set(block.variants)
        assert block.lengths.values == tuple(range(published["start"], published["stop"] + 1, published["step"]))
    assert set(study.modes) == {"infer", "train"}
    assert len(study.metrics) == 4


def test_studies_are_found_by_name_or_path(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no study 'quik': did you mean 'quick'\?, or give a TOML file"):
        load("quik")
    with pytest.raises(UsageError, match="cannot be read"):
        load(str(tmp_path / "missing.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(UsageError, match=r"broken\.toml is not TOML"):
        read(broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not text in UTF-8"):
        read(broken)


def test_odd_texts_survive_writing_and_reading() -> None:
    table = {
        "a b": 'quote " back\\slash',
        "text": "tab\t newline\n \u007f \u00e9 \U0001f600",
        "nested": {"x.y": [1, 2.5, True]},
    }
    assert tomllib.loads(toml.dumps(table)) == table


def test_reading_and_planning_load_no_torch() -> None:
    code = (
        "import sys; from pyprof.study import run, narrow, preview; from pyprof.records import study as studies;"
        "preview.preview(studies.load('quick'));"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rules_for_kinds_are_kept_as_they_are_written() -> None:
    rules = {"bert": [["encoder\\.0", "first block"], ["pooler", "other"]]}
    study = parse({**MINIMAL, "kinds": rules}, "mine")
    assert study.kinds == {"bert": (("encoder\\.0", "first block"), ("pooler", "other"))}
    assert parse(tomllib.loads(toml.dumps(study.to_table())), "mine") == study


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (["(", "other"], "the kinds of bert: '(' is no regular expression"),
        (
            ["pooler", "self-atention"],
            "the kinds of bert: there is no kind 'self-atention': did you mean 'self-attention'",
        ),
    ],
)
def test_rules_for_kinds_are_checked_where_a_study_is_resolved(rule: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(parse({**MINIMAL, "kinds": {"bert": [rule]}}, "mine"))
    assert str(caught.value).startswith(message)
