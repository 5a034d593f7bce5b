"""A step that is written for a viewer: in the format, nested, linked, and with the layer table's own times."""

from __future__ import annotations

import copy
import json
import threading
from collections import Counter, defaultdict
from decimal import Decimal

import numpy as np
import pytest
import torch
import trace_event_format as viewer
from torch import nn
from torch.utils.checkpoint import checkpoint

import pyprof
from pyprof.cli.main import main
from pyprof.device.host import HostDevice
from pyprof.errors import UsageError
from pyprof.layers.device_work import BACKWARD, COPY, DeviceRecords
from pyprof.layers.last_steps import LastSteps
from pyprof.layers.memory_log import HOST, SAMPLE_DTYPE, MemorySamples
from pyprof.layers.profile import LayerFacts, assemble
from pyprof.layers.replay import Replay
from pyprof.layers.sums import SITE_DTYPE
from pyprof.layers.trace import FORWARD, NODE_DTYPE, RECOMPUTE, SPAN_DTYPE, STEP, Trace
from pyprof.traces import export

PHASES = ("forward", "recompute", "backward")


@pytest.fixture(params=["native", "python"])
def recorder(request):
    return request.param


def bert():
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return transformers.BertModel(transformers.BertConfig(vocab_size=99, **sizes))


TOKENS = torch.arange(32).reshape(2, 16)


def recorded(module, run, recorder="native"):
    """The probes of one step."""
    run()
    with pyprof.instrument(module, backward=True, recorder=recorder) as probes, probes.step():
        run()
    return probes


def checked(probes, tmp_path):
    pyprof.write_trace(probes, tmp_path / "out.json")
    return viewer.read(tmp_path / "out.json")


def again(probes):
    """The layer table of the very stamps that are drawn."""
    replay = Replay()
    last = probes.last_steps()
    replay.add(last.trace)
    return assemble(replay.sums(), last.facts)


def own_of_table(profile):
    """Whole nanoseconds of each layer and phase, where there are any."""
    own = {}
    for layer in profile.layers:
        values = (layer.own_forward_seconds, layer.recompute_seconds, layer.own_backward_seconds)
        for phase, seconds in zip(PHASES, values, strict=True):
            if seconds:
                own[layer.path, phase] = round(seconds * 1e9)
    return own


def own_of(trace):
    own = Counter()
    for each in trace.slices:
        if "layer" in each.arguments:
            own[each.arguments["layer"], each.category] += each.own
    return {key: value for key, value in own.items() if value}


def totals_of(trace, phase):
    """By layer what its outermost slices took."""
    totals = Counter()
    for each in trace.slices:
        path = each.arguments.get("layer")
        same = [one for one in each.outer() if one.arguments.get("layer") == path and one.category == phase]
        if path is not None and each.category == phase and not same:
            totals[path] += each.took
    return totals


def arrows_of(trace):
    """By layer how many arrows come to its backward; each begins in a call of that layer."""
    arrows = Counter()
    for name, begin, end in trace.arrows:
        assert name == "forward to backward"
        assert begin.category in ("forward", "recompute")
        assert end.category == "backward"
        assert begin.arguments["layer"] == end.arguments["layer"]
        arrows[end.arguments["layer"]] += 1
    return arrows


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_durations_by_layer_are_those_of_the_layer_table(recorder, mode, tmp_path):
    model = bert()

    def run():
        output = model(TOKENS).last_hidden_state
        if mode == "train":
            output.sum().backward()

    probes = recorded(model, run, recorder)
    trace, profile, exact = checked(probes, tmp_path), probes.profile(), again(probes)
    assert own_of(trace) == own_of_table(exact)
    for phase in ("forward", "backward"):
        whole = {layer.path: getattr(exact.layers[layer.index], f"{phase}_seconds") for layer in exact.layers}
        called = {layer.path for layer in exact.layers if layer.calls}
        assert totals_of(trace, phase) == {
            path: round(seconds * 1e9) for path, seconds in whole.items() if seconds and path in called
        }
    # The recorder's own sums are of ticks, which each stamp rounds to a nanosecond.
    table = own_of_table(profile)
    assert own_of(trace).keys() == table.keys()
    rounding = 0 if recorder == "python" else 2 * (profile.calls + profile.nodes)
    for key, nanoseconds in own_of(trace).items():
        assert abs(nanoseconds - table[key]) <= rounding, key
    (step,) = (each for each in trace.slices if each.category == "step")
    assert abs(step.took - round(profile.step_seconds * 1e9)) <= min(rounding, 2)
    backward = {path for path, phase in table if phase == "backward"}
    assert arrows_of(trace).keys() == backward
    assert bool(backward) == (mode == "train")


