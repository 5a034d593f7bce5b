from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from fairseq_stand_in import Attention, Hubert, attend
from torch import Tensor, nn

import pyprof
from pyprof.errors import UsageError
from pyprof.models.fairseq.window import to_window_attention


@pytest.fixture
def model() -> Hubert:
    torch.manual_seed(0)
    return Hubert().eval()


def with_window(model: Hubert, x: Tensor, windows: list[tuple[int, int]], padding_mask: Tensor | None = None) -> Tensor:
    """The model's output with every score formed."""
    x = x.transpose(0, 1)
    for layer, window in zip(model.encoder.layers, windows, strict=True):
        x = x + attend(layer.self_attn, x, window, padding_mask)
        x = x + layer.fc1(x).relu()
    return x.transpose(0, 1)


@pytest.mark.parametrize(
    ("options", "windows"),
    [
        ({"context": 8}, [(4, 4), (4, 4)]),
        ({"window": (3, 0)}, [(3, 0), (3, 0)]),
        ({"window": [(1, 2), (0, 5)]}, [(1, 2), (0, 5)]),
        ({}, [(16, 16), (16, 16)]),
    ],
)
def test_every_layer_sees_its_window(model: Hubert, options: dict[str, Any], windows: list[tuple[int, int]]) -> None:
    x = torch.randn(3, 40, 32)
    dense = model(x)
    handle = to_window_attention(model, **options, impl="reference")
    assert handle.windows == tuple(windows)
    torch.testing.assert_close(model(x), with_window(model, x, windows), atol=1e-5, rtol=1e-5)
    assert (model(x) - dense).abs().max() > 1e-3


def test_padding_on_the_right_is_left_out(model: Hubert) -> None:
    x, lengths = torch.randn(3, 40, 32), torch.tensor([40, 17, 30])
    mask = torch.arange(40) >= lengths[:, None]
    to_window_attention(model, 8, impl="reference")
    expected = with_window(model, x, [(4, 4)] * 2, mask)
    for form in (mask, mask.to(torch.uint8)):
        torch.testing.assert_close(model(x, form)[~mask], expected[~mask], atol=1e-5, rtol=1e-5)
    alone = model(x[1:2, :17])
    torch.testing.assert_close(model(x, mask)[1:2, :17], alone, atol=1e-5, rtol=1e-5)
    with pytest.raises(UsageError, match="padding on the right only"):
        model(x, mask.flip(1))


def test_a_mask_that_changes_in_place_is_looked_at_again(model: Hubert) -> None:
    x, mask = torch.randn(1, 20, 32), torch.zeros(1, 20, dtype=torch.bool)
    to_window_attention(model, 8, impl="reference")
    whole = model(x, mask)
    mask[:, 10:] = True
    assert (model(x, mask)[:, :10] - whole[:, :10]).abs().max() > 1e-3
    mask[:, :3] = True
    with pytest.raises(UsageError, match="padding on the right only"):
        model(x, mask)


def test_inference_mode(model: Hubert) -> None:
    x, lengths = torch.randn(2, 20, 32), torch.tensor([20, 9])
    to_window_attention(model, 8, impl="reference")
    expected = model(x, torch.arange(20) >= lengths[:, None])
    with torch.inference_mode():
        mask = torch.arange(20) >= lengths[:, None]
        assert torch.equal(model(x, mask), expected)
        mask[1, 5:] = True
        assert not torch.equal(model(x, mask)[1, :5], expected[1, :5])


def test_probes_and_window_attention_do_not_meet(model: Hubert) -> None:
    x = torch.randn(2, 20, 32)
    handle = to_window_attention(model, 8, impl="reference")
    expected = model(x)
    layers = {layer.path: layer for layer in pyprof.profile(model, x).layers}
    assert layers["encoder.layers.1.self_attn"].calls > 0
    assert torch.equal(model(x), expected)
    handle.restore()
    assert not torch.equal(model(x), expected)


def test_gradients_reach_the_same_weights(model: Hubert) -> None:
    x, mask = torch.randn(2, 30, 32), torch.arange(30) >= torch.tensor([[30], [21]])
    with_window(model, x, [(4, 4)] * 2, mask)[~mask].square().sum().backward()
    expected = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    to_window_attention(model, 8, impl="reference")
    model(x, mask)[~mask].square().sum().backward()
    assert any(gradient is not None for gradient in expected.values())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-3, rtol=1e-4)


