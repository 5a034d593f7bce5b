from __future__ import annotations

import pytest
from torch import nn

from pyprof.layers.kinds import KINDS, classify


class TinySelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(2, 2)
        self.relative = nn.Embedding(3, 2)
        self.norm = nn.LayerNorm(2)


class ForeignRMSNorm(nn.Module):
    pass


class StableLayerNorm(nn.Module):
    """Has norm in its name but layers of its own: it is no normalisation layer."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = TinySelfAttention()
        self.mlp = nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Dropout())
        self.norms = nn.ModuleList([nn.LayerNorm(2), nn.GroupNorm(1, 2), nn.BatchNorm1d(2), ForeignRMSNorm()])
        self.stable = StableLayerNorm()


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(4, 2)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.lm_head = nn.Linear(2, 4)


def test_without_rules_names_of_classes_and_attributes_decide() -> None:
    kinds = classify(Model())
    assert set(kinds.values()) <= set(KINDS)
    assert {path: kinds[path] for path in ("", "wte", "blocks", "blocks.0", "lm_head")} == {
        "": "other",
        "wte": "embedding",
        "blocks": "other",
        "blocks.0": "other",
        "lm_head": "head",
    }
    block = {path.removeprefix("blocks.1."): kind for path, kind in kinds.items() if path.startswith("blocks.1.")}
    assert block == {
        "attention": "self-attention",
        "attention.query": "self-attention",
        "attention.relative": "self-attention",
        "attention.norm": "normalisation",
        "mlp": "feedforward",
        "mlp.0": "feedforward",
        "mlp.1": "feedforward",
        "mlp.2": "feedforward",
        "norms": "other",
        "norms.0": "normalisation",
        "norms.1": "normalisation",
        "norms.2": "normalisation",
        "norms.3": "normalisation",
        "stable": "other",
        "stable.inner": "other",
    }


def test_a_rule_holds_for_everything_inside_but_norms_and_other_rules() -> None:
    rules = ((r"blocks\.\d+", "feedforward"), (r"blocks\.0\.mlp\.0", "embedding"), (r"wte", "head"))
    kinds = classify(Model(), rules)
    assert kinds["blocks.0"] == kinds["blocks.0.attention.query"] == kinds["blocks.1.stable.inner"] == "feedforward"
    assert kinds["blocks.0.attention.norm"] == "normalisation"
    assert (kinds["blocks.0.mlp.0"], kinds["blocks.1.mlp.0"]) == ("embedding", "feedforward")
    assert kinds["wte"] == "head"
    assert kinds["blocks"] == "other"


def test_the_first_matching_rule_wins_and_matches_whole_paths() -> None:
    rules = ((r"blocks\.0\.attention", "embedding"), (r"blocks\.0\.att.*", "head"), (r"lm", "embedding"))
    kinds = classify(Model(), rules)
    assert kinds["blocks.0.attention"] == "embedding"
    assert kinds["blocks.0.attention.query"] == "head"
    assert kinds["lm_head"] == "head"


def test_a_normalisation_layer_can_have_a_rule_of_its_own() -> None:
    assert classify(Model(), ((r"blocks\.0\.norms\.0", "head"),))["blocks.0.norms.0"] == "head"


def test_a_layer_at_two_paths_has_both() -> None:
    model = Model()
    model.tail = model.lm_head
    kinds = classify(model)
    assert kinds["tail"] == "other"
    assert kinds["lm_head"] == "head"


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no kind 'attention'"):
        classify(Model(), ((r".*", "attention"),))


@pytest.mark.parametrize(
    "kind", ["Self-Attention", "feed-forward", "convolutions", "outside", "fused", "", "a\x1bb", "x" * 25]
)
def test_a_misspelt_or_unprintable_kind_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=r"did you mean|cannot be a kind") as caught:
        classify(Model(), ((r".*", kind),))
    assert "\x1b" not in str(caught.value)


def test_a_rule_can_name_a_kind_of_its_own() -> None:
    kinds = classify(Model(), ((r"blocks\..*mlp", "my mixer"),))
    assert (kinds["blocks.1.mlp.0"], kinds["blocks.1.attention"]) == ("my mixer", "self-attention")


def test_a_rule_that_is_no_regular_expression_is_refused() -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        classify(Model(), (("blocks.(", "head"),))


def test_a_lone_layer_is_classified_too() -> None:
    assert classify(nn.LayerNorm(2)) == {"": "normalisation"}
    assert classify(nn.Linear(2, 2)) == {"": "other"}


def test_a_reparametrisation_belongs_to_the_layer_whose_weights_it_makes() -> None:
    module = nn.Sequential()
    module.append(nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 2, 3)))
    kinds = classify(module, [(r"0", "embedding")])
    inside = {path: kind for path, kind in kinds.items() if path.startswith("0.parametrizations")}
    assert inside
    assert set(inside.values()) == {"embedding"}
