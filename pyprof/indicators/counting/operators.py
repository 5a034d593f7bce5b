"""One step seen operator by operator: what each computes, reads and writes, forward and backward."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pyprof.indicators.counting.formulas import flexible_attention, multiply_adds
from pyprof.indicators.counting.kinds import sort_of
from pyprof.indicators.counting.traffic import shown_bytes, traffic
from pyprof.indicators.indicator import Step

Phase = Literal["forward", "backward", "update"]
PHASES: tuple[Phase, ...] = ("forward", "backward", "update")
_COMPILER = "torch._dynamo"


@dataclass
class Work:
    """What the calls of one operator in one phase did together.

    `macs` are the multiply-adds of products, `elements` those elements that it computed otherwise, `outputs` the
    elements of a product's results and `output_bytes` their bytes; `nanoseconds` is how long the host was in it.
    """

    calls: int = 0
    macs: int = 0
    elements: int = 0
    outputs: int = 0
    output_bytes: int = 0
    read: int = 0
    written: int = 0
    nanoseconds: int = 0


@dataclass
class Operators:
    """One step of a model: its work by phase and operator, and the operators whose arithmetic nobody knows.

    Phases: forward; backward, with what it computes again; and update, what follows the backward (an optimizer).
    """

    work: dict[tuple[Phase, str], Work] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)

    def total(self, name: str, *phases: Phase) -> int:
        """The sum of one of the fields of `Work` over all operators, of some phases or of all."""
        wanted = phases or PHASES
        return sum(getattr(work, name) for (phase, _), work in self.work.items() if phase in wanted)

    def by_operator(self, name: str, *phases: Phase) -> dict[str, int]:
        """The same by operator, those with any, the largest first."""
        wanted, sums = phases or PHASES, dict[str, int]()
        for (phase, operator), work in self.work.items():
            if phase in wanted:
                sums[operator] = sums.get(operator, 0) + getattr(work, name)
        return {operator: sums[operator] for operator in sorted(sums, key=lambda each: -sums[each]) if sums[operator]}

    def uncounted(self) -> dict[str, dict[str, float]]:
        """The operators without a formula: how often each was called, and its share of the time in operators."""
        calls, times = self.by_operator("calls"), self.by_operator("nanoseconds")
        whole = max(sum(times.values()), 1)
        return {name: {"calls": calls[name], "share": times.get(name, 0) / whole} for name in sorted(self.unknown)}


def operators_of(step: Step) -> Operators:
    """The operators of one step, which runs once for all indicators that ask; nothing is timed then but its shares.

    What is compiled runs as it is written, because a compiled program has no operators to be seen.
    """
    return step.once(_look)


def _look(step: Step) -> Operators:
    """Where no compiler is loaded nothing is compiled, and to load it takes seconds and 70 MB."""
    if _COMPILER not in sys.modules:
        found = _seen(step)
        if _COMPILER not in sys.modules:
            return found
    with torch.compiler.set_stance("force_eager"):
        return _seen(step)


def _seen(step: Step) -> Operators:
    step.renew()
    look = _Look()
    with look:
        step()
    return look.found


class _Look(TorchDispatchMode):  # type: ignore[no-untyped-call]
    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = Operators()
        self._was_backward = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if isinstance(func, torch._ops.HigherOrderOperator):
            return self._higher_order(func, args, kwargs)
        sort = sort_of(func)
        if sort != "product":
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        begin = time.perf_counter_ns()
        result = func(*args, **kwargs)
        spent = time.perf_counter_ns() - begin
        if sort == "nothing":
            return result
        work = self._work(func._schema.name.removeprefix("aten::"))
        work.calls += 1
        work.nanoseconds += spent
        if sort == "product":
            work.macs += multiply_adds(func, args, kwargs, result) or 0
            first = _tensors(result)[0]
            work.outputs += first.numel()
            work.output_bytes += first.numel() * first.element_size()
        elif sort == "arithmetic":
            work.elements += max(_elements(args), _elements(result))
        elif sort is None:
            self.found.unknown.add(func._schema.name.removeprefix("aten::"))
        read, written = traffic(func, args, kwargs, result)
        work.read += read
        work.written += written
        return result

    def _higher_order(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """FlexAttention as its block mask says; of others what they are made of counts."""
        if str(func) != "flex_attention":
            return NotImplemented
        begin = time.perf_counter_ns()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that nothing fuses it here, which nobody times
            result = func(*args, **kwargs)
        work = self._work(str(func))
        work.nanoseconds += time.perf_counter_ns() - begin
        work.calls += 1
        work.macs += flexible_attention(args)
        first = _tensors(result)[0]
        work.outputs += first.numel()
        work.output_bytes += first.numel() * first.element_size()
        work.read += sum(map(shown_bytes, _tensors(args)))
        work.written += sum(map(shown_bytes, _tensors(result)))
        return result

    def _work(self, name: str) -> Work:
        """Where a call is noted: an optimizer runs after a backward, and without gradients of its own."""
        if torch._C._current_graph_task_id() >= 0:
            self._was_backward = True
            return self._in("backward", name)
        return self._in("update" if self._was_backward and not torch.is_grad_enabled() else "forward", name)

    def _in(self, phase: Phase, name: str) -> Work:
        return self.found.work.setdefault((phase, name), Work())


def _elements(tree: Any) -> int:
    """The elements of the largest tensor, or of all in a list."""
    sizes = [tensor.numel() for tensor in _tensors(tree)]
    lists = isinstance(tree, (list, tuple)) and any(isinstance(each, list) for each in tree)
    return sum(sizes) if lists else max(sizes, default=0)


def _tensors(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    return [tensor for each in tree for tensor in _tensors(each)] if isinstance(tree, (list, tuple)) else []
