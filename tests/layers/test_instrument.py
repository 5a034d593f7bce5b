"""Probes on real modules, with the native recorder and with its twin in Python."""

from __future__ import annotations

import copy
import inspect
import itertools
import pickle
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pyprof.errors import UsageError
from pyprof.layers.instrument import instrument
from pyprof.layers.trace import FORWARD, RECOMPUTE, STEP

SPIN = 2e-3


def spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class _Spinning(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value, forward, backward):
        ctx.backward_seconds = backward
        ctx.save_for_backward(value)
        spin(forward)
        return value * 2

    @staticmethod
    def backward(ctx, gradient):
        _ = ctx.saved_tensors  # makes checkpointing run the forward again
        spin(ctx.backward_seconds)
        return gradient * 2, None, None


class Spinner(nn.Module):
    """A layer with planted durations."""

    def __init__(self, forward=0.0, backward=0.0):
        super().__init__()
        self.durations = (forward, backward)

    def forward(self, value):
        return _Spinning.apply(value, *self.durations)


class Attention(nn.Module):
    """Three layers that share an input, one of them costly in backward."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = Spinner(), Spinner(SPIN, 3 * SPIN), Spinner()

    def forward(self, value):
        return self.q(value) + self.k(value) + self.v(value)


class Block(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.first = nn.Linear(width, width)
        self.activation = nn.ReLU(inplace=True)
        self.second = nn.Linear(width, width)

    def forward(self, value, scale=1.0, nothing=None):
        return {"out": self.second(self.activation(self.first(value))) * scale, "count": 3, "none": nothing}


@pytest.fixture(params=["native", "python"])
def recorder(request):
    return request.param


def by_path(profile):
    return {layer.path: layer for layer in profile.layers}


def state(module):
    """Everything that instrumenting could leave behind, in order."""
    return [(name, [(key, id(value)) for key, value in vars(one).items()]) for name, one in module.named_modules()]


def test_planted_durations_are_found_forward_and_backward(recorder):
    module = nn.Sequential(Spinner(SPIN, 2 * SPIN), Attention(), Spinner(3 * SPIN, SPIN))
    value = torch.ones(1, requires_grad=True)
    with instrument(module, backward=True, recorder=recorder) as probes, probes.step():
        module(value).backward()
    profile = probes.profile()
    layers = by_path(profile)
    planted = {"0": (1, 2), "1.k": (1, 3), "2": (3, 1)}
    for path, (forward, backward) in planted.items():
        assert layers[path].own_forward_seconds >= forward * SPIN * 0.99
        assert layers[path].own_backward_seconds >= backward * SPIN * 0.99
    # The three share their input, and yet k's backward is not part of its neighbours': a pause of the machine may hit
    # one of them, hardly all of them together.
    beside = [layers[path].own_backward_seconds for path in ("1.q", "1.v")]
    assert min(beside) < 3 * SPIN
    root = layers[""]
    assert root.backward_seconds == pytest.approx(
        sum(layer.own_backward_seconds or 0.0 for layer in profile.layers), rel=1e-9
    )
    assert layers["1"].backward_seconds >= 3 * SPIN * 0.99


def test_gradients_do_not_change_by_a_bit(recorder):
    torch.manual_seed(0)
    module = nn.ModuleList([Block(), Block()])
    value = torch.randn(4, 8, requires_grad=True)

    def gradients():
        module.zero_grad()
        value.grad = None
        hidden = module[0](value)["out"]
        (module[1](hidden, scale=0.5, nothing=None)["out"] + hidden).square().sum().backward()
        return [parameter.grad.clone() for parameter in module.parameters()] + [value.grad.clone()]

    plain = gradients()
    with instrument(module, backward=True, recorder=recorder) as probes:
        seen = gradients()
    assert all(torch.equal(one, other) for one, other in zip(plain, seen, strict=True))
    assert by_path(probes.profile())["0.first"].own_backward_seconds > 0


def test_detaching_leaves_the_module_as_it_was_also_after_an_exception(recorder):
    module = nn.Sequential(Block(), nn.Linear(8, 8))
    module[1].forward = module[1].forward  # an instance attribute of the user's own
    before = state(module)

    def fail():
        with instrument(module, backward=True, recorder=recorder):
            assert state(module) != before
            module(torch.ones(2, 3))

    with pytest.raises(RuntimeError):
        fail()
    assert state(module) == before


def test_exceptions_leave_begin_and_end_balanced(recorder):
    class Raising(nn.Module):
        def forward(self, value):
            raise ValueError("planted")

    module = nn.ModuleDict({"bad": Raising(), "good": nn.Identity()})
    with instrument(module, recorder=recorder) as probes:
        for _ in range(3):
            with pytest.raises(ValueError, match="planted"):
                module["bad"](1)
            module["good"](1)
    layers = by_path(probes.profile())
    assert (layers["bad"].calls, layers["good"].calls) == (3, 3)
    spans = np.sort(probes.trace.spans, order="begin")
    assert all(spans["end"][:-1] <= spans["begin"][1:])  # nothing was left open around a later call


def test_one_module_called_several_times_and_by_itself(recorder):
    class Recursive(nn.Module):
        def forward(self, depth):
            return depth if depth == 0 else self(depth - 1)

    shared = nn.Identity()
    module = nn.Sequential(shared, Recursive(), shared)
    with instrument(module, recorder=recorder) as probes:
        module(4)
    layers = by_path(probes.profile())
    assert layers["0"].calls == 2
    assert "2" not in layers
    assert layers["1"].calls == 5
    assert layers["1"].forward_seconds == pytest.approx(layers["1"].own_forward_seconds)


@pytest.mark.parametrize("reentrant", [False, True])
def test_recomputation_under_checkpointing_is_told_apart(recorder, reentrant):
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(Spinner(SPIN, 2 * SPIN))

        def forward(self, value):
            return checkpoint(self.inner, value, use_reentrant=reentrant)

    module = nn.Sequential(Checkpointed())
    value = torch.ones(1, requires_grad=True)
    with instrument(module, backward=True, recorder=recorder) as probes, probes.step():
        module(value).sum().backward()
    layers = by_path(probes.profile())
    spinner = layers["0.inner.0"]
    assert spinner.calls == 1
    assert spinner.recompute_seconds >= SPIN * 0.99
    assert spinner.own_backward_seconds >= 2 * SPIN * 0.99
    assert spinner.own_forward_seconds >= SPIN * 0.99
    phases = [int(span["phase"]) for span in probes.trace.spans if span["layer"] == spinner.index]
    assert phases == [FORWARD, RECOMPUTE]
    assert layers[""].backward_seconds >= 2 * SPIN * 0.99


def test_threads_keep_their_own_nesting(recorder):
    module = nn.Sequential(nn.Sequential(Spinner(SPIN / 10)), nn.Linear(1, 1))
    value = torch.ones(1)

    def work():
        for _ in range(20):
            module(value)

    with instrument(module, recorder=recorder) as probes:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    spans = probes.trace.spans
    assert by_path(probes.profile())["0.0"].calls == 80
    assert len(set(spans["thread"].tolist())) == 4
    for thread in set(spans["thread"].tolist()):
        around = {}
        own = spans[spans["thread"] == thread]
        assert own["layer"].tolist() == [0, 1, 2, 3] * 20
        for span in own:
            around[span["layer"]] = span
            parent = around[{0: 0, 1: 0, 2: 1, 3: 0}[int(span["layer"])]]
            assert parent["begin"] <= span["begin"] <= span["end"] <= parent["end"]


def test_stamps_without_room_are_counted_and_no_call_is_lost(recorder):
    module = nn.Sequential(nn.Identity(), nn.Identity(), nn.Identity())
    with instrument(module, recorder=recorder, capacity=2) as probes:
        module(1)
    profile = probes.profile()
    assert profile.overflowed == 0
    assert [layer.calls for layer in profile.layers] == [1, 1, 1, 1]
    assert (probes.trace.spans["layer"].tolist(), probes.trace.dropped) == ([0, 1], 2)


def test_steps_hand_back_the_room(recorder):
    module = nn.Sequential(nn.Identity(), nn.Identity())
    with instrument(module, recorder=recorder, capacity=4) as probes:
        for _ in range(10):
            with probes.step():
                module(1)
    profile = probes.profile()
    assert (profile.overflowed, profile.steps, profile.layers[1].calls) == (0, 10, 1)
    assert sum(span["layer"] == STEP for span in probes.trace.spans) == 10


def test_layers_of_inference_have_no_backward(recorder):
    module = Block()
    with instrument(module, backward=True, recorder=recorder) as probes, torch.inference_mode():
        module(torch.ones(1, 8))
    assert all(layer.backward_seconds is None for layer in probes.profile().layers)


def test_an_unused_output_has_no_backward(recorder):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, value):
            return self.used(value), self.unused(value)

    module = Two()
    with instrument(module, backward=True, recorder=recorder) as probes:
        module(torch.ones(1, 2))[0].sum().backward()
    layers = by_path(probes.profile())
    assert layers["used"].own_backward_seconds > 0
    assert layers["unused"].own_backward_seconds is None
    assert layers[""].backward_seconds > 0


def test_script_modules_are_one_layer_and_their_inside_is_left_out(recorder):
    module = nn.Sequential(torch.jit.trace(nn.Sequential(nn.Linear(2, 2)), torch.ones(1, 2)), nn.Linear(2, 2))
    before = state(module)
    with instrument(module, recorder=recorder) as probes:
        module(torch.ones(1, 2))
    assert state(module) == before
    layers = by_path(probes.profile())
    assert (layers["0"].attached, layers["0"].calls) == ("replaced", 1)
    assert (layers["0.0"].attached, layers["0.0"].calls) == ("skipped: inside TorchScript", 0)
    assert (layers["1"].attached, layers["1"].calls) == ("replaced", 1)


def test_a_forward_that_cannot_be_replaced_is_hooked(recorder):
    class Property(nn.Module):
        @property
        def forward(self):
            return lambda value: value + self.missing if value is None else value

        @forward.setter
        def forward(self, value):
            raise AttributeError("not here")

    module = nn.Sequential(Property(), nn.ModuleList([nn.Identity()]))
    before = state(module)
    with instrument(module, recorder=recorder) as probes:
        module[0](1)
        with pytest.raises(AttributeError):
            module[0](None)
    assert state(module) == before
    layers = by_path(probes.profile())
    assert (layers["0"].attached, layers["0"].calls) == ("hooked", 2)
    assert layers["1"].attached == "skipped: has no forward of its own"


def test_compiled_blocks_are_timed_from_outside(recorder):
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(2, 2)

        def forward(self, value):
            return self.inner(value).relu()

    in_place = Plain()
    in_place.compile(backend=backend)
    module = nn.Sequential(in_place, torch.compile(Plain(), backend=backend))
    with torch.no_grad():
        module(torch.ones(1, 2))
        compiled = len(graphs)
        with instrument(module, recorder=recorder) as probes:
            module(torch.ones(1, 2))
    assert len(graphs) == compiled > 0  # looking has compiled nothing anew
    layers = by_path(probes.profile())
    assert (layers["0"].attached, layers["0"].calls) == ("compiled", 1)
    assert layers["0.inner"].attached == "skipped: inside torch.compile"
    assert (layers["1"].attached, layers["1"].calls) == ("replaced", 1)


def test_a_probe_answers_for_the_forward_that_it_stands_in_for(recorder):
    module = Block()
    with instrument(module, recorder=recorder):
        assert inspect.signature(module.forward) == inspect.signature(Block().forward)
        assert module.forward.__name__ == "forward"
        with pytest.raises(TypeError, match="detach"):
            copy.deepcopy(module.forward)
        with pytest.raises(TypeError, match="detach"):
            pickle.dumps(module.forward)


@pytest.mark.parametrize("own", [False, True])
def test_instrumenting_twice_counts_in_both_whatever_order_they_end_in(recorder, own):
    module = nn.Sequential(nn.Identity())
    if own:
        module[0].forward = lambda value: value  # an instance attribute of the user's own
    before, forward = state(module), module[0].forward
    first, second = instrument(module, recorder=recorder), instrument(module, recorder=recorder)
    first.__enter__()
    second.__enter__()
    module(1)
    first.__exit__(None, None, None)  # the wrong order: the second one's probe is around the first one's
    module(1)
    second.__exit__(None, None, None)
    module(1)
    assert [by_path(probes.profile())["0"].calls for probes in (first, second)] == [1, 2]
    assert state(module) == before
    assert module[0].forward == forward
    with instrument(module, recorder=recorder) as third:
        module(1)
    assert by_path(third.profile())["0"].calls == 1


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_instruments_left_in_any_order_leave_no_dead_probe(recorder, order):
    """The last of the four is entered when the first in the order has been left, around what still stands there."""
    module = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    before, value = state(module), torch.ones(1, 2)
    probes = [instrument(module, recorder=recorder) for _ in range(4)]
    left = [number for number in order if number != 3]
    for each in probes[:3]:
        each.__enter__()
    probes[left[0]].__exit__(None, None, None)
    probes[3].__enter__()
    module(value)
    for number in order:
        if number != left[0]:
            probes[number].__exit__(None, None, None)
            module(value)
    assert state(module) == before
    assert "forward" not in vars(module[0])
    copy.deepcopy(module)
    pickle.loads(pickle.dumps(module))
    after = [number for number in order if number != left[0]]
    calls = {number: by_path(probes[number].profile())["0"].calls for number in range(4)}
    assert calls == {left[0]: 0} | {number: 1 + place for place, number in enumerate(after)}


def test_a_wrapper_of_somebody_elses_around_a_probe_stays(recorder):
    module = nn.Identity()
    with instrument(module, recorder=recorder) as probes:
        inner = module.forward
        module.forward = lambda value: inner(value) + 1
    assert module(1) == 2
    assert by_path(probes.profile())[""].calls == 0
    with instrument(module, recorder=recorder) as again:
        assert module(1) == 2
    assert module(1) == 2
    assert by_path(again.profile())[""].calls == 1


def test_an_instrument_of_a_part_and_one_of_the_whole_end_in_any_order(recorder):
    module = nn.Sequential(nn.Sequential(nn.Identity()), nn.Identity())
    before = state(module)
    part, whole = instrument(module[0], recorder=recorder), instrument(module, recorder=recorder)
    part.__enter__()
    whole.__enter__()
    module(1)
    part.__exit__(None, None, None)
    whole.__exit__(None, None, None)
    assert state(module) == before
    assert by_path(part.profile())["0"].calls == by_path(whole.profile())["0.0"].calls == 1


def test_lazy_parameters_are_counted_as_what_they_have_become(recorder):
    module = nn.Sequential(nn.LazyLinear(3), nn.ReLU())
    with instrument(module, recorder=recorder) as probes:
        module(torch.ones(2, 4))
    layers = by_path(probes.profile())
    assert (layers["0"].calls, layers["0"].parameters, layers["0"].type) == (1, 15, "Linear")


def test_tied_parameters_are_counted_once():
    module = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    module[1].weight = module[0].weight
    with instrument(module) as probes:
        module(torch.ones(1, 4))
    assert [layer.parameters for layer in probes.profile().layers] == [0, 16, 0]


def test_only_modules_can_be_instrumented():
    with pytest.raises(UsageError, match="function"):
        instrument(lambda value: value)
    with pytest.raises(UsageError, match="room"):
        instrument(nn.Identity(), capacity=0)


def test_attached_twice_is_refused():
    probes = instrument(nn.Identity())
    with probes, pytest.raises(UsageError, match="attached already"):
        probes.__enter__()
