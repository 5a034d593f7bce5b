"""Mechanisms that learn what to look at: each beside its equation, and in a limit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from zoo_cases import DIM, HEADS, attention, everything, masked, masked_softmax, same, states


def one_round(
    query: Tensor, key: Tensor, value: Tensor, order: Tensor, chunk: int, causal: bool
) -> tuple[Tensor, Tensor]:
    """Reformer's (5): a query sees its chunk of the sorted sequence and the one before, itself as a last resort."""
    length = query.shape[2]
    number = order.argsort(dim=-1) // chunk
    ahead = number[..., :, None] - number[..., None, :]
    seen = ((ahead == 0) | (ahead == 1)) & everything(length, causal)
    scores = query @ key.mT / DIM**0.5
    scores = torch.where(torch.eye(length, dtype=torch.bool), torch.tensor(-1e5, dtype=scores.dtype), scores)
    return masked_softmax(scores, seen) @ value, scores.masked_fill(~seen, -torch.inf).logsumexp(-1)


@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
@pytest.mark.parametrize("rounds", [1, 3])
def test_reformer_attends_within_chunks_of_the_sorted_sequence(rounds: int, causal: bool) -> None:
    module = attention("reformer", causal, chunk=4, rounds=rounds, buckets=6)
    query, value = states(29, count=2)
    key = normalize(query, dim=-1)
    parts = []
    for rotation in module.rotations:
        turned = query @ rotation
        buckets = torch.cat((turned, -turned), dim=-1).argmax(-1)
        assert buckets.unique().numel() > 3
        parts.append(one_round(query, key, value, buckets.argsort(dim=-1, stable=True), 4, causal))
    sums = torch.stack([each for _, each in parts])
    weights = torch.exp(sums - sums.logsumexp(dim=0))
    theirs = sum(context * weight[..., None] for (context, _), weight in zip(parts, weights, strict=True))
    same(module.attend(query, key, value), theirs, (query, value))


def test_reformer_of_one_chunk_is_dense_attention_to_the_others() -> None:
    module = attention("reformer", chunk=29, rounds=2, buckets=6)
    query, value = states(29, count=2)
    key = normalize(query, dim=-1)
    others = ~torch.eye(29, dtype=torch.bool)
    same(module.attend(query, key, value), masked(query, key, value, others), (query, value))
    same(module.attend(query[:, :, :1], key[:, :, :1], value[:, :, :1]), value[:, :, :1])


def test_reformers_near_directions_share_a_bucket() -> None:
    module = attention("reformer", buckets=8)
    query = states(500, count=1)[0].detach()
    near = query * 3 + 0.01 * torch.randn_like(query)
    rotation = module.rotations[0]
    assert (module.hashes(query, rotation) == module.hashes(near, rotation)).double().mean() > 0.97
    assert (module.hashes(query, rotation) == module.hashes(-query, rotation)).sum() == 0


@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
def test_routing_attends_within_the_nearest_of_each_centroid(causal: bool) -> None:
    module = attention("routing", causal)
    module.fit(29)
    query, key, value = states(29)
    unit_query, unit_key = (
        (x - x.mean(-1, keepdim=True)) / (x.var(-1, False, keepdim=True) + 1e-5).sqrt() for x in (query, key)
    )
    total, times = torch.zeros_like(value), torch.zeros(2, HEADS, 29, 1, dtype=torch.float64)
    for cluster in range(module.clusters):
        centroid = module.centroids[:, cluster : cluster + 1]
        nearest = [
            (x @ centroid.mT)[..., 0].argsort(dim=-1, descending=True)[..., : module.size]
            for x in (unit_query, unit_key)
        ]
        chosen = [torch.zeros(2, HEADS, 29, dtype=torch.bool).scatter(-1, places, True) for places in nearest]
        seen = everything(29, causal) & chosen[1][..., None, :]
        total = total + masked(unit_query, unit_key, value, seen) * chosen[0][..., None]
        times = times + chosen[0][..., None]
    assert (module.clusters, module.size) == (5, 6)
    same(module.attend(query, key, value), total / times.clamp(min=1), (query, key, value))


def test_routing_with_one_centroid_is_dense_attention_of_normalised_queries_and_keys() -> None:
    module = attention("routing")
    module.clusters, module.size = 1, 29
    query, key, value = states(29)
    unit = [torch.nn.functional.layer_norm(x, (DIM,)) for x in (query, key)]
    same(module.attend(query, key, value), masked(*unit, value, everything(29)), (query, key, value))


def test_routings_centroids_go_to_the_mean_of_what_is_nearest() -> None:
    module = attention("routing").train()
    module.fit(29)
    before = module.centroids.clone()
    query, key, value = (x.detach() for x in states(29))
    module.attend(query, key, value)
    x = torch.cat([torch.nn.functional.layer_norm(each, (DIM,)) for each in (query, key)], dim=2)
    nearest = (x @ before[:, :5].mT).argmax(-1)
    for head in range(HEADS):
        for cluster in range(5):
            own = x[:, head][nearest[:, head] == cluster]
            moved = 0.999 * before[head, cluster] + 0.001 * own.mean(0) if len(own) else before[head, cluster]
            torch.testing.assert_close(module.centroids[head, cluster], moved)
    assert torch.equal(module.centroids[:, 5:], before[:, 5:])
    assert not torch.equal(module.centroids, before)


def test_sinkhorn_attends_to_its_block_and_to_a_sorted_one() -> None:
    module = attention("sinkhorn", block=4, iterations=3)
    query, key, value = states(12)
    blocks = [x.unflatten(2, (3, 4)) for x in (query, key, value)]
    logits = torch.exp(blocks[1].sum(3) @ module.places[:, :, :3] / 0.75)
    for _ in range(3):
        logits = logits / logits.sum(-1, keepdim=True)
        logits = logits / logits.sum(-2, keepdim=True)
    keys, values = (torch.cat((x, torch.einsum("bhij,bhjkd->bhikd", logits, x)), dim=3) for x in blocks[1:])
    share = torch.cat(
        (torch.ones_like(logits[..., :1]).expand(-1, -1, -1, 4), logits.sum(-1, keepdim=True).expand(-1, -1, -1, 4)), -1
    )
    scores = blocks[0] @ keys.mT / DIM**0.5 + share.log()[..., None, :]
    theirs = (scores.softmax(-1) @ values).flatten(2, 3)
    same(module.attend(query, key, value), theirs, (query, key, value, module.places))


def test_sinkhorns_permutation_has_rows_and_columns_of_one() -> None:
    module = attention("sinkhorn", block=4, iterations=60)
    sums = states(9, count=1)[0]
    there = torch.arange(9) < torch.tensor([[9], [6]])
    permutation = module.permutation(sums, there)
    for dim in (-1, -2):
        torch.testing.assert_close(
            permutation.sum(dim), torch.ones(2, HEADS, 9, dtype=torch.float64), atol=1e-6, rtol=0
        )
    assert torch.equal(permutation[1, :, 6:, 6:], torch.eye(3, dtype=torch.float64).expand(HEADS, 3, 3))
    assert permutation[1, :, :6, 6:].max() == 0


def test_sinkhorn_of_one_block_is_dense_attention() -> None:
    query, key, value = states(29)
    module = attention("sinkhorn", block=32, iterations=5)
    same(module.attend(query, key, value), attention("dense").attend(query, key, value), (query, key, value))
