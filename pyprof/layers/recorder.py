"""The two recorders behind one contract: the native one, and a twin in plain Python that runs the same tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from pyprof.errors import UsageError
from pyprof.layers.adding_up import CallTree, Interval, Ranges, Stack
from pyprof.layers.trace import FORWARD, NODE_DTYPE, RECOMPUTE, SPAN_DTYPE, STEP

if TYPE_CHECKING:
    from pyprof import _native

RecorderName = Literal["native", "python"]
Forward = Callable[..., Any]


class Recorder(Protocol):
    """Adds up calls of layers, marked steps and backward nodes, thread by thread, and keeps the stamps of the last."""

    def probe(self, original: Forward, layer: int) -> Forward:
        """A callable that calls `original` and records the call as one of `layer`."""

    def silence(self, probe: Forward) -> None:
        """From now on the probe only calls on."""

    def begin(self, layer: int) -> Any:
        """Open a span of `layer` on this thread; what it returns closes the span."""

    def end(self, opened: Any) -> None:
        """Close the span."""

    def observe_backward(self) -> Callable[[], None]:
        """Record backward nodes from now on; call what it returns to stop."""

    def sums(self) -> dict[str, Any]:
        """All that has ended by now, together with the outermost interval around it, in the form of `Sums.of`."""

    def drain(self) -> dict[str, Any]:
        """The stamps of what has ended since the last call: spans, nodes, threads, dropped, as in `Trace`."""

    def places(self) -> tuple[object, object] | None:
        """What a log of a device's work takes, to ask what is open on a thread, and the clock; None for the twin."""


def make_recorder(
    name: RecorderName,
    *,
    backward: bool,
    capacity: int,
    device_clock: object = None,
    ranges: _native.LayerRanges | None = None,
) -> Recorder:
    """A recorder with room for the stamps of `capacity` spans and as many nodes on each thread, between two drains.

    What finds no room is added up all the same. `device_clock` stamps a device's stream beside the host's clock, and
    `ranges` says what NVTX ranges to open; only the native recorder can use them. Raises UsageError.
    """
    if capacity < 1:
        raise UsageError(
            f"a recorder needs room for at least one span, not {capacity}: leave capacity out for the default"
        )
    if name == "native":
        return NativeRecorder(backward, capacity, device_clock, ranges)
    if ranges is not None:
        raise UsageError("the recorder in Python opens no NVTX ranges: use recorder='native'")
    if device_clock is not None:
        raise UsageError("the recorder in Python cannot take a device's own times: use recorder='native'")
    return PythonRecorder(capacity)


class NativeRecorder:
    """The recorder of pyprof._native: stamps cost tens of nanoseconds."""

    def __init__(self, backward: bool, capacity: int, device_clock: object, ranges: _native.LayerRanges | None) -> None:
        from pyprof import _native

        self._native = _native
        self._recorder = _native.Recorder(
            backward=backward, spans=capacity, nodes=capacity, device=device_clock, ranges=ranges
        )
        self.probe = self._recorder.probe
        self.silence = _native.silence
        self.begin = self._recorder.begin
        self.end = self._recorder.end
        self.sums = self._recorder.sums
        self.drain = self._recorder.drain

    def places(self) -> tuple[object, object]:
        return self._recorder.places(), self._native.clock()

    def observe_backward(self) -> Callable[[], None]:
        # An observer observes as long as it lives, and the list is what keeps it alive.
        observer = [self._native.BackwardObserver(self._recorder)]
        return observer.clear


class _Buffer(threading.local):
    """One thread's open intervals and the stamps of those that have ended."""

    def __init__(self, recorder: PythonRecorder) -> None:
        self.stack = Stack(recorder.tree)
        self.ranges = Ranges()
        self.depth = 0  # of calls that are no step: a call in none is an outermost one
        self.stamps: list[list[int]] = []  # spans, in the order of beginning
        self.nodes: list[list[int]] = []
        self.published = 0  # spans before this one have all ended
        with recorder.lock:
            self.index = len(recorder.buffers)
            recorder.buffers.append(self.__dict__)
            # Stands in for autograd's own number: nodes only have to name the thread of the call that made them. The
            # system's number of a thread would not do, since one that has ended leaves it to another.
            recorder.numbers.append(self.index + 1)


class _Opened(NamedTuple):
    """A span that is open, and its stamps where there was room for them."""

    interval: Interval
    span: list[int] | None
    sequence: int


