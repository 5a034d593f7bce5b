"""How many bytes an operator reads and writes at least: every input once, every output once, views nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from math import prod
from typing import Any

import torch
from torch import Tensor

from pyprof.device.weights import stored
from pyprof.indicators.counting.kinds import names

# Their arguments only say which shape and type the result has.
_SHAPE_ONLY = names(
    """
    zeros_like ones_like full_like rand_like randn_like randint_like new_zeros new_ones new_full bernoulli_ normal_
    uniform_ exponential_ random_ fill_ zero_ log_normal_ _foreach_zero_ tril_indices triu_indices
    """
)
# They write all of their first argument without a look at it.
_OVERWRITES = frozenset(("copy_", "_foreach_copy_"))
# They read of their first argument only what they select, which is as much as they write.
_SELECT = names("embedding index_select index gather take _unsafe_index masked_select")
# They write into a part of their first argument as much as their last one holds.
_SCATTER = names("index_put_ _index_put_impl_ index_copy_ index_add_ scatter_ scatter_add_ masked_scatter_ put_")


def traffic(operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> tuple[int, int]:
    """Bytes that one call reads and writes: (read, written).

    A tensor that is given twice is read once, and one that repeats a row (by a stride of 0) is read as often as it has
    rows of its own. What a kernel reads again, because a cache is small, is not in it.
    """
    name = operator._schema.name.partition("::")[2]
    given = _distinct(_tensors((args, list(kwargs.values()))))
    made = _bytes(_distinct(_tensors(result)))
    if name in _SHAPE_ONLY:
        return 0, made
    if name in _SELECT:
        return made + _bytes(given[1:]), made
    changed = [tensor for index in _changed(operator) if index < len(args) for tensor in _tensors(args[index])]
    if name in _OVERWRITES:
        return _bytes(given[1:]) if name == "copy_" else _bytes(given) // 2, made
    if name in _SCATTER and len(given) > 1:
        source = given[-1].numel() * given[-1].element_size() if given[-1].numel() else 0
        adds = "add" in name or (len(args) > 3 and args[3] is True)
        return _bytes(given[1:]) + (source if adds else 0), source
    alone = {id(tensor) for tensor in changed}
    written = _bytes(changed) + _bytes(each for each in _distinct(_tensors(result)) if id(each) not in alone)
    return _bytes(given), written


@lru_cache(maxsize=4096)
def _changed(operator: Any) -> tuple[int, ...]:
    """Which positional arguments an operator writes into."""
    arguments = enumerate(operator._schema.arguments)
    return tuple(index for index, each in arguments if each.alias_info is not None and each.alias_info.is_write)


def _tensors(tree: Any) -> Iterator[Tensor]:
    """The tensors among arguments or results, in lists too; one that is made of others as those."""
    if isinstance(tree, Tensor):
        yield from stored(tree)
    elif isinstance(tree, (list, tuple)):
        for each in tree:
            yield from _tensors(each)


def _distinct(tensors: Iterable[Tensor]) -> list[Tensor]:
    return list({id(tensor): tensor for tensor in tensors}.values())


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of what tensors show, an element that they repeat once."""
    return sum(map(shown_bytes, tensors))


def shown_bytes(tensor: Tensor) -> int:
    """Bytes of the elements of memory that a tensor shows; in a library's own layout (oneDNN's) of its numbers."""
    if not tensor.numel():
        return 0
    if tensor.layout is not torch.strided:
        return tensor.numel() * tensor.element_size()
    rows = [size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride]
    return prod(rows) * tensor.element_size()
