"""What was not called is blank with a reason, and what ran in one piece is not called one kind of layer."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn
from torch.nn import functional

import pyprof
from pyprof.layers.profile import LayerCost, Profile
from pyprof.report.layers import render
from pyprof.report.style import Glyphs

FUSED_PATH = "not called: the fused path of TransformerEncoderLayer ran"


def profiled(module: nn.Module, *inputs: Any, mode: str = "infer") -> tuple[Profile, dict[str, LayerCost]]:
    profile = pyprof.profile(module, *inputs, mode=mode, seconds=0.01)
    profile.self_check()
    return profile, {layer.path: layer for layer in profile.layers}


def printed(profile: Profile, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(render(profile, width, Glyphs(), title="title"))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    return nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)


def test_the_fused_encoder_layer_is_of_a_kind_of_its_own() -> None:
    module = encoder()
    profile, layers = profiled(module, torch.randn(2, 5, 16))
    assert {layers[f"layers.{index}"].kind for index in range(3)} == {"fused"}
    assert layers["layers.0"].calls == 1
    assert (layers["layers.0"].own_forward_seconds or 0) > 0
    inside = [layer for path, layer in layers.items() if path.startswith("layers.0.")]
    assert len(inside) == 9
    assert {(layer.forward_seconds, layer.own_forward_seconds, layer.reason) for layer in inside} == {
        (None, None, FUSED_PATH)
    }
    assert layers["layers.0.linear1"].kind == "feedforward"
    kinds = profile.kinds()
    assert set(kinds) == {"other", "fused"}
    assert kinds["fused"][2] == sum(parameter.numel() for parameter in module.parameters())
    columns = profile.to_json()["layers"]
    row = columns["path"].index("layers.1.self_attn")
    assert (columns["forward_seconds"][row], columns["reason"][row]) == (None, FUSED_PATH)


def test_the_table_says_what_ran_in_one_piece() -> None:
    text = printed(profiled(encoder(), torch.randn(2, 5, 16))[0])
    assert "fused: TransformerEncoderLayer ran self-attention, feedforward and normalisation in one piece" in text
    assert f"{FUSED_PATH}: layers.0.self_attn, layers.0.self_attn.out_proj, layers.0.linear1 and 15 more" in text
    line = next(line for line in text.splitlines() if line.strip().startswith("linear1"))
    assert line.split() == ["linear1", "Linear", "feedforward", "544"]


def test_the_same_layer_in_train_mode_is_seen_through() -> None:
    profile, layers = profiled(encoder(), torch.randn(2, 5, 16), mode="train")
    assert layers["layers.0"].kind == "other"
    assert layers["layers.0.linear1"].calls == 1
    projection = layers["layers.0.self_attn.out_proj"]
    assert (projection.forward_seconds, projection.reason) == (
        None,
        "not called: MultiheadAttention ran without calling it",
    )
    assert "fused" not in profile.kinds()


class OwnFusion(nn.Module):
    """Computes with the weights of its layers itself."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"query": nn.Linear(4, 4), "key": nn.Linear(4, 4)})
        self.mlp = nn.Linear(4, 4)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        attention: Any = self.attention
        query = functional.linear(value, attention["query"].weight)
        return functional.linear(query * functional.linear(value, attention["key"].weight), self.mlp.weight)


def test_a_fusion_of_the_users_own_is_told_as_well() -> None:
    profile, layers = profiled(nn.Sequential(OwnFusion(), nn.Linear(4, 4)), torch.ones(1, 4))
    assert (layers["0"].kind, layers["1"].kind) == ("fused", "other")
    for path in ("0.attention", "0.attention.query", "0.mlp"):
        assert layers[path].forward_seconds is None
        assert layers[path].reason == "not called: the fused path of OwnFusion ran"
    assert profile.kinds()["fused"][2] == 3 * 20


@pytest.mark.parametrize("how", ["compile", "script"])
def test_compiled_and_scripted_blocks_hide_their_kinds(how: str) -> None:
    block: Any = nn.Sequential()
    block.attention, block.mlp = nn.Linear(4, 4), nn.Linear(4, 4)
    if how == "compile":
        block.compile(backend="eager")
        reason = "inside torch.compile"
    else:
        block, reason = torch.jit.script(block), "inside TorchScript"
    profile, layers = profiled(nn.Sequential(block), torch.ones(1, 4))
    assert layers["0"].kind == "fused"
    assert (layers["0.mlp"].forward_seconds, layers["0.mlp"].reason) == (None, reason)
    assert printed(profile).count(reason) == 1


class Chosen(nn.Module):
    """Of its experts only the second is ever chosen, and its pooler never."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.pooler = nn.Linear(4, 2)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        chosen: torch.Tensor = self.experts[1](value)
        return chosen


def test_a_layer_that_no_step_needs_is_blank_and_its_neighbours_are_not() -> None:
    profile, layers = profiled(Chosen(), torch.ones(1, 4))
    assert layers[""].kind == "other"
    assert layers["experts"].reason is None
    assert layers["experts"].forward_seconds == layers["experts.1"].forward_seconds
    assert layers["experts.0"].reason == "not called"
    assert layers["pooler"].reason == "not called: Chosen ran without calling it"
    assert (layers["pooler"].forward_seconds, layers["pooler"].calls) == (None, 0)
    assert profile.kinds()["head"] == (0.0, None, 10)


def test_without_any_call_nothing_has_a_time() -> None:
    with pyprof.instrument(nn.Sequential(nn.Linear(2, 2))) as probes:
        pass
    assert {(layer.forward_seconds, layer.reason) for layer in probes.profile().layers} == {(None, "not called")}
