"""What is added up while it is recorded: no call is lost, means are fractions, and every call is where it was made."""

from __future__ import annotations

import resource
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pyprof import _native
from pyprof.layers import adding_up
from pyprof.layers.instrument import instrument
from pyprof.layers.profile import LayerCost, Profile
from pyprof.layers.replay import Replay
from pyprof.layers.sums import Sums

MS = 1e-3


@pytest.fixture(params=["native", "python"])
def recorder(request):
    return request.param


class Sleeping(nn.Module):
    def forward(self, value):
        time.sleep(5 * MS)
        return value


class Holding(nn.Module):
    """Calls the layers of its list one after the other."""

    def __init__(self, *layers):
        super().__init__()
        self.items = nn.ModuleList(layers)

    def forward(self, value):
        for layer in self.items:
            value = layer(value)
        return value


def by_path(profile):
    return {layer.path: layer for layer in profile.layers}


def calls(profile):
    return {layer.path: layer.calls for layer in profile.layers}


# A1: nothing is lost.


class Generating(nn.Module):
    """As a language model does: some blocks and a head, once for each token."""

    def __init__(self, cell, last, tokens):
        super().__init__()
        self.cell, self.last, self.tokens = cell, last, tokens

    def forward(self, value):
        for _ in range(self.tokens):
            value = self.cell(value)
        return self.last(value)


def test_a_layer_after_thirty_thousand_calls_is_seen(recorder):
    module = Generating(nn.Identity(), Sleeping(), 30_000)
    with instrument(module, recorder=recorder) as probes, probes.step():
        module(1)
    layers = by_path(probes.profile())
    assert (layers["cell"].calls, layers["last"].calls) == (30_000, 1)
    assert layers["last"].own_forward_seconds >= 5 * MS
    assert probes.profile().overflowed == 0
    # The stamps of the rest found no room, which costs no figure.
    assert 0 < len(probes.trace.spans) <= 1 << 14
    assert len(probes.trace.spans) + probes.trace.dropped == 30_003


def test_calls_without_a_step_are_not_lost_either(recorder):
    module = nn.ModuleList([nn.Identity(), nn.Identity()])
    with instrument(module, recorder=recorder) as probes:
        for _ in range(20_000):
            module[0](1)
        module[1](1)
    assert calls(probes.profile()) == {"": 0, "0": 20_000, "1": 1}


def test_backward_after_many_calls_finds_its_layers(recorder):
    cell = nn.Tanh()
    count = 20_000 if recorder == "native" else 2_000
    module = Generating(cell, nn.Linear(2, 2), count)
    with instrument(module, backward=True, recorder=recorder, capacity=16) as probes, probes.step():
        module(torch.ones(1, 2, requires_grad=True)).sum().backward()
    layers = by_path(probes.profile())
    assert layers["cell"].own_backward_seconds > 10 * layers["last"].own_backward_seconds > 0
    assert probes.profile().nodes >= count


def test_a_short_generate_of_a_language_model_shows_every_call():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_layer=12, n_embd=24, n_head=2, vocab_size=99, n_positions=256)
    model = transformers.GPT2LMHeadModel(config).eval()
    with instrument(model) as probes, probes.step():
        model.generate(torch.ones(1, 8, dtype=torch.long), max_new_tokens=200, min_new_tokens=200, pad_token_id=0)
    layers = by_path(probes.profile())
    assert layers["lm_head"].calls == 200
    assert {layers[f"transformer.h.{block}.mlp.c_fc"].calls for block in range(12)} == {200}


def resident() -> float:
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * resource.getpagesize() / 1e6


@pytest.mark.slow
def test_long_recordings_add_little_time_and_memory():
    module = Holding(*[nn.Identity() for _ in range(100)])

    def seconds(probes, steps):
        begin = time.process_time()
        for _ in range(steps):
            if probes is None:
                module(1)
            else:
                with probes.step():
                    module(1)
        return (time.process_time() - begin) / steps

    seconds(None, 500)
    before = resident()
    added = []
    with instrument(module) as probes:
        for _ in range(20):
            plain = min(seconds(None, 250) for _ in range(2))
            added.append(seconds(probes, 1000) - plain)
    profile = probes.profile()
    assert resident() - before < 50
    assert 20_000 * float(np.median(added)) < 1
    assert profile.steps == 20_000
    assert set(calls(profile).values()) == {0, 1}  # the list itself is never called