def test_names_are_those_of_the_layer_table(tmp_path):
    model = bert()
    trace = checked(recorded(model, lambda: model(TOKENS).last_hidden_state.sum().backward()), tmp_path)
    names = {each.name for each in trace.slices if each.category == "forward"}
    assert "BertModel" in names
    assert "encoder.layer.1.attention.self" in names
    one = next(each for each in trace.slices if each.name == "encoder.layer.1.attention.self.query")
    assert one.arguments == {"layer": one.name, "type": "Linear", "kind": "self-attention"}
    assert [each.name for each in one.outer()][-2:] == ["BertModel", "step"]
    assert trace.processes == {1: "host: BertModel"}
    assert trace.threads == {(1, 1): "thread 1: step, forward, backward"}
    assert trace.other["notes"] == [
        "there is no counter of memory, which was not followed: mark the step with `step(memory=True)`"
    ]
    assert not trace.counters


def test_a_second_reading_that_shares_nothing_with_the_first_finds_the_same(tmp_path):
    """Every pair of slices of a thread is compared, with the raw numbers of the file: O(n^2), and without a stack."""
    model = bert()
    probes = followed(model, lambda: model(TOKENS).last_hidden_state.sum().backward())
    trace = checked(probes, tmp_path)
    with (tmp_path / "out.json").open() as file:
        events = json.load(file, parse_float=Decimal, parse_int=Decimal)["traceEvents"]
    for each in events:
        each["ts"], each["dur"] = int(each["ts"] * 1000), int(each.get("dur", 0) * 1000)
    slices = [(each["tid"], each["ts"], each["ts"] + each["dur"], each) for each in events if each["ph"] == "X"]
    own = {id(each): end - begin for _, begin, end, each in slices}
    around = defaultdict(list)
    for place, (thread, begin, end, each) in enumerate(slices):
        for other, (same, first, last, outer) in enumerate(slices):
            if same != thread or place == other or last <= begin or end <= first:
                continue
            inside = (first, -last, other) < (begin, -end, place)
            assert (first <= begin and end <= last) if inside else (begin <= first and last <= end)
            if inside:
                around[id(each)].append((last - first, outer))
    for _, begin, end, each in slices:
        if around[id(each)]:
            own[id(min(around[id(each)], key=lambda entry: entry[0])[1])] -= end - begin
    by_layer = Counter()
    for *_, each in slices:
        if "layer" in each["args"]:
            by_layer[each["args"]["layer"], each["cat"]] += own[id(each)]
    assert {key: value for key, value in by_layer.items() if value} == own_of(trace)
    ends = defaultdict(dict)
    for each in events:
        if each["ph"] in "sf":
            inside = [one for thread, begin, end, one in slices if thread == each["tid"] and begin <= each["ts"] < end]
            ends[each["id"]][each["ph"]] = min(inside, key=lambda one: one["dur"])
    linked = [(pair["s"]["args"]["layer"], pair["f"]["args"]["layer"]) for pair in ends.values()]
    assert sorted(linked) == sorted(
        (begin.arguments["layer"], end.arguments["layer"]) for _, begin, end in trace.arrows
    )
    assert all(one == other for one, other in linked)


