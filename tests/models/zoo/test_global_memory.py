"""Mechanisms with a global memory: each beside its equation, and in a limit."""

from __future__ import annotations

import pytest
import torch
from zoo_cases import HEADS, attention, everything, hidden, masked, matrix, same, states

from pyprof.models.zoo.bigbird import block_pattern


@pytest.mark.parametrize("tokens", [0, 1, 4])
@pytest.mark.parametrize("length", [3, 29])
def test_longformer_is_dense_attention_under_its_mask(tokens: int, length: int) -> None:
    module = attention("longformer", window=3, tokens=tokens)
    query, key, value = states(length)
    seen = matrix(lambda i, j: ((i - j).abs() <= 3) | ((j < tokens) & (j < i)), length)
    same(module.attend(query, key, value), masked(query, key, value, seen), (query, key, value))


def test_longformers_kernel_in_float32_is_near_its_reference_in_float64() -> None:
    module = attention("longformer", window=8, tokens=3)
    exact = states(150)
    mask = torch.arange(150) < torch.tensor([[150], [90]])
    rounded = [each.detach().float().requires_grad_() for each in exact]
    ours, theirs = module.attend(*rounded, mask), module.attend(*exact, mask)
    torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=1e-4)
    weight = torch.linspace(-1, 1, ours.numel()).view(ours.shape) * mask[:, None, :, None]
    gradients = [
        torch.autograd.grad((each * weight).sum(), inputs) for each, inputs in ((ours, rounded), (theirs, exact))
    ]
    for mine, reference in zip(*gradients, strict=True):
        torch.testing.assert_close(mine.double(), reference, atol=1e-4, rtol=1e-3)


def test_longformers_global_queries_have_projections_of_their_own() -> None:
    module, states_in = attention("longformer", window=3, tokens=4), hidden(29)
    query, key, value = (
        module.split(project(states_in)) for project in (module.global_query, module.global_key, module.global_value)
    )
    first = masked(query, key, value, everything(29))[:, :, :4]
    joined = torch.cat((first, module.attend(*_projected(module, states_in))[:, :, 4:]), dim=2)
    same(module(states_in), module.join(joined))


def test_longformer_without_global_tokens_is_the_sliding_window() -> None:
    query, key, value = states(29)
    window = attention("window", window=5).attend(query, key, value)
    same(attention("longformer", window=5, tokens=0).attend(query, key, value), window, (query, key, value))


def test_longformer_holds_no_matrix_of_all_pairs() -> None:
    """No tensor that the forward makes has as many numbers as there are pairs of tokens."""
    length = 2048
    module = attention("longformer", window=16, tokens=2).float()
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            made = func(*args, **(kwargs or {}))
            for each in made if isinstance(made, (tuple, list)) else (made,):
                if isinstance(each, torch.Tensor):
                    largest = max(largest, each.numel())
            return made

    states_in = hidden(length, batch=1).float().requires_grad_()
    with Watch():
        module(states_in).sum().backward()
    assert length * HEADS * 8 <= largest < length * length // 4


def test_bigbird_is_dense_attention_under_its_mask() -> None:
    length, block, random = 38, 4, 2
    module = attention("bigbird", block=block, random=random, layer=1)
    chosen = torch.zeros(10, 10, dtype=torch.bool)
    for own, columns in enumerate(block_pattern(10, random, 1)):
        chosen[own, [each for each in columns if each >= 0]] = True
    chosen[0] = True
    seen = chosen.repeat_interleave(block, 0).repeat_interleave(block, 1)[:length, :length]
    query, key, value = states(length)
    same(module.attend(query, key, value), masked(query, key, value, seen), (query, key, value))


def test_bigbirds_blocks_are_the_window_the_global_one_and_as_many_random_ones() -> None:
    for own, columns in enumerate(block_pattern(50, 3, seed=7)):
        blocks = [each for each in columns if each >= 0]
        near = {0, max(own - 1, 0), own, min(own + 1, 49)}
        assert len(columns) == 7
        assert near <= set(blocks)
        assert len(set(blocks)) == len(blocks) == len(near) + 3
    assert block_pattern(50, 3, seed=7) != block_pattern(50, 3, seed=8)


@pytest.mark.parametrize(("length", "random"), [(4, 0), (15, 1), (38, 8)])
def test_bigbird_that_leaves_no_block_out_is_dense_attention(length: int, random: int) -> None:
    query, key, value = states(length)
    dense = attention("dense").attend(query, key, value)
    same(attention("bigbird", block=4, random=random).attend(query, key, value), dense, (query, key, value))


def test_set_transformer_attends_twice() -> None:
    """H = Attention(I, X, X), Attention(X, H, H)."""
    module, x = attention("set-transformer", points=5), hidden(29).requires_grad_()
    points = module.split(module.point_query(module.points)).expand(2, -1, -1, -1)
    gathered = masked(points, module.split(module.key(x)), module.split(module.value(x)), everything(29)[:5])
    h = module.gathered_output(gathered.transpose(1, 2).flatten(2))
    read = masked(
        module.split(module.query(x)),
        module.split(module.gathered_key(h)),
        module.split(module.gathered_value(h)),
        everything(29)[:, :5],
    )
    same(module(x), module.join(read), (x, module.points))


def test_set_transformer_with_one_point_gives_every_position_the_same() -> None:
    module, x = attention("set-transformer", points=1), hidden(29)
    value = module.split(module.gathered_value(module.gather(x, None)))
    same(module(x), module.join(value.expand(-1, -1, 29, -1)))


@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
def test_all_attention_has_persistent_keys_and_values_beside_the_others(causal: bool) -> None:
    module = attention("all-attention", causal, vectors=6)
    query, key, value = states(29)
    keys, values = (
        torch.cat((each, fixed.expand(2, -1, -1, -1)), dim=2)
        for each, fixed in zip((key, value), module.persistent, strict=True)
    )
    seen = torch.cat((everything(29, causal), torch.ones(29, 6, dtype=torch.bool)), dim=1)
    same(module.attend(query, key, value), masked(query, keys, values, seen), (query, key, value, module.persistent))


def test_all_attention_without_persistent_vectors_is_dense_attention() -> None:
    query, key, value = states(29)
    dense = attention("dense").attend(query, key, value)
    same(attention("all-attention", vectors=0).attend(query, key, value), dense, (query, key, value))
    assert not attention("all-attention").FEEDFORWARD


def _projected(module: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    return [module.split(project(x)) for project in (module.query, module.key, module.value)]  # type: ignore[operator]