def test_stamps_are_those_of_the_last_steps(recorder, monkeypatch):
    monkeypatch.setattr("pyprof.layers.instrument._KEPT_INTERVALS", 10)
    module = nn.Sequential(nn.Identity(), nn.Identity())
    with instrument(module, recorder=recorder) as probes:
        for _ in range(30):
            with probes.step():
                module(1)
    assert len(probes.trace.spans) == 8  # two whole steps
    assert probes.profile().steps == 30


def test_what_cannot_be_kept_is_said(recorder, monkeypatch):
    """Backward nodes whose call was too long ago: told by the field, in words, and by a warning."""
    monkeypatch.setattr(adding_up, "_MOST_RANGES", 64)
    module = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    value = torch.ones(1, 2, requires_grad=True)
    with instrument(module, backward=True, recorder=recorder) as probes:
        with probes.step():
            early = module(value).sum()
        for _ in range(3):
            with probes.step():
                module(value)
        with probes.step():
            early.backward()
    with pytest.warns(UserWarning, match="too long after the forward"):
        profile = probes.profile()
    assert profile.unplaced > 0
    assert "too long after the forward" in repr(profile)
    assert by_path(profile)["0"].own_backward_seconds is None


def test_a_profile_says_in_words_what_it_lacks():
    layer = LayerCost(0, None, "", "Model", "other", 1, 0, 1.0, 1.0, None, None, None, "replaced")
    profile = Profile((layer,), 1, 1.0, 0.0, 1, 0, 0)
    assert repr(profile) == "profile of 1 layers, a step of 1.00 s"
    assert profile.omissions() == ()
    lacking = Profile((layer,), 1, 1.0, 0.0, 1, 0, 1, 2000)
    assert [sentence.split(" found ")[0].split(" came ")[0] for sentence in lacking.omissions()] == [
        "1 event",
        "2,000 backward nodes",
    ]


# A2: means are fractions.


