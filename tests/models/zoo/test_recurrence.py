"""Mechanisms that carry a state over segments: each beside its equation, and in a limit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from zoo_cases import DIM, HEADS, attention, everything, hidden, masked, masked_softmax, same

from pyprof.models.zoo.carried import carrying
from pyprof.models.zoo.parts import positions

CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])


def relative(module: Any, x: Tensor, source: Tensor, seen: Tensor) -> Tensor:
    """Transformer-XL's A_rel, term by term for each pair (section 3.3); `source` ends with the segment `x`."""
    query, key, value = (
        module.split(module.query(x)),
        module.split(module.key(source)),
        module.split(module.value(source)),
    )  # type: ignore
    u, v = module.biases
    products = torch.empty(*query.shape[:3], source.shape[1], dtype=x.dtype)
    offset = source.shape[1] - x.shape[1]
    for i in range(x.shape[1]):
        for j in range(source.shape[1]):
            r = module.split(module.relative(positions(1, x, start=i + offset - j))[None])[0, :, 0]
            products[:, :, i, j] = ((query[:, :, i] + u[:, 0]) * key[:, :, j]).sum(-1) + (
                (query[:, :, i] + v[:, 0]) * r
            ).sum(-1)
    return module.join(masked_softmax(products / DIM**0.5, seen) @ value)


@CAUSAL
def test_transformer_xl_looks_at_the_segment_and_at_what_is_remembered(causal: bool) -> None:
    module, x = attention("transformer-xl", causal, segment=4, memory=6), hidden(11)
    parts = []
    for start in range(0, 11, 4):
        end, first = min(start + 4, 11), max(start - 6, 0)
        seen = torch.ones(end - start, end - first, dtype=torch.bool)
        parts.append(relative(module, x[:, start:end], x[:, first:end], seen.tril(start - first) if causal else seen))
    same(module(x), torch.cat(parts, dim=1))


@CAUSAL
def test_transformer_xl_of_one_segment_without_relative_positions_is_dense_attention(causal: bool) -> None:
    module, x = attention("transformer-xl", causal, segment=40, memory=5), hidden(29).requires_grad_()
    for parameter in (module.biases, module.relative.weight):
        parameter.data.zero_()
    projected = [module.split(project(x)) for project in (module.query, module.key, module.value)]
    same(module(x), module.join(masked(*projected, everything(29, causal))), (x,))


def test_no_gradient_flows_through_the_memory_of_transformer_xl() -> None:
    module, x = attention("transformer-xl", causal=True, segment=4, memory=8), hidden(12).requires_grad_()
    gradient = torch.autograd.grad(module(x)[:, 8:].square().sum(), x)[0]
    assert gradient[:, :8].abs().max() == 0
    assert gradient[:, 8:].abs().min() > 0


@pytest.mark.parametrize("name", ["transformer-xl", "compressive"])
def test_a_document_read_in_pieces_gives_what_it_gives_at_once(name: str) -> None:
    module, x = attention(name, causal=True), hidden(37)
    there = torch.ones(2, 37, dtype=torch.bool)
    memory, parts = module.start(x), []
    for part, tokens in zip(x.split(8, dim=1), there.split(8, dim=1), strict=True):
        context, memory = module.step(part, tokens, memory)
        parts.append(context)
    same(module(x), torch.cat(parts, dim=1))
    assert memory.states.shape[1] == 8


@pytest.mark.parametrize("name", ["transformer-xl", "compressive", "block-recurrent"])
def test_a_document_read_call_by_call_while_carrying_gives_what_it_gives_at_once(name: str) -> None:
    module, x = attention(name, causal=True), hidden(40)
    first = module(x[:, :16])
    with carrying(module):
        parts = [module(part) for part in x.split(16, dim=1)]
    same(module(x), torch.cat(parts, dim=1))
    same(module(x[:, :16]), first)


