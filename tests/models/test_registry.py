from __future__ import annotations

import subprocess
import sys

import pytest

from pyprof.errors import UsageError
from pyprof.models import registry
from pyprof.models.registry import ENTRIES, describe, entries, entry, find, resolve
from pyprof.names import is_reference

SEVEN = {"bert", "longformer", "nystromformer", "hubert", "l-hubert", "vit", "swin"}
# The published sizes of the base models (of L-HuBERT: HuBERT's, since a window has no parameters).
PARAMETERS = {
    "bert": 109_482_240,
    "longformer": 148_659_456,
    "nystromformer": 108_500_112,
    "hubert": 94_371_712,
    "l-hubert": 94_371_712,
    "l-hubert-100": 94_371_712,
    "vit": 86_389_248,
    "swin": 86_743_224,
}


def test_the_registry_loads_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, pyprof.models.registry as r; r.entry('bert').work(512); r.resolve('swin', 'best');"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_seven_models_and_their_vanilla_ones() -> None:
    found = {one.name: one for one in ENTRIES}
    assert set(found) >= SEVEN
    assert {name: one.vanilla for name, one in found.items() if one.vanilla} == {
        "longformer": "bert",
        "nystromformer": "bert",
        "l-hubert": "hubert",
        "l-hubert-100": "hubert",
        "swin": "vit",
    }
    for one in found.values():
        vanilla = found[one.vanilla] if one.vanilla else one
        assert (vanilla.modality, vanilla.unit, vanilla.vanilla) == (one.modality, one.unit, None)
        assert one.then in one.attentions
        assert (one.family == "full attention") == (one.vanilla is None)


def test_aliases_and_names_of_attention() -> None:
    bert = entry("bert")
    assert [bert.resolve(name) for name in ("best", "then", "eager")] == ["sdpa", "eager", "eager"]
    local = entry("l-hubert-100")
    assert [local.resolve(name) for name in ("best", "then", "sdpa-mask")] == ["fused", "chunks", "sdpa-mask"]
    with pytest.raises(UsageError, match=r"longformer has no attention implementation 'sdpa': choose from eager"):
        entry("longformer").resolve("sdpa")


def test_a_typo_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"no model 'longfromer': did you mean 'longformer'\?"):
        find("longfromer")
    with pytest.raises(UsageError, match="choose from bert, longformer"):
        entry("xyz")


@pytest.mark.parametrize(
    ("name", "length", "message"),
    [
        ("bert", 0, "takes lengths from 1 to"),
        ("bert", -3, "takes lengths from 1 to"),
        ("bert", 10**6, "takes lengths from 1 to"),
        ("vit", 16, "takes lengths from 32 to 4096 pixels, not 16"),
        ("vit", 100, "multiple of 16 pixels, not 100: choose 96 or 112"),
        ("vit", 40, "choose 32 or 48"),
        ("swin", 33, "multiple of 4 pixels, not 33: choose 32 or 36"),
    ],
)
def test_lengths_outside_of_the_limits_are_refused(name: str, length: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        entry(name).check_length(length)


def test_the_published_lengths_are_inside_the_limits() -> None:
    for name, lengths in {
        "text": range(62, 3363, 60),
        "speech": range(50, 2501, 25),
        "vision": range(32, 1025, 32),
    }.items():
        for one in ENTRIES:
            if one.modality == name:
                for length in lengths:
                    one.check_length(length)


def test_factories_and_directories_are_no_entries(tmp_path: object) -> None:
    assert is_reference("package.module:function")
    assert not any(map(is_reference, ("bert", "a/b:c", "a:b:c", "a:", ":a", "a..b:c")))
    assert find("package.module:function") is None
    assert find(str(tmp_path)) is None
    assert [resolve("a.b:c", name) for name in ("best", "then", "own")] == ["own"] * 3
    with pytest.raises(UsageError, match="choose own"):
        resolve("a.b:c", "sdpa")


def test_work_grows_with_the_length_as_the_attention_does() -> None:
    for one in ENTRIES:
        lengths = (64, 256, 1024, 4096)
        work = [one.work(length) for length in lengths]
        assert work == sorted(work)
        assert work[0] > 0
    bert, longformer = entry("bert").work, entry("longformer").work
    assert longformer(512) > bert(512)
    assert longformer(4096) < bert(4096)
    # BERT base at 512 tokens is known to take about 97 GFLOPs, and ViT base and Swin base about 35 and 31 at 224
    # pixels.
    assert bert(512) == pytest.approx(97e9, rel=0.03)
    assert entry("vit").work(224) == pytest.approx(35e9, rel=0.03)
    assert entry("swin").work(224) == pytest.approx(31e9, rel=0.03)


def test_only_the_chunks_of_l_hubert_are_padded() -> None:
    local = entry("l-hubert-100")
    assert {name: local.cost(name).padding for name in local.attentions} == {
        "fused": 1,
        "chunks": 100,
        "flex": 1,
        "sdpa-mask": 1,
    }
    fused, masked, dense = local.cost("fused").work, local.cost("sdpa-mask").work, entry("hubert").cost("sdpa").work
    assert fused(301) < fused(400) < local.cost("chunks").work(400) < masked(1000) == dense(1000)
    assert fused(50) == pytest.approx(dense(50))
    assert fused(4000) / fused(2000) == pytest.approx(2.0)
    assert entry("longformer").cost("eager").padding == 512


def test_descriptions_have_the_published_parameters() -> None:
    counted = {one.entry.name: one.parameters for one in describe()}
    assert counted.items() >= PARAMETERS.items()
    assert set(counted) == {one.name for one in entries()}


def test_load_refuses_what_does_not_exist() -> None:
    with pytest.raises(UsageError, match="did you mean 'hubert'"):
        registry.load("huberta", attention="eager", mode="infer", longest=10)
    with pytest.raises(UsageError, match="choose from sdpa, eager, best or then"):
        registry.load("bert", attention="flash", mode="infer", longest=10)