class Checkpointed(nn.Module):
    def __init__(self, inner, reentrant):
        super().__init__()
        self.inner, self.reentrant = inner, reentrant

    def forward(self, value):
        return checkpoint(self.inner, value, use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_shows_what_is_run_again_inside_of_the_backward(reentrant, tmp_path):
    module = nn.Sequential(Checkpointed(nn.Sequential(nn.Linear(8, 8), nn.Tanh()), reentrant), nn.Linear(8, 8))
    value = torch.ones(2, 8, requires_grad=True)
    probes = recorded(module, lambda: module(value).sum().backward())
    trace = checked(probes, tmp_path)
    assert own_of(trace) == own_of_table(again(probes))
    recomputed = [each for each in trace.slices if each.category == "recompute"]
    assert {each.name for each in recomputed} == {"0.inner", "0.inner.0", "0.inner.1"}
    for each in recomputed:
        assert any(one.category == "backward" for one in each.outer())
    assert arrows_of(trace).keys() >= {"0.inner.0", "0.inner.1", "1"}


def test_everything_at_once_adds_up(tmp_path):
    """Shared layers, both kinds of checkpointing, the second order, a step in a step, another thread."""
    shared = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
    module = nn.Sequential(
        nn.Sequential(shared), Checkpointed(shared, False), Checkpointed(nn.Tanh(), True), nn.Sequential(shared)
    )
    value = torch.ones(4, 8, requires_grad=True)

    def beside():
        shared(value).sum().backward()

    with pyprof.instrument(module, backward=True) as probes, probes.step():
        with probes.step():
            module(value).sum().backward()
        (gradient,) = torch.autograd.grad(shared(value).sum(), value, create_graph=True)
        gradient.square().sum().backward()
        thread = threading.Thread(target=beside)
        thread.start()
        thread.join()
    trace = checked(probes, tmp_path)
    own = Counter()
    for (path, _), nanoseconds in own_of(trace).items():
        own[path] += nanoseconds
    table = Counter()
    for layer in again(probes).layers:
        parts = (
            layer.own_forward_seconds,
            layer.recompute_seconds,
            layer.own_backward_seconds,
            layer.beside_seconds,
        )
        table[layer.path] += sum(round(seconds * 1e9) for seconds in parts if seconds)
    assert own == +table
    assert sorted(trace.threads.values()) == [
        "thread 1: step, forward, backward, recompute",
        "thread 2: forward, backward",
    ]
    assert sum(each.category == "step" for each in trace.slices) == 2


def test_threads_keep_their_own_nesting(tmp_path):
    model = bert()

    def work():
        model(TOKENS).last_hidden_state.sum().backward()

    with pyprof.instrument(model, backward=True) as probes, probes.step():
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    trace = checked(probes, tmp_path)
    calls = Counter(each.place for each in trace.slices if each.name == "BertModel" and each.category == "forward")
    assert list(calls.values()) == [1, 1, 1]
    for _, begin, end in trace.arrows:
        assert begin.place == end.place
    assert len(trace.threads) == 4


def test_only_the_last_step_is_written(tmp_path):
    module = nn.Sequential(nn.Tanh(), nn.ReLU())
    with pyprof.instrument(module) as probes:
        module(torch.ones(1))
        for count in (1, 3):
            with probes.step():
                for _ in range(count):
                    module(torch.ones(1))
        module(torch.ones(1))
    trace = checked(probes, tmp_path)
    assert [each.name for each in trace.slices] == ["step", *["Sequential", "0", "1"] * 3]


def test_without_a_step_everything_is_written(tmp_path):
    module = nn.Sequential(nn.Tanh())
    with pyprof.instrument(module) as probes:
        module(torch.ones(1))
        module(torch.ones(1))
    assert [each.name for each in checked(probes, tmp_path).slices] == ["Sequential", "0"] * 2


def test_stamps_without_room_are_said(tmp_path):
    module = nn.Sequential(*[nn.Tanh() for _ in range(20)])
    with pyprof.instrument(module, capacity=8) as probes, probes.step():
        module(torch.ones(1))
    assert "14 intervals of the recording found no room" in checked(probes, tmp_path).other["notes"][0]


def test_nothing_recorded_is_one_sentence(tmp_path):
    with pyprof.instrument(nn.Tanh()) as probes, pytest.raises(UsageError, match="nothing was recorded"):
        pyprof.write_trace(probes, tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


# Memory.

ALLOCATED, RESERVED = "allocated memory", "reserved memory"


class Known(nn.Module):
    """Allocates and frees what is known."""

    def forward(self):
        first = torch.empty(1000)
        second = torch.empty(500, dtype=torch.float64)
        del first
        return second


def followed(module, run, recorder="native"):
    run()
    with pyprof.instrument(module, backward=True, recorder=recorder) as probes, probes.step(memory=True):
        run()
    return probes


def test_memory_is_a_counter_of_every_allocation_and_free(recorder, tmp_path):
    module = nn.Sequential()
    module.append(Known())

    def run():
        module[0]()
        torch.empty(7, dtype=torch.int8)

    trace = checked(followed(module, run, recorder), tmp_path)
    assert trace.other["notes"] == []
    ((place, points),) = trace.counters.items()
    assert place == (1, ALLOCATED)
    assert [values["bytes"] for _, values in points] == [0, 4000, 8000, 4000, 0, 7, 0]
    moments = [moment for moment, _ in points]
    (known,) = (each for each in trace.slices if each.name == "0")
    slack = 0 if recorder == "native" else 100_000  # two clocks
    assert all(known.begin - slack <= moment <= known.end + slack for moment in moments[1:4])
    assert moments[5] >= known.end - slack


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_the_highest_point_is_the_peak_memory(mode, tmp_path):
    model = bert()

    def run():
        output = model(TOKENS).last_hidden_state
        if mode == "train":
            output.sum().backward()
        model.zero_grad(set_to_none=True)

    trace = checked(followed(model, run), tmp_path)
    highest = max(values["bytes"] for _, values in trace.counters[1, ALLOCATED])
    assert highest == HostDevice().peak_memory(run).peak


def test_only_a_step_that_was_followed_has_a_counter(tmp_path):
    module = nn.Sequential(nn.Tanh())
    with pyprof.instrument(module) as probes:
        with pytest.raises(RuntimeError, match="size"), probes.step(memory=True):
            module(torch.ones(2) + torch.ones(3))
        with probes.step(memory=True):
            module(torch.ones(1))
        assert checked(probes, tmp_path).counters
        with probes.step():
            module(torch.ones(1))
        assert not checked(probes, tmp_path).counters
        with probes.step(memory=True), probes.step():
            module(torch.ones(1))
        assert checked(probes, tmp_path).counters


def test_memory_cannot_be_followed_beside_torch_profiler():
    module = nn.Sequential(nn.Tanh())
    refused = pytest.raises(UsageError, match=r"torch\.profiler runs")
    with pyprof.instrument(module) as probes, torch.profiler.profile(), refused, probes.step(memory=True):
        module(torch.ones(1))
    with pyprof.instrument(module) as probes, probes.step(memory=True):
        module(torch.ones(1))


# By hand: what a host and a device did, to the nanosecond.

US = 1000
PATHS = ("", "a", "b")


def span(begin, end, layer, sequence=(0, 0), phase=FORWARD, thread=0):
    return (begin * US, end * US, *sequence, thread, layer, phase, -1, -1, 0)


def node(begin, end, sequence, task=1, thread=0, origin=7):
    return (begin * US, end * US, sequence, origin, 0, 0, thread, task, -1, -1)


def by_hand(spans, nodes=(), work=None, sites=(), memory=None):
    trace = Trace(np.array(list(spans), SPAN_DTYPE), np.array(list(nodes), NODE_DTYPE), np.array([7, 8], np.uint64), 0)
    facts = tuple(
        LayerFacts(path, "Net", "other", None if i == 0 else 0, 0, "replaced") for i, path in enumerate(PATHS)
    )
    return LastSteps(trace, facts, np.array(list(sites), SITE_DTYPE), work, memory=memory)


def drawn(trace):
    return [(each.name, each.category, each.begin // US, each.end // US) for each in trace.slices]


def test_backward_is_drawn_by_layer_and_goes_on_from_node_to_node():
    spans = [span(0, 100, STEP), span(0, 40, 0, (5, 20)), span(5, 15, 1, (6, 10)), span(20, 30, 2, (12, 18))]
    nodes = [node(41, 43, 30), node(50, 60, 19), node(60, 70, 15), node(70, 75, 12), node(76, 90, 7), node(92, 95, 5)]
    trace = viewer.check(export.document(by_hand(spans, nodes)))
    assert drawn(trace)[4:] == [
        ("outside of the layers", "backward", 41, 50),
        ("Net", "backward", 50, 95),
        ("b", "backward", 60, 76),
        ("a", "backward", 76, 92),
    ]
    assert [each.arguments.get("nodes") for each in trace.slices[4:]] == [1, 2, 2, 1]
    assert [(begin.name, end.name) for _, begin, end in trace.arrows] == [("Net", "Net"), ("a", "a"), ("b", "b")]


def test_backward_on_another_thread_is_linked_across():
    spans = [span(0, 100, STEP), span(0, 40, 0, (5, 20)), span(5, 15, 1, (6, 10))]
    trace = viewer.check(
        export.document(by_hand(spans, [node(50, 60, 7, thread=1), node(62, 65, 8, task=2, thread=1)]))
    )
    assert trace.threads == {(1, 1): "thread 1: step, forward", (1, 2): "thread 2: backward"}
    # Of two calls of backward: the time between them is nobody's.
    backward = [
        ("Net", "backward", 50, 60),
        ("a", "backward", 50, 60),
        ("Net", "backward", 62, 65),
        ("a", "backward", 62, 65),
    ]
    assert drawn(trace)[3:] == backward
    assert [(begin.place, end.place) for _, begin, end in trace.arrows] == [((1, 1), (1, 2))] * 2


def test_each_call_of_a_layer_is_linked_with_its_own_backward():
    spans = [span(0, 100, STEP), span(10, 20, 1, (5, 7)), span(30, 40, 1, (7, 9))]
    nodes = [node(50, 52, 8), node(52, 54, 7), node(54, 56, 6)]
    document = export.document(by_hand(spans, nodes))
    assert drawn(viewer.check(document))[3:] == [("a", "backward", 50, 56)]
    ends = defaultdict(dict)
    for event in document["traceEvents"]:
        if event["ph"] in "sf":
            ends[event["id"]][event["ph"]] = event["ts"]
    assert sorted(ends.values(), key=lambda each: each["s"]) == [{"s": 10, "f": 54}, {"s": 30, "f": 50}]


def test_a_part_that_is_run_again_has_its_backward_inside_of_the_node_that_asked():
    spans = [span(0, 30, 0, (5, 9)), span(5, 20, 1, (6, 6)), span(45, 55, 1, (40, 44), phase=RECOMPUTE)]
    trace = viewer.check(export.document(by_hand(spans, [node(40, 90, 7, task=1), node(60, 80, 42, task=2)])))
    assert drawn(trace)[2:] == [("Net", "backward", 40, 90), ("a", "recompute", 45, 55), ("a", "backward", 60, 80)]
    assert trace.slices[3].around is trace.slices[4].around is trace.slices[2]


ROOTS = [(0xFFFFFFFF, STEP, 0)] * 4
SITES = [*ROOTS, (1, 0, FORWARD), (4, 1, FORWARD), (4, 2, FORWARD)]  # 4: the whole, 5: a, 6: b


def device(operations, launches, **more):
    names = ("void at::native::gemm<float>(int)", "softmax")
    steps = [(0, 100 * US)]
    return DeviceRecords.of(operations, launches, steps=steps, names=names, **more), np.array([7, 8], np.uint64)


def work(begin, end, correlation, name=0, **more):
    return {"begin": begin * US, "end": end * US, "correlation": correlation, "name": name, "stream": 7, **more}


def launch(at, correlation, site, thread=0, phase=FORWARD):
    return {"begin": at * US, "correlation": correlation, "site": site, "thread": thread, "phase": phase}


def test_kernels_are_on_their_streams_with_an_arrow_from_their_launch():
    spans = [span(0, 100, STEP), span(0, 40, 0, (5, 20)), span(5, 15, 1, (6, 10)), span(20, 30, 2, (12, 18))]
    launches = [
        launch(6, 1, 5),
        launch(21, 2, 6),
        launch(52, 3, 6, thread=1, phase=BACKWARD),
        launch(150, 4, 5),
        launch(22, 6, 6, thread=0xFFFFFFFF),
    ]
    operations = [
        work(10, 30, 1),
        work(25, 45, 2, 1),  # overlaps on its stream
        work(60, 130, 3, stream=9, device=1),
        work(160, 170, 4),  # launched after the step
        work(70, 75, 5, kind=COPY),  # nobody saw its launch
        work(80, 85, 6),  # launched by a thread that was not watched
    ]
    nodes = [node(50, 60, 13, thread=1)]
    trace = viewer.check(export.document(by_hand(spans, nodes, device(operations, launches), SITES)))
    assert trace.processes == {1: "host: Net", 2: "device 0", 3: "device 1"}
    streams = {place: name for place, name in trace.threads.items() if place[0] > 1}
    assert streams == {(2, 1): "stream 7", (2, 2): "stream 7, overlapping (2)", (3, 1): "stream 9"}
    done = defaultdict(list)
    for each in trace.slices:
        if each.place[0] > 1:
            done[each.place].append((each.name, each.begin // US, each.end // US, each.arguments.get("layer")))
    assert done == {
        (2, 1): [("gemm", 10, 30, "a"), ("copy", 70, 75, None), ("gemm", 80, 85, "b")],
        (2, 2): [("softmax", 25, 45, "b")],
        (3, 1): [("gemm", 60, 130, "b")],
    }
    arrows = [(begin.name, begin.category, end.name) for name, begin, end in trace.arrows if name == "launch"]
    assert arrows == [("a", "forward", "gemm"), ("b", "forward", "softmax"), ("b", "backward", "gemm")]
    full = next(each for each in trace.slices if each.place == (3, 1)).arguments
    assert full == {"phase": "backward", "layer": "b", "kind": "other", "name": "void at::native::gemm<float>(int)"}


def test_what_a_graph_replays_is_of_the_layer_that_was_captured():
    operations = [work(20, 25, 1, node=11, graph=1), work(25, 40, 1, node=12, graph=1)]
    captured = [{"node": 11, "site": 5, "phase": FORWARD}, {"node": 12, "site": 6, "phase": BACKWARD}]
    records = device(operations, [launch(10, 1, 1)], nodes=captured)
    trace = viewer.check(export.document(by_hand([span(0, 100, STEP)], work=records, sites=SITES)))
    kernels = [each.arguments for each in trace.slices if each.category == "kernel"]
    assert [(each["layer"], each["phase"]) for each in kernels] == [("a", "forward"), ("b", "backward")]
    assert [(begin.name, end.begin // US) for _, begin, end in trace.arrows] == [("step", 20), ("step", 25)]


def sample(when, count, allocated, reserved=0, device=HOST):
    return when * US, count, allocated, reserved, device


def test_memory_of_each_device_is_a_counter_of_its_own():
    samples = [
        sample(-1, 10, 10),  # before the step's first stamp
        sample(20, 512, 1536, 4096, 1),
        sample(30, -10, 0),
        sample(40, -512, 1024, 4096, 1),
        sample(101, 1024, 2048, 8192, 0),
    ]
    memory = MemorySamples(np.array(samples, SAMPLE_DTYPE), lost=3)
    document = export.document(by_hand([span(0, 100, STEP)], memory=memory))
    trace = viewer.check(document)
    assert trace.processes == {1: "host: Net", 2: "device 0", 3: "device 1"}
    drawn = {
        place: [(moment // US, values["bytes"]) for moment, values in points]
        for place, points in trace.counters.items()
    }
    assert drawn == {
        (1, ALLOCATED): [(0, 0), (0, 10), (30, 0)],
        (3, ALLOCATED): [(0, 1024), (20, 1536), (40, 1024)],
        (3, RESERVED): [(20, 4096), (40, 4096)],
        (2, ALLOCATED): [(0, 1024), (100, 2048)],
        (2, RESERVED): [(100, 8192)],
    }
    assert trace.other["notes"] == ["the counter of memory stops early: allocations and frees that found no room: 3"]


# The check of the format can fail.


def count(ts, **more):
    return {"ph": "C", "name": "bytes", "pid": 1, "ts": ts, "args": {"live": 1}, **more}


def spoiled(document, spoil):
    document = copy.deepcopy(document)
    events = document["traceEvents"]
    spoil([event for event in events if event["ph"] == "X"], [event for event in events if event["ph"] in "sf"], events)
    return document


@pytest.mark.parametrize(
    ("message", "spoil"),
    [
        ("overlaps", lambda slices, arrows, events: slices[2].update(dur=1e6)),
        ("a negative time", lambda slices, arrows, events: slices[1].update(dur=-1)),
        ("a key is missing", lambda slices, arrows, events: slices[1].pop("pid")),
        ("not in order", lambda slices, arrows, events: events.reverse()),
        ("is no number", lambda slices, arrows, events: slices[0].update(ts="0")),
        ("no whole number of nanoseconds", lambda slices, arrows, events: slices[1].update(dur=0.00001)),
        ("an unknown phase", lambda slices, arrows, events: slices[0].update(ph="Z")),
        ("a thread without a name", lambda slices, arrows, events: slices[-1].update(tid=99)),
        ("without its other end", lambda slices, arrows, events: events.remove(arrows[0])),
        ("an arrow's end twice", lambda slices, arrows, events: events.append(arrows[0])),
        ("goes back in time", lambda slices, arrows, events: arrows[0].update(ts=99)),
        ("lies in no slice", lambda slices, arrows, events: arrows[-1].update(ts=1e6)),
        ("a thread named twice", lambda slices, arrows, events: events.insert(0, events[1])),
        ("a counter goes back", lambda slices, arrows, events: events.extend(count(ts) for ts in (2, 1))),
        ("a counter without a series", lambda slices, arrows, events: events.append(count(1, args={}))),
        ("value is no number", lambda slices, arrows, events: events.append(count(1, args={"live": "1"}))),
        ("value is no number", lambda slices, arrows, events: events.append(count(1, args={"live": 1e999}))),
        ("value is negative", lambda slices, arrows, events: events.append(count(1, args={"live": -1}))),
        ("a counter without a name", lambda slices, arrows, events: events.append(count(1, name=""))),
        ("of a process without a name", lambda slices, arrows, events: events.append(count(1, pid=7))),
        ("changes its series", lambda slices, arrows, events: events.extend((count(1), count(2, args={"b": 1})))),
    ],
)
def test_the_check_of_the_format_can_fail(message, spoil):
    spans = [span(0, 100, STEP), span(0, 40, 0, (5, 20)), span(5, 15, 1, (6, 10))]
    document = export.document(by_hand(spans, [node(50, 60, 7)]))
    viewer.check(document)
    with pytest.raises(viewer.FormatError, match=message):
        viewer.check(spoiled(document, spoil))


# The command line.


@pytest.mark.parametrize(("mode", "name"), [("infer", "out.json"), ("train", "out.json.gz")])
def test_profile_writes_a_step(capsys, tmp_path, mode, name):
    command = ["profile", "bert", "--size", "tiny", "--length", "16", "--seconds", "0.05", "--mode", mode, "--json"]
    assert main([*command, "--trace", str(tmp_path / name)]) == 0
    out, err = capsys.readouterr()
    layers = json.loads(out)["layers"]
    assert f"one step is in {tmp_path / name}" in err
    trace = viewer.read(tmp_path / name)
    called = {path for path, calls in zip(layers["path"], layers["calls"], strict=True) if calls}
    assert {each.arguments["layer"] for each in trace.slices if each.category == "forward"} == called
    assert bool(trace.arrows) == (mode == "train")
    assert trace.other["notes"] == []
    assert max(values["bytes"] for _, values in trace.counters[1, ALLOCATED]) > 0


@pytest.mark.slow
def test_a_step_of_bert_base(tmp_path):
    transformers = pytest.importorskip("transformers")
    model = transformers.BertModel(transformers.BertConfig())
    probes = followed(model, lambda: model(torch.arange(128)[None]).last_hidden_state.sum().backward())
    trace = checked(probes, tmp_path)
    assert len(trace.counters[1, ALLOCATED]) > 1000
    exact = own_of_table(again(probes))
    assert own_of(trace) == exact
    backward = {path for path, phase in exact if phase == "backward"}
    assert len(backward) > 100
    assert arrows_of(trace).keys() == backward
    assert (tmp_path / "out.json").stat().st_size < 1e6


@pytest.mark.parametrize("name", ["9" * 300, "9" * 300 + "/trace.json", "none/trace.json", ".", "mine.py"])
@pytest.mark.parametrize("option", ["--trace", "--nsys"])
def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(option, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pyprof.worker.profile_model.profile_model", None)
    (tmp_path / "mine.py").write_text("precious")
    assert main(["profile", "bert", "--size", "tiny", option, name]) == 2
    said = capsys.readouterr().err
    assert "cannot be written" in said
    assert said.count("\n") == 1
    assert len(said) < 400
    if name == "mine.py":
        kind = {"--trace": "a trace has a name that ends in .json or .json.gz"}
        assert kind.get(option, "a report of nsys has a name that ends in .nsys-rep") in said
        assert (tmp_path / "mine.py").read_text() == "precious"
