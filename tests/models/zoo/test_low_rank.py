"""Low-rank mechanisms and kernels: each beside its equation, and in a limit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from zoo_cases import DIM, HEADS, attention, everything, hidden, masked, masked_softmax, same, states

from pyprof.models.zoo.performer import orthogonal


@pytest.mark.parametrize("shared", [False, True])
def test_linformer_projects_keys_and_values(shared: bool) -> None:
    """softmax(Q (E K)^T / sqrt(d)) F V."""
    module = attention("linformer", rank=5, shared=shared)
    query, key, value = states(29)
    e, f = module.projections[0, :, :29], module.projections[-1, :, :29]
    theirs = torch.softmax(query @ (e @ key).mT / DIM**0.5, dim=-1) @ (f @ value)
    same(module.attend(query, key, value), theirs, (query, key, value, module.projections))
    assert torch.equal(e, f) == shared


def test_linformer_with_identities_is_dense_attention() -> None:
    module = attention("linformer", rank=29, longest=29)
    module.projections.data[:] = torch.eye(29)
    query, key, value = states(29)
    same(module.attend(query, key, value), attention("dense").attend(query, key, value), (query, key, value))


def test_linformers_rows_are_repeated_for_longer_inputs() -> None:
    module = attention("linformer", rank=5, longest=16)
    before = module.projections.detach().clone()
    module.extend(40)
    assert torch.equal(module.projections[:, :, 16:32], before)
    assert torch.equal(module.projections[:, :, 32:], before[:, :, :8])


FEATURES: dict[str, Any] = {
    "linear": lambda x: torch.where(x > 0, x + 1, x.exp()),
    "performer-relu": lambda x: x.clamp(min=0) + 1e-3,
}


def quadratic(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tensor:
    weights = (query @ key.mT) * everything(query.shape[2], causal)
    return weights @ value / weights.sum(-1, keepdim=True)


@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
@pytest.mark.parametrize("length", [29, 150])
@pytest.mark.parametrize("name", FEATURES)
def test_a_product_of_features_is_its_quadratic_form(name: str, length: int, causal: bool) -> None:
    query, key, value = states(length)
    feature = FEATURES[name]
    theirs = quadratic(feature(query), feature(key), value, causal)
    same(attention(name, causal).attend(query, key, value), theirs, (query, key, value))


@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
def test_performers_features_are_those_of_lemma_1(causal: bool) -> None:
    module = attention("performer", causal, features=16)
    query, key, value = states(29)
    w = module.directions.double()

    def feature(x: Tensor) -> Tensor:
        x = x / DIM**0.25
        return torch.exp(x @ w.T - x.square().sum(-1, keepdim=True) / 2)

    theirs = quadratic(feature(query), feature(key), value, causal)
    same(module.attend(query, key, value), theirs, (query, key, value))


def test_performer_goes_to_dense_attention_with_many_features() -> None:
    query, key, value = (x / 2 for x in states(29))
    dense = attention("dense").attend(query, key, value)
    errors = [
        (attention("performer", features=features).attend(query, key, value) - dense).square().mean().sqrt().item()
        for features in (32, 512, 8192)
    ]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.02


def test_performers_directions_are_orthogonal_in_groups_and_as_long_as_normal_vectors() -> None:
    directions = orthogonal(4000, 8, seed=0).double()
    groups = directions.unflatten(0, (-1, 8))
    products = groups @ groups.mT
    assert (products - torch.diag_embed(products.diagonal(dim1=-2, dim2=-1))).abs().max() < 1e-5
    assert directions.square().sum(-1).mean().item() == pytest.approx(8, rel=0.05)


def test_nystrom_multiplies_three_kernels_of_landmarks() -> None:
    """The equation with an exact pseudo-inverse; landmarks are the means of segments."""
    module = attention("nystrom", landmarks=6, iterations=30, kernel=3)
    query, key, value = states(24)
    rows, columns = (x.unflatten(2, (6, 4)).mean(3) for x in (query, key))
    first, middle, last = (
        torch.softmax(a @ b.mT / DIM**0.5, dim=-1) for a, b in ((query, columns), (rows, columns), (rows, key))
    )
    theirs = first @ torch.linalg.pinv(middle) @ last @ value + module.convolution(value)
    torch.testing.assert_close(module.attend(query, key, value), theirs, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("landmarks", [29, 40])
def test_nystrom_whose_landmarks_are_the_tokens_is_dense_attention(landmarks: int) -> None:
    module = attention("nystrom", landmarks=landmarks, iterations=60, kernel=3)
    torch.nn.init.zeros_(module.convolution.weight)
    query, key, value = (0.3 * x for x in states(29))
    dense = attention("dense").attend(query, key, value)
    torch.testing.assert_close(module.attend(query, key, value), dense, atol=1e-5, rtol=1e-5)


def test_nystroms_inverse_is_the_pseudo_inverse_of_a_singular_kernel_too() -> None:
    module = attention("nystrom", iterations=40)
    kernel = torch.zeros(1, HEADS, 8, 8, dtype=torch.float64)
    kernel[..., :5, :5] = torch.softmax(torch.randn(5, 5, dtype=torch.float64) + 3 * torch.eye(5), dim=-1)
    torch.testing.assert_close(module.inverse(kernel), torch.linalg.pinv(kernel), atol=1e-6, rtol=1e-6)


def synthetic(module: Any, name: str, x: Tensor) -> Tensor:
    """B of each Synthesizer, (batch, heads, length, length)."""
    length = x.shape[1]
    if name == "synthesizer-random":
        return module.places[:, :length, :length].expand(len(x), -1, -1, -1)
    if name == "synthesizer-factorised":
        return torch.einsum("hik,hjk->hij", *module.places[:, :, :length]).expand(len(x), -1, -1, -1)
    query = module.split(module.query(x))
    of_token = torch.einsum("bhid,hdj->bhij", query.clamp(min=0), module.places[:, :, :length])
    if name == "synthesizer-dense":
        return of_token
    return of_token + query @ module.split(module.key(x)).mT / DIM**0.5


SYNTHESIZERS = ["synthesizer-dense", "synthesizer-random", "synthesizer-factorised", "synthesizer-mixture"]


@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
@pytest.mark.parametrize("name", SYNTHESIZERS)
def test_a_synthesizer_is_the_softmax_of_its_matrix(name: str, causal: bool) -> None:
    module, x = attention(name, causal), hidden(29).requires_grad_()
    weights = masked_softmax(synthetic(module, name, x), everything(29, causal))
    same(module(x), module.join(weights @ module.split(module.value(x))), (x, module.places))


@pytest.mark.parametrize("name", SYNTHESIZERS)
def test_a_synthesizer_of_zeros_is_the_mean_or_dense_attention(name: str) -> None:
    module, x = attention(name), hidden(29)
    module.places.data.zero_()
    value = module.split(module.value(x))
    if name == "synthesizer-mixture":
        context = masked(module.split(module.query(x)), module.split(module.key(x)), value, everything(29))
    else:
        context = value.mean(2, keepdim=True).expand_as(value)
    same(module(x), module.join(context))