@CAUSAL
def test_compressive_looks_at_the_compressed_memory_too(causal: bool) -> None:
    module, x = attention("compressive", causal, segment=4, memory=4, compressed=3, ratio=2), hidden(18)
    compressed = x[:, :0]
    parts = []
    for start in range(0, 18, 4):
        end, first = min(start + 4, 18), max(start - 4, 0)
        source = torch.cat((compressed, x[:, first:end]), dim=1)
        seen = torch.ones(end - start, source.shape[1], dtype=torch.bool)
        parts.append(
            relative(module, x[:, start:end], source, seen.tril(source.shape[1] - (end - start)) if causal else seen)
        )
        if start >= 4:  # a segment of four falls out of the memory: two compressed states, of which three are kept
            fallen = x[:, first : first + (end - start)]
            made = [
                torch.einsum("bw,vw->bv", fallen[:, 2 * i], module.compress.weight[:, :, 0])
                + torch.einsum("bw,vw->bv", fallen[:, 2 * i + 1], module.compress.weight[:, :, 1])
                + module.compress.bias
                for i in range(len(fallen[0]) // 2)
            ]
            compressed = torch.cat((compressed, torch.stack(made, dim=1)), dim=1)[:, -3:]
    same(module(x), torch.cat(parts, dim=1))


def test_compressive_from_which_nothing_falls_is_transformer_xl() -> None:
    x = hidden(29)
    ours = attention("compressive", segment=8, memory=40, compressed=4, ratio=4)
    theirs = attention("transformer-xl", segment=8, memory=40)
    theirs.load_state_dict({name: each for name, each in ours.state_dict().items() if "compress" not in name})
    same(ours(x), theirs(x))


@CAUSAL
def test_block_recurrent_reads_and_writes_its_states_block_by_block(causal: bool) -> None:
    module, x = attention("block-recurrent", causal, block=4, states=3), hidden(11).requires_grad_()
    state, parts = module.initial.expand(2, -1, -1), []
    for start in range(0, 11, 4):
        end, first = min(start + 4, 11), max(start - 4, 0)
        block, source, normed = x[:, start:end], x[:, first:end], module.state_norm(state)
        size, everywhere = end - start, torch.ones(4, 4, dtype=torch.bool)
        key, value = module.split(module.key(source)), module.split(module.value(source))
        keys, values = module.split(module.state_key(normed)), module.split(module.state_value(normed))
        seen = torch.ones(size, end - first, dtype=torch.bool)
        own = masked(module.split(module.query(block)), key, value, seen.tril(start - first) if causal else seen)
        read = masked(module.split(module.token_to_state(block)), keys, values, everywhere[:size, :3])
        kept = masked(module.split(module.state_to_state(normed)), keys, values, everywhere[:3, :3])
        written = masked(
            module.split(module.state_to_token(normed)), key[:, :, -size:], value[:, :, -size:], everywhere[:3, :size]
        )
        parts.append(module.output(torch.cat((flat(own), flat(read)), dim=-1)))
        z, g = module.state_output(torch.cat((flat(kept), flat(written)), dim=-1)), torch.sigmoid(module.gate)
        state = state * g + z * (1 - g)
    same(module(x), torch.cat(parts, dim=1), (x, module.initial, module.gate))


def flat(context: Tensor) -> Tensor:
    """Heads side by side."""
    return context.transpose(1, 2).reshape(len(context), -1, HEADS * DIM)


@CAUSAL
def test_one_block_whose_output_ignores_the_states_is_dense_attention(causal: bool) -> None:
    module, x = attention("block-recurrent", causal, block=40, states=3), hidden(29)
    module.output.weight.data[:, HEADS * DIM :].zero_()
    projected = [module.split(project(x)) for project in (module.query, module.key, module.value)]
    dense = flat(masked(*projected, everything(29, causal)))
    same(module(x), dense @ module.output.weight[:, : HEADS * DIM].T + module.output.bias)
