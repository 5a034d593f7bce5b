"""The parameters that one token meets: all, but for the experts that its router leaves out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyprof.indicators.indicator import Indicator, Step
from pyprof.records.reading import Reading

if TYPE_CHECKING:
    from torch import nn

# What the number of experts for a token is called, in a layer, its router or the model's configuration.
_CHOSEN = (
    "top_k",
    "topk",
    "num_experts_per_tok",
    "num_experts_per_token",
    "num_selected_experts",
    "moe_top_k",
    "moe_topk",
    "moe_k",
    "k",
)
_ROUTER_CLASS = re.compile(r"Top[_-]?(\d+)Router")


@dataclass(frozen=True)
class Mixture:
    """The experts of one layer: where they are, how many there are, and how many a token meets (None: not told)."""

    path: str
    experts: nn.Module
    count: int
    chosen: int | None


def count(step: Step) -> Reading:
    """Parameters that take part in the work for one token; of a mixture of experts the share that its router chooses.

    A mixture is a module called `experts`, or of a class called so, with as many parts, or parameters that are as long
    in their first dimension, as there are experts. The detail has the parameters of all experts, their number, and how
    many a token meets. None where a mixture does not tell that.
    """
    from pyprof.device.weights import WeightCount, why_not_countable

    reason = why_not_countable(step.module)
    if reason is not None:
        return Reading(None, reason=reason)
    active, of_experts, mixtures = WeightCount().add_all(step.module), 0, list(_mixtures(step.module))
    for mixture in mixtures:
        if mixture.chosen is None:
            return Reading(None, reason=f"{mixture.path} does not tell how many of its {mixture.count} experts it uses")
        own = WeightCount().add_all(mixture.experts)
        of_experts += own
        active -= own * max(mixture.count - mixture.chosen, 0) // mixture.count
    detail: dict[str, Any] = {"experts": of_experts}
    if mixtures:
        detail |= {
            "number_of_experts": max(each.count for each in mixtures),
            "chosen": max(each.chosen or 0 for each in mixtures),
        }
    return Reading(float(active), detail=detail if mixtures else {})


def _mixtures(root: nn.Module) -> Iterator[Mixture]:
    config = getattr(root, "config", None)
    inside: set[int] = set()
    for path, layer in root.named_modules():
        for name, child in layer.named_children():
            if id(child) in inside or not (name == "experts" or type(child).__name__.endswith("Experts")):
                continue
            number = _number_of(child)
            if number < 2:
                continue
            inside |= {id(child), *map(id, child.modules())}
            near = (child, layer, *layer.children(), config)
            yield Mixture(f"{path}.{name}".lstrip("."), child, number, _chosen(near, number))


def _number_of(experts: nn.Module) -> int:
    """How many experts a module holds: as parts of its own, or stacked in the first dimension of its parameters."""
    stacked = {len(parameter) for parameter in experts.parameters(recurse=False) if parameter.dim() > 2}
    return stacked.pop() if len(stacked) == 1 else len(list(experts.children()))


def _chosen(near: tuple[Any, ...], number: int) -> int | None:
    for where in near:
        for name in _CHOSEN:
            value = getattr(where, name, None)
            if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= number:
                return value
        by_class = _ROUTER_CLASS.search(type(where).__name__)
        if by_class is not None:
            return int(by_class[1])
    return None


INDICATOR = Indicator(
    name="active_parameters",
    title="Active parameters",
    unit="1",
    format="count",
    better="lower",
    meaning="parameters that one token meets: all, but for the experts of a mixture that its router leaves out",
    source="Fedus, Zoph, Shazeer, Switch Transformers, JMLR 2022",
    exact=True,
    varies_with_length=False,
    usual=False,
    place=42,
    read=count,
)
