"""The model of known durations, and how far tools are off from it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from torch import nn

from pyprof.failures import Failure
from pyprof.overhead.accuracy import accuracy
from pyprof.overhead.hooks import HOOKS, RECORD_FUNCTION
from pyprof.overhead.known_model import KnownModel, KnownSteps, Leaf
from pyprof.overhead.probes import PYPROF
from pyprof.overhead.tool import Attached, LayerTime, Tool


def small() -> KnownModel:
    """All layers of the model, its head as short as an embedding."""
    model = KnownModel(blocks=2)
    model.head.nanoseconds = 50_000
    return model


@pytest.mark.parametrize("backward", [False, True])
def test_a_layers_known_time_is_the_sum_of_those_below_it(backward):
    model = small()
    steps = KnownSteps(model, backward=backward)
    steps.step()
    known, stamped = steps.known(), steps.stamped()
    assert steps.calls == 17  # of the root, three beside the blocks, one of them twice, and six in each block
    assert set(steps.containers) == {"", "blocks.0", "blocks.0.attention", "blocks.1", "blocks.1.attention"}
    leaves = {path: layer for path, layer in model.named_modules() if isinstance(layer, Leaf)}
    for path, leaf in leaves.items():
        calls = 2 if path == "shared" else 1
        assert known[path].forward >= calls * leaf.nanoseconds
        assert known[path].own_forward == known[path].forward == stamped[path].forward
        if backward:
            assert known[path].backward >= 2 * calls * leaf.nanoseconds
            assert stamped[path].backward > known[path].backward
    for path in steps.containers:
        below = [known[leaf] for leaf in leaves if leaf.startswith(path)]
        assert known[path].forward == sum(leaf.forward for leaf in below)
        assert known[path].own_forward == 0
        assert stamped[path].forward > known[path].forward
        assert (known[path].backward is None) == (not backward)
    own = sum(layer.own_forward for layer in stamped.values())
    assert own == stamped[""].forward


def test_a_step_forgets_the_one_before():
    steps = KnownSteps(small(), backward=True)
    steps.step()
    steps.step()
    assert steps.calls == 17
    assert len(steps.model.head.backwards) == 1


class Exaggerates(Attached):
    """Knows the truth of the leaves, and says half as much again; of containers it says nothing."""

    factor = 1.5

    def __init__(self, module: nn.Module, backward: bool) -> None:
        self.leaves = {path: layer for path, layer in module.named_modules() if isinstance(layer, Leaf)}
        self.backward = backward

    def layers(self) -> Mapping[str, LayerTime]:
        return {path: self.exaggerated(path, leaf) for path, leaf in self.leaves.items()}

    def exaggerated(self, path: str, leaf: Leaf) -> LayerTime:
        factor = 3.0 if path == "head" else self.factor
        return LayerTime(factor * sum(leaf.lengths))

    def detach(self) -> None: ...


class Fails(Attached):
    def __init__(self, module: nn.Module, backward: bool) -> None:
        raise RuntimeError("no")

    def detach(self) -> None: ...


def test_errors_are_those_that_a_tool_makes():
    tools = [Tool("exaggerates", Exaggerates, timed=""), Tool("fails", Fails, timed=""), RECORD_FUNCTION]
    found = accuracy(tools, backward=False, seconds=0.01, model=small())
    errors = found.tools["exaggerates"].forward
    assert errors.median == pytest.approx(0.5)
    assert (errors.worst, errors.worst_layer) == (pytest.approx(2.0), "head")
    assert (errors.seen, errors.layers) == (11, 16)
    assert errors.call_ns is None
    assert errors.own_ns is None
    assert found.tools["exaggerates"].backward is None
    assert found.tools["fails"] == Failure("error", "RuntimeError: no")
    assert found.tools["record_function"].forward is None
    assert found.calls == 17
    assert found.unseen_call_ns > 0


class Whole(Attached):
    """Says of the whole model that it took a millisecond more than by its own clock, and that its own time is none."""

    def __init__(self, module: nn.Module, backward: bool) -> None:
        self.module = module

    def layers(self) -> Mapping[str, LayerTime]:
        return {"": LayerTime(sum(self.module.lengths) + 1e6)}

    def detach(self) -> None: ...


def test_the_error_of_the_whole_is_shared_among_the_calls():
    found = accuracy([Tool("whole", Whole, timed="")], backward=False, seconds=0.3, model=small())
    errors = found.tools["whole"].forward
    # Beyond the known time: what the calls take, which varies by some microseconds from step to step.
    assert errors.call_ns == pytest.approx(1e6 / 17, rel=0.3)
    assert errors.seen == 1


def test_our_probes_are_nearer_to_the_truth_than_hooks():
    found = accuracy([PYPROF, HOOKS], backward=True, seconds=0.5, model=small())
    ours, theirs = found.tools["pyprof"], found.tools["Python hooks"]
    assert ours.forward.seen == theirs.forward.seen == ours.backward.seen == 16
    assert ours.forward.median < theirs.forward.median
    assert ours.forward.median < 0.05
    assert ours.backward.median < 0.25
    assert ours.forward.own_ns is not None