def test_restoring_is_exact(model: Hubert) -> None:
    x, names = torch.randn(2, 20, 32), list(model.state_dict())
    before, attributes = model(x), [sorted(vars(layer.self_attn)) for layer in model.encoder.layers]
    with to_window_attention(model, 4, impl="reference") as handle:
        assert list(model.state_dict()) == names
        assert not torch.equal(model(x), before)
    assert torch.equal(model(x), before)
    assert [sorted(vars(layer.self_attn)) for layer in model.encoder.layers] == attributes
    handle.restore()
    with pytest.raises(RuntimeError, match="by the test"), to_window_attention(model, 4, impl="reference"):
        raise RuntimeError("by the test")
    assert torch.equal(model(x), before)


def test_a_forward_of_somebody_elses_comes_back(model: Hubert) -> None:
    layer = model.encoder.layers[0].self_attn
    theirs = layer.forward
    layer.forward = theirs
    handle = to_window_attention(model, 4, impl="reference")
    ours, layer.forward = layer.forward, theirs
    with pytest.raises(UsageError, match="undo that first"):
        handle.restore()
    layer.forward = ours
    handle.restore()
    assert vars(layer)["forward"] is theirs
    assert "forward" not in vars(model.encoder.layers[1].self_attn)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_computes_with_its_own_weights(model: Hubert, copied: Any) -> None:
    x, mask = torch.randn(1, 20, 32), torch.zeros(1, 20, dtype=torch.bool)
    to_window_attention(model, 4, impl="reference")
    expected = model(x, mask)
    twin = copied(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    torch.testing.assert_close(twin(x, mask), expected)


def test_dropout_is_the_layers_own(model: Hubert) -> None:
    x = torch.randn(1, 20, 32)
    to_window_attention(model, 8, impl="reference")
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))
    for layer in model.encoder.layers:
        layer.self_attn.dropout_module.p = 0.0
    assert torch.equal(model(x), model(x))
    model.eval()
    layer.self_attn.dropout_module.p = 0.5
    layer.self_attn.dropout_module.apply_during_inference = True
    assert not torch.equal(model(x), model(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attn_mask": torch.zeros(9, 9)}, "neither incremental state nor an attn_mask"),
        ({"incremental_state": {}}, "neither incremental state nor an attn_mask"),
        ({"static_kv": True}, "neither incremental state nor an attn_mask"),
        ({"need_weights": True}, "pass need_weights=False"),
        ({"need_head_weights": True}, "pass need_weights=False"),
        ({"before_softmax": True}, "pass need_weights=False"),
        ({"key": torch.zeros(9, 1, 32)}, "pass one tensor as query, key and value"),
        ({"value": None}, "pass one tensor as query, key and value"),
    ],
)
def test_what_has_no_meaning_in_a_window_is_refused(model: Hubert, options: dict[str, Any], message: str) -> None:
    to_window_attention(model, 8, impl="reference")
    x = torch.zeros(9, 1, 32)
    layer = model.encoder.layers[0].self_attn
    assert layer(x, x, x, need_weights=False)[1] is None
    with pytest.raises(UsageError, match=message):
        layer(**{"query": x, "key": x, "value": x, "need_weights": False, **options})


def test_models_that_cannot_be_changed_stay_as_they_are(model: Hubert) -> None:
    def refused(message: str, which: nn.Module, **options: Any) -> None:
        with pytest.raises(UsageError, match=message):
            to_window_attention(which, **options)
        assert not any("forward" in vars(layer.self_attn) for layer in model.encoder.layers)

    refused("Linear is no HuBERT of fairseq's", nn.Linear(2, 2))
    refused("an even number of neighbours", model, context=7)
    refused("3 windows for 2 layers", model, window=[(1, 1)] * 3)
    model.encoder.layers[1].self_attn.bias_k = nn.Parameter(torch.zeros(1))
    refused("no plain self-attention", model)
    model.encoder.layers[1].self_attn = Attention(32, 4)
    model.encoder.layers[1].adapter_layer = nn.Identity()
    refused("a HuBERT of Layer is not known", model)
    del model.encoder.layers[1].adapter_layer
    handle = to_window_attention(model, impl="reference")
    with pytest.raises(UsageError, match="restore it first"):
        to_window_attention(model)
    handle.restore()
    to_window_attention(model)