class Taking(nn.Module):
    """Calls the layers that each step names."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(nn.Identity() for _ in range(layers))

    def forward(self, chosen):
        for layer in chosen:
            self.layers[layer](1)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([[0], [], [0], []], [0.5]),
        ([[0], [0, 0]], [1.5]),
        ([[0], [1], [2], [3]], [0.25, 0.25, 0.25, 0.25]),
        ([[0], [0], [1]], [2 / 3, 1 / 3]),
        ([[0, 0, 0], [0], [1, 1], [1, 1]], [1, 1]),
    ],
)
def test_calls_are_means(recorder, steps, expected):
    module = Taking(len(expected))
    with instrument(module, recorder=recorder) as probes:
        for chosen in steps:
            with probes.step():
                module(chosen)
    found = [layer.calls for layer in probes.profile().layers[2:]]
    assert found == expected
    assert [type(value) is int for value in found] == [value == int(value) for value in expected]


# A3: the call tree is a tree, the modules are not.


def test_a_module_in_several_places_is_shown_where_it_was_called_from(recorder):
    shared = Sleeping()
    module = nn.Sequential(Holding(shared), Holding(shared), Holding(shared))
    with instrument(module, recorder=recorder) as probes, probes.step():
        module(1)
    layers = by_path(probes.profile())
    assert sum(layers[f"{block}"].forward_seconds for block in range(3)) <= layers[""].forward_seconds
    for block in range(3):
        for path in (f"{block}", f"{block}.items", f"{block}.items.0"):
            assert layers[path].forward_seconds >= 5 * MS
        assert layers[f"{block}.items.0"].calls == 1
    assert [layer.index for layer in probes.profile().layers] == list(range(10))
    assert layers["1.items.0"].parent == layers["1.items"].index


def test_the_inside_of_a_shared_block_goes_with_it(recorder):
    shared = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    module = nn.Sequential(Holding(shared), nn.Sequential(Holding(shared, shared)))
    with instrument(module, backward=True, recorder=recorder) as probes, probes.step():
        module(torch.ones(1, 2)).sum().backward()
    layers = by_path(probes.profile())
    assert (layers["0.items.0.0"].calls, layers["1.0.items.0.0"].calls) == (1, 2)
    assert (layers["0.items.0.0"].parameters, layers["1.0.items.0.0"].parameters) == (6, 0)
    assert layers["0.items.0.1"].own_backward_seconds is not None
    assert layers["1.0.items.0.1"].own_backward_seconds is not None
    assert "1.0.items.1" not in layers  # called from one place, where it is held twice


def test_a_shared_list_has_its_layers_in_each_place(recorder):
    shared = nn.ModuleList([nn.Identity(), nn.Identity()])
    first, second = Holding(), Holding()
    first.items = second.items = shared
    module = nn.Sequential(first, second)
    with instrument(module, recorder=recorder) as probes:
        module(1)
        second(1)
    assert calls(probes.profile()) == {
        "": 1,
        "0": 1,
        "0.items": 0,
        "0.items.0": 1,
        "0.items.1": 1,
        "1": 2,
        "1.items": 0,
        "1.items.0": 2,
        "1.items.1": 2,
    }


def test_what_is_called_by_a_layer_that_does_not_hold_it_stays_where_it_is_held(recorder):
    class Borrowing(nn.Module):
        def forward(self, value, layer):
            return layer(value)

    class Lending(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.borrower = Sleeping(), Borrowing()

        def forward(self, value):
            return self.borrower(value, self.table)

    module = Lending()
    with instrument(module, recorder=recorder) as probes, probes.step():
        module(1)
    layers = by_path(probes.profile())
    assert layers["table"].own_forward_seconds >= 5 * MS
    assert layers["borrower"].forward_seconds >= 5 * MS > layers["borrower"].own_forward_seconds


# A6: the second order.


def penalty(module, value):
    (gradient,) = torch.autograd.grad(module(value).sum(), value, create_graph=True)
    ((gradient.norm(dim=1) - 1) ** 2).mean().backward()


# The twin finds nodes when the outermost call has returned, so it sees no backward inside of a forward.
@pytest.mark.parametrize(("recorder", "inside"), [("native", False), ("native", True), ("python", False)])
def test_the_second_order_goes_to_the_layer_whose_backward_made_it(recorder, inside):
    layers = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Softplus(), nn.Linear(64, 1))

    class Energy(nn.Module):
        """Takes a gradient in its forward."""

        def __init__(self):
            super().__init__()
            self.layers = layers

        def forward(self, value):
            return torch.autograd.grad(self.layers(value).sum(), value, create_graph=True)[0]

    module = Energy() if inside else layers
    value = torch.randn(2048, 64, requires_grad=True)
    with instrument(module, backward=True, recorder=recorder) as probes:
        for _ in range(10):
            with probes.step():
                if inside:
                    module(value).square().sum().backward()
                else:
                    penalty(module, value)
    profile = probes.profile()
    prefix = "layers." if inside else ""
    for path in "0123":
        layer = by_path(profile)[prefix + path]
        assert 0 < layer.second_order_seconds < layer.own_backward_seconds
    assert by_path(profile)[""].second_order_seconds is None
    assert profile.outside_seconds < 0.7 * profile.step_seconds


def test_the_first_order_alone_is_not_marked(recorder):
    module = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    with instrument(module, backward=True, recorder=recorder) as probes, probes.step():
        module(torch.ones(1, 4)).sum().backward()
    assert all(layer.second_order_seconds is None for layer in probes.profile().layers)


# Threads: the invariant holds in each of them, and what runs beside the step is told apart.


class Pool(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = Sleeping(), Holding(Sleeping())

    def forward(self, value):
        with ThreadPoolExecutor(2) as pool:
            return [future.result() for future in [pool.submit(layer, value) for layer in (self.left, self.right)]]


def test_layers_that_run_in_a_pool_run_beside_the_step(recorder):
    module = Pool()
    with instrument(module, recorder=recorder) as probes:
        for _ in range(3):
            with probes.step():
                module(1)
    profile = probes.profile()
    layers = by_path(profile)
    assert (layers["left"].calls, layers["right"].calls, layers["right.items.0"].calls) == (1, 1, 1)
    assert layers["left"].beside_seconds >= 5 * MS
    assert layers["right.items.0"].beside_seconds >= 5 * MS
    assert layers[""].beside_seconds is None
    assert layers["left"].forward_seconds == layers["right"].forward_seconds == 0
    assert layers[""].own_forward_seconds >= 5 * MS  # it waited
    assert profile.beside_seconds == pytest.approx(sum(layer.beside_seconds or 0 for layer in profile.layers))


def test_a_backward_in_another_thread_runs_beside_the_step(recorder):
    module = nn.Sequential(nn.Linear(64, 64), nn.Tanh())
    value = torch.ones(256, 64)
    with instrument(module, backward=True, recorder=recorder) as probes:
        for _ in range(2):
            with probes.step():
                thread = threading.Thread(target=module(value).sum().backward)
                thread.start()
                thread.join()
    layers = by_path(probes.profile())
    assert layers["1"].beside_seconds > 0
    assert layers["0"].beside_seconds > 0
    assert layers["0"].backward_seconds is None


@pytest.mark.parametrize("between", [False, True])
def test_a_step_within_a_step_is_a_part_of_it(recorder, between):
    module = nn.Sequential(nn.Identity(), Sleeping())
    with instrument(module, recorder=recorder) as probes, probes.step():
        for _ in range(2):
            with probes.step():
                module(1)
            if between:
                module(1)
    profile = probes.profile()
    assert profile.steps == 1
    assert by_path(profile)["1"].calls == (4 if between else 2)
    assert profile.step_seconds >= (4 if between else 2) * 5 * MS


def test_steps_of_several_threads_are_steps_each(recorder):
    module = nn.Sequential(nn.Identity(), Sleeping())

    def work():
        for _ in range(3):
            with probes.step():
                module(1)

    with instrument(module, recorder=recorder) as probes:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    profile = probes.profile()
    assert (profile.steps, by_path(profile)["1"].calls, profile.beside_seconds) == (9, 1, 0)
    assert 5 * MS <= profile.step_seconds < 15 * MS


def test_a_profile_read_while_a_step_runs_holds_what_has_ended(recorder):
    module = nn.Sequential(nn.Identity())
    with instrument(module, recorder=recorder) as probes:
        for _ in range(2):
            with probes.step():
                module(1)
                profile = probes.profile()
    assert (profile.steps, by_path(profile)["0"].calls) == (1, 1)
    assert probes.profile().steps == 2


# The two adders give the same.


class Checkpointed(nn.Module):
    def __init__(self, inner, reentrant):
        super().__init__()
        self.inner, self.reentrant = inner, reentrant

    def forward(self, value):
        return checkpoint(self.inner, value, use_reentrant=self.reentrant)


def test_the_native_recorder_adds_up_what_its_stamps_give():
    """Of everything at once: shared layers, checkpointing of both kinds, the second order, a thread, steps in steps."""
    shared = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
    module = nn.Sequential(Holding(shared), Checkpointed(shared, False), Checkpointed(nn.Tanh(), True), Holding(shared))
    value = torch.ones(4, 8, requires_grad=True)
    with instrument(module, backward=True) as probes:
        for _ in range(3):
            module(value).sum().backward()
            with probes.step():
                with probes.step():
                    module(value).sum().backward()
                penalty(shared, value)
                thread = threading.Thread(target=lambda: shared(value).sum().backward())
                thread.start()
                thread.join()
    native = Sums.of(probes._recorder.sums())
    replay = Replay()
    replay.add(probes.trace)
    again = replay.sums()
    assert len(probes.trace.threads) == 4  # though later ones went on with the buffer of an earlier one

    def by_chain(sums):
        chains = {}
        for number, (parent, layer, phase) in enumerate(sums.sites.tolist()):
            chains[number] = (*chains.get(parent, ()), (layer, phase)) if number > 3 else (number,)
        return {chain: sums.cells[number] for number, chain in chains.items()}

    one, other = by_chain(native), by_chain(again)
    assert one.keys() == other.keys()
    for chain, cells in one.items():
        if chain[0] not in (0, 2) or len(chain) > 1:  # their tops count outermost intervals
            assert cells["count"].tolist() == other[chain]["count"].tolist(), chain
        assert cells["nanoseconds"] == pytest.approx(other[chain]["nanoseconds"], rel=1e-3, abs=200), chain


def test_the_clock_of_the_sums_is_that_of_the_stamps():
    module = Sleeping()
    with instrument(module) as probes:
        module(1)
    (span,) = probes.trace.spans
    took = probes.profile().layers[0].forward_seconds * 1e9
    assert took == pytest.approx(int(span["end"]) - int(span["begin"]), abs=100)
    assert _native.now() > span["end"]
