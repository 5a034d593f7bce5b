"""Inputs whose far context is disturbed, after Sun et al., "Do Long-Range Language Models Actually Use Long-Range
Context?", EMNLP 2021: a region's tokens are shuffled, replaced by those of another example, or dropped. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyprof.errors import UsageError
from pyprof.names import nearest
from pyprof.quality.region import Region
from pyprof.quality.task import PLACES, Example

# What each does to a region, for help and reports.
PERTURBATIONS = {
    "shuffle": "its tokens in random order",
    "replace": "the tokens of another example in their place",
    "drop": "taken out: the others keep the places at which they stand",
}
# What a label says where nothing is judged, as in PyTorch's cross entropy.
IGNORED = -100

Tokens = np.ndarray[Any, Any]


def check_perturbation(how: str) -> str:
    """The name of a perturbation; raises UsageError for another one."""
    if how not in PERTURBATIONS:
        raise UsageError(f"there is no perturbation {how!r}: {nearest(how, PERTURBATIONS)}")
    return how


def perturbed(sequences: Sequence[Tokens], how: str, region: Region, seed: int = 0) -> list[Tokens]:
    """Each sequence with a region of it, in its own length, disturbed; new arrays.

    Args:
        sequences: token numbers of an example each, without padding.
        how: shuffle, replace or drop. What replaces is the same place of another example, begun again where that one
            is shorter.
        region: which part of each.
        seed: fixes the orders and the other examples. What an example becomes depends on its number and on how many
            there are, not on how they are batched.

    Raises:
        UsageError: no such perturbation, a region that is empty in an example or leaves nothing of it, or nothing to
            replace from.
    """
    check_perturbation(how)
    count = len(sequences)
    if how == "replace" and count < 2:
        raise UsageError("a region is replaced by that of another example, and there is only one: take more examples")
    shift = int(np.random.default_rng((seed, count)).integers(1, max(count, 2)))
    return [
        _disturbed(tokens, sequences[(index + shift) % count], how, region, np.random.default_rng((seed, count, index)))
        for index, tokens in enumerate(sequences)
    ]


def _disturbed(tokens: Tokens, other: Tokens, how: str, region: Region, random: np.random.Generator) -> Tokens:
    begin, end = region.of(len(tokens))
    before, inside, after = tokens[:begin], tokens[begin:end], tokens[end:]
    if how == "drop":
        if not len(before) + len(after):
            raise UsageError(f"nothing is left of an input without {region}: take a smaller region")
        return np.concatenate((before, after))
    inside = np.take(other, np.arange(begin, end), mode="wrap") if how == "replace" else random.permutation(inside)
    return np.concatenate((before, inside, after))


def perturbed_examples(
    examples: Sequence[Example], how: str, region: Region, *, inputs: Sequence[str] = ("tokens",), seed: int = 0
) -> tuple[Sequence[Example], Sequence[Example]]:
    """Examples as they are and with a region of their inputs disturbed, both with the same judged.

    Where an example has ``labels``, one for each token of its input as in language modelling, only those are judged
    whose token lies behind the region: what is asked is the same, and only its far context is disturbed. `inputs` names
    the token arrays of an example, each of which is disturbed. Raises UsageError as `perturbed` does, and where
    nothing lies behind the region that could be judged.
    """
    plain, changed = [dict(each) for each in examples], [dict(each) for each in examples]
    for number, name in enumerate(inputs):
        sequences = [np.asarray(each[name]) for each in examples]
        made = perturbed(sequences, how, region, seed + number)
        for example, sequence, tokens in zip(changed, sequences, made, strict=True):
            example[name] = tokens
            if how == "drop":
                begin, end = region.of(len(sequence))
                example[f"{name}{PLACES}"] = np.delete(np.arange(len(sequence)), slice(begin, end))
    for before, after in zip(plain, changed, strict=True):
        if "labels" not in before:
            continue
        labels, tokens = np.asarray(before["labels"]), np.asarray(before[inputs[0]])
        _, end = region.of(len(tokens))
        if end == len(tokens):
            raise UsageError(f"behind the region {region} there is no token to be predicted: let it end earlier")
        judged = labels.copy()
        judged[:end] = IGNORED
        before["labels"], after["labels"] = judged, judged[len(judged) - len(after[inputs[0]]) :]
    return plain, changed
