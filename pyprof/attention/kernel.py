"""A kernel of the user's own: loaded by name, called as its signature allows, and checked before it is compared."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyprof.attention.check import GRADIENTS, TOLERANCE, Accuracy, Standard
from pyprof.attention.peers import Implementation, Variant
from pyprof.attention.problem import Inputs, Problem, make_inputs
from pyprof.errors import UsageError
from pyprof.failures import Failure, attempt
from pyprof.names import imported

# Checks are of inputs with two sequences of two heads, no longer than this beyond the window.
_BEYOND = 70
_BATCH, _HEADS = 2, 2


@dataclass(frozen=True)
class Kernel:
    """``function(query, key, value, window)``, tensors (batch, heads, length, head_dim), window (left, right).

    It returns the output, in the query's shape and dtype. Where it takes keywords named `key_lengths` or `scale`, as
    `pyprof.window_attention` does, these are checked too; only one that takes `global_keys` is asked for them.
    """

    name: str
    function: Callable[..., Tensor]
    keywords: frozenset[str]

    @classmethod
    def of(cls, name: str, function: Callable[..., Tensor]) -> Kernel:
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):  # native code does not always have a signature
            return cls(name, function, frozenset())
        return cls(name, function, frozenset({"key_lengths", "scale", "global_keys"} & set(parameters)))

    def __call__(self, inputs: Inputs, window: tuple[int, int] | None = None) -> Tensor:
        keywords: dict[str, object] = {}
        if inputs.key_lengths is not None:
            keywords["key_lengths"] = inputs.key_lengths
        if inputs.scale is not None:
            keywords["scale"] = inputs.scale
        keywords |= self._global_keys(inputs.problem)
        window = inputs.problem.window if window is None else window
        return self.function(inputs.query, inputs.key, inputs.value, window, **keywords)

    def implementation(self) -> Implementation:
        """The kernel as one to be compared with the others."""

        def variants(problem: Problem) -> Iterator[Variant]:
            keywords = self._global_keys(problem)
            yield Variant(lambda query, key, value: self.function(query, key, value, problem.window, **keywords))

        return Implementation(self.name, variants, foreign=True)

    def _global_keys(self, problem: Problem) -> dict[str, object]:
        """The keyword for global keys, where a problem has any; raises NotImplementedError where there is none."""
        if problem.global_keys == 0:
            return {}
        if "global_keys" not in self.keywords:
            raise NotImplementedError(f"{self.name} takes no keyword global_keys")
        return {"global_keys": problem.global_keys}


def load(name: str) -> Kernel:
    """Import ``package.module:function``, from the current directory too; raises UsageError that says what failed."""
    return Kernel.of(name, imported(name, "the kernel"))


def check(kernel: Kernel, problems: Sequence[Problem], *, backward: bool, tolerance: float = TOLERANCE) -> None:
    """Compare a kernel with dense attention in float64 on small inputs of every window and dtype of the problems.

    Unit-normal inputs and ones with large scores; padded and otherwise scaled ones where the kernel takes such
    keywords; gradients with `backward`. A kernel is wrong where it is off by more than twice what is allowed. What it
    cannot do at all (it raises, it has no backward) is left to the comparison to report. Raises UsageError that says
    how far off it is.
    """
    for problem in dict.fromkeys(_small(problem) for problem in problems):
        for inputs, graded in _inputs(kernel, problem):
            reason = _fault(kernel, inputs, backward and graded, tolerance)
            if reason is not None:
                raise UsageError(f"the kernel {kernel.name} is wrong: {reason}")


def _small(problem: Problem) -> Problem:
    longest = sum(problem.window) + problem.global_keys + _BEYOND
    return replace(problem, batch=_BATCH, heads=_HEADS, length=min(problem.length, longest))


def _inputs(kernel: Kernel, problem: Problem) -> Iterator[tuple[Inputs, bool]]:
    """What to check a kernel on, and whether gradients are to be checked there.

    Of large scores they are not: a backward that knows the weights by a log-sum-exp in float32 has its rounding in
    them, which grows with the scores, and is right all the same.
    """
    yield make_inputs(problem), True
    yield make_inputs(problem, large=True), False
    if "scale" in kernel.keywords:
        yield replace(make_inputs(problem), scale=0.3), True
    if "key_lengths" in kernel.keywords:
        lengths = torch.tensor([problem.length, max(1, problem.length * 2 // 3)], device=problem.torch_device)
        yield replace(make_inputs(problem), key_lengths=lengths), True


def _fault(kernel: Kernel, inputs: Inputs, backward: bool, tolerance: float) -> str | None:
    """What is wrong with what the kernel returns; None where nothing is, or where it does not run."""
    standard = Standard.of(inputs)
    results = attempt(lambda: run(kernel, inputs, backward=backward))
    if isinstance(results, Failure) and backward:
        # Without a backward the forward is still to be checked.
        results = attempt(lambda: run(kernel, inputs, backward=False))
    if isinstance(results, Failure):
        return None
    if isinstance(results, str):
        return results
    output = standard.judge({"output": results.pop("output")}, tolerance)
    if output.wrong:
        return describe(output, inputs) + _guess(kernel, inputs, tolerance)
    gradients = standard.judge(results, tolerance) if results else None
    return describe(gradients, inputs) if gradients is not None and gradients.wrong else None


def run(kernel: Callable[[Inputs], Tensor], inputs: Inputs, *, backward: bool) -> dict[str, Tensor] | str:
    """Output and gradients of a call, or in words what is wrong with their shape and such.

    Raises what the call raises, and NotImplementedError where the output leads to no gradient.
    """
    given = (inputs.query, inputs.key, inputs.value)
    leaves = tuple(tensor.clone().requires_grad_(backward) for tensor in given)
    fresh = replace(inputs, query=leaves[0], key=leaves[1], value=leaves[2])
    _poison(inputs.query)
    with torch.set_grad_enabled(backward):
        output = kernel(fresh)
    wrong = _shape_fault("output", output, inputs.query)
    if wrong is not None:
        return wrong
    if not all(torch.equal(leaf, tensor) for leaf, tensor in zip(leaves, given, strict=True)):
        return "it changes its inputs: write into a tensor of its own"
    results = {"output": output.detach()}
    if not backward:
        return results
    if not output.requires_grad:
        raise NotImplementedError("no backward: the output does not lead to its inputs' gradients")
    _poison(inputs.query)
    gradients: tuple[Tensor | None, ...] = torch.autograd.grad(output, leaves, inputs.grad_output, allow_unused=True)
    for name, gradient, tensor in zip(GRADIENTS, gradients, given, strict=True):
        if gradient is None:
            return f"its backward gives no {name}"
        wrong = _shape_fault(name, gradient, tensor)
        if wrong is not None:
            return wrong
        results[name] = gradient
    return results


def _poison(tensor: Tensor) -> None:
    """Leave NaN in the memory that is handed out next, so that what is never written shows."""
    torch.full_like(tensor, torch.nan)


def _shape_fault(name: str, result: object, wanted: Tensor) -> str | None:
    if not isinstance(result, Tensor):
        return f"it returns {type(result).__name__} as {name}: return a tensor"
    if result.shape != wanted.shape:
        return f"its {name} has the shape {tuple(result.shape)} where {tuple(wanted.shape)} is due"
    if result.dtype != wanted.dtype:
        return f"its {name} is {str(result.dtype)[6:]} where {str(wanted.dtype)[6:]} is due"
    return None


def describe(accuracy: Accuracy, inputs: Inputs) -> str:
    """In words, how far off a result is."""
    kind = "" if inputs.key_lengths is None else f", key lengths {inputs.key_lengths.tolist()}"
    kind += "" if inputs.scale is None else f", scale {inputs.scale}"
    return (
        f"its {accuracy.tensor} is off by {accuracy.error:.2g} from dense attention in float64, where eager "
        f"{inputs.problem.dtype} is off by {accuracy.eager:.2g} and {accuracy.allowed:.2g} is allowed "
        f"({inputs.problem}{kind})"
    )


def _guess(kernel: Kernel, inputs: Inputs, tolerance: float) -> str:
    """Which other window the output belongs to, if any, as conventions differ in what they count."""
    results = attempt(lambda: run(kernel, inputs, backward=False))
    if not isinstance(results, dict):
        return ""
    left, right = inputs.problem.window
    everything = (inputs.problem.length, inputs.problem.length)
    others = [(left - 1, right - 1), (left + 1, right + 1), (left // 2, right // 2), (2 * left, 2 * right)]
    others += [(left, right - 1), (left - 1, right), (left, 0), (0, right), everything]
    for window in dict.fromkeys(others):
        if min(window) < 0 or window == (left, right):
            continue
        other = replace(inputs, problem=replace(inputs.problem, window=window))
        if not Standard.of(other).judge(results, tolerance).wrong:
            what = "dense attention without a window" if window == everything else f"the window {window}"
            return (
                f"; it is that of {what}, where ({left}, {right}) means so many neighbours on each side, without the "
                "token itself"
            )
    return ""