class PythonRecorder:
    """The same contract in plain Python.

    Backward nodes are found by walking the graph from the outputs of outermost calls, and those of the second order
    from the gradients of the first. What runs backward before the outermost call has returned is not seen.
    """

    def __init__(self, capacity: int) -> None:
        self.tree = CallTree()
        self.sums = self.tree.sums
        self.lock = threading.Lock()
        self.buffers: list[dict[str, Any]] = []
        self.numbers: list[int] = []
        self._capacity = capacity
        self._dropped = 0
        self._backward = False
        self._local = _Buffer(self)

    def probe(self, original: Forward, layer: int) -> Forward:
        return _PythonProbe(self, original, layer)

    def silence(self, probe: Forward) -> None:
        assert isinstance(probe, _PythonProbe)
        probe.silenced = True

    def begin(self, layer: int) -> _Opened:
        local = self._local
        phase = RECOMPUTE if torch._C._current_graph_task_id() != -1 else FORWARD
        sequence = torch._C._autograd._get_sequence_nr()
        interval = local.stack.begin(layer, phase, sequence, local.ranges)
        local.depth += layer != STEP
        span = None
        if len(local.stamps) < self._capacity:
            span = [0, 0, sequence, sequence, local.index, layer, phase, -1, -1, interval.site]
            local.stamps.append(span)
        else:
            self._dropped += 1
        interval.begin = time.perf_counter_ns()
        return _Opened(interval, span, sequence)

    def end(self, opened: _Opened) -> None:
        now = time.perf_counter_ns()
        local = self._local
        sequence = torch._C._autograd._get_sequence_nr()
        local.stack.end(opened.interval, now, sequence)
        local.depth -= opened.interval.is_call
        if opened.span is not None:
            opened.span[0], opened.span[1], opened.span[3] = opened.interval.begin, now, sequence
        if local.stack.is_idle:
            local.published = len(local.stamps)

    def observe_backward(self) -> Callable[[], None]:
        self._backward = True

        def stop() -> None:
            self._backward = False

        return stop

    def watch(self, opened: _Opened, output: Any) -> None:
        """Hook the nodes that a call has made.

        Only the outermost call does: its outputs lead to the nodes of all calls inside of it, and a node that was
        hooked by each of them would be recorded several times.
        """
        if self._backward and self._local.depth == 0:
            self._hook_all(output, opened.sequence)

    def _hook_all(self, output: Any, since: int) -> None:
        for node in _nodes_since(output, since):
            self._hook(node)

    def _hook(self, node: Any) -> None:
        maker, origin = self._local.ranges, self.numbers[self._local.index]
        number = node._sequence_nr()
        running: list[tuple[Interval, int, int]] = []

        def before(*_: Any) -> None:
            local = self._local
            task = torch._C._current_graph_task_id()
            sequence = torch._C._autograd._get_sequence_nr()
            interval = local.stack.begin_node(number, maker, task, sequence, local.ranges)
            running.append((interval, sequence, task))
            interval.begin = time.perf_counter_ns()

        def after(gradients: Any, _: Any) -> None:
            now = time.perf_counter_ns()
            local = self._local
            interval, first, task = running.pop()
            last = torch._C._autograd._get_sequence_nr()
            local.stack.end_node(interval, now, last)
            if len(local.nodes) < self._capacity:
                local.nodes.append([interval.begin, now, number, origin, first, last, local.index, task, -1, -1])
            else:
                self._dropped += 1
            if last > first and self._backward:
                self._hook_all(gradients, first)  # nodes of the second order

        node.register_prehook(before)
        node.register_hook(after)

    def places(self) -> None:
        return None

    def drain(self) -> dict[str, Any]:
        spans: list[tuple[int, ...]] = []
        nodes: list[tuple[int, ...]] = []
        with self.lock:
            for buffer in self.buffers:
                count, buffer["published"] = buffer["published"], 0
                spans.extend(tuple(span) for span in buffer["stamps"][:count])
                buffer["stamps"] = buffer["stamps"][count:]
                nodes.extend(tuple(node) for node in buffer["nodes"])
                buffer["nodes"] = []
            dropped, self._dropped = self._dropped, 0
            return {
                "spans": np.array(spans, SPAN_DTYPE),
                "nodes": np.array(nodes, NODE_DTYPE),
                "threads": np.array(self.numbers, np.uint64),
                "dropped": dropped,
            }


class _PythonProbe:
    def __init__(self, recorder: PythonRecorder, original: Forward, layer: int) -> None:
        self.__wrapped__ = original
        self._recorder = recorder
        self._layer = layer
        self.silenced = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.silenced:
            return self.__wrapped__(*args, **kwargs)
        opened = self._recorder.begin(self._layer)
        output = None
        try:
            output = self.__wrapped__(*args, **kwargs)
            return output
        finally:
            self._recorder.end(opened)
            self._recorder.watch(opened, output)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("an instrumented module cannot be copied or pickled: detach its probes first")


def _nodes_since(output: Any, sequence: int) -> Iterator[Any]:
    """All nodes of the graph behind a pytree of tensors that were made from that sequence number on."""
    pending = [leaf.grad_fn for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor)]
    seen: set[Any] = set()
    while pending:
        node = pending.pop()
        # A leaf's accumulation has no number of its own and reports the largest there is.
        if node is None or node in seen or not sequence <= node._sequence_nr() < 2**62:
            continue
        seen.add(node)
        yield node
        pending.extend(following for following, _ in node.next_functions)
