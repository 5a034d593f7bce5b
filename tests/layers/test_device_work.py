"""A device's work by layer, from records written by hand: every number is exact."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pyprof.errors import InvariantError
from pyprof.layers import device_work as dw
from pyprof.layers.adding_up import CallTree
from pyprof.layers.device_time import DeviceTime, Work, by_layer
from pyprof.layers.device_work import BACKWARD, COPY, FORWARD, MEMSET, RECOMPUTE, SECOND_ORDER, DeviceRecords, add_up
from pyprof.layers.sums import IN_STEP, UNMARKED

PATHS = ("", "a", "a.b", "c")
PARENTS = (None, 0, 1, 0)
ROOT, A, B, C = range(4)


class Places:
    """The places of a recording: the root calls `a`, which calls `a.b`, and `c`."""

    def __init__(self) -> None:
        self.tree = CallTree()
        self.root = self.tree.child(IN_STEP, ROOT, FORWARD)
        self.a = self.tree.child(self.root, A, FORWARD)
        self.b = self.tree.child(self.a, B, FORWARD)
        self.c = self.tree.child(self.root, C, FORWARD)
        self.again = self.tree.child(self.c, B, RECOMPUTE)

    def profile(self, *records: DeviceRecords) -> DeviceTime:
        sums = dw.DeviceSums.empty()
        for one in records:
            sums.add(add_up(one))
        time = by_layer(sums, self.tree.sums()["sites"], PATHS, range(4), PARENTS)
        time.self_check()
        return time


def kernel(begin: int, end: int, correlation: int, **more: int) -> dict[str, int]:
    return {"begin": begin, "end": end, "correlation": correlation, **more}


def launch(correlation: int, site: int, begin: int = 0, phase: int = FORWARD, **more: int) -> dict[str, int]:
    return {"correlation": correlation, "site": site, "begin": begin, "phase": phase, **more}


def nanoseconds(work: Work | None) -> int | None:
    return None if work is None else round(work.kernel_seconds * 1e9)


def of(time: DeviceTime, part: str) -> list[int | None]:
    return [nanoseconds(getattr(layer, part)) for layer in time.layers]


def test_kernels_belong_to_the_place_that_launched_them() -> None:
    places = Places()
    time = places.profile(
        DeviceRecords.of(
            [kernel(100, 103, 1), kernel(103, 110, 2), kernel(110, 121, 3), kernel(121, 138, 4)],
            [launch(1, places.root), launch(2, places.a), launch(3, places.b), launch(4, IN_STEP)],
        )
    )
    assert of(time, "own_forward") == [3, 7, 11, 0]
    assert of(time, "forward") == [21, 18, 11, 0]
    assert of(time, "backward") == [None] * 4
    assert nanoseconds(time.outside) == 17
    assert (time.total.kernels, time.total.launches) == (4, 4)
    assert [layer.forward.launches for layer in time.layers] == [3, 2, 1, 0]


def test_phases_are_apart() -> None:
    places = Places()
    time = places.profile(
        DeviceRecords.of(
            [kernel(0, 1, 1), kernel(1, 3, 2), kernel(3, 7, 3), kernel(7, 15, 4), kernel(15, 31, 5)],
            [
                launch(1, places.b),
                launch(2, places.b, phase=BACKWARD),
                launch(3, places.b, phase=SECOND_ORDER),
                launch(4, places.again, phase=RECOMPUTE),
                launch(5, places.c, phase=BACKWARD),
            ],
        )
    )
    assert of(time, "own_forward") == [0, 0, 1, 0]
    assert of(time, "own_backward") == [None, None, 6, 16]
    assert of(time, "second_order") == [None, None, 4, None]
    assert of(time, "recompute") == [None, None, 8, None]
    assert of(time, "backward") == [22, 6, 6, 16]
    assert of(time, "forward") == [1, 1, 1, 0]


def test_copies_and_memsets_are_told_apart_from_kernels() -> None:
    places = Places()
    time = places.profile(
        DeviceRecords.of(
            [kernel(0, 5, 1), kernel(5, 12, 2, kind=COPY), kernel(12, 14, 3, kind=MEMSET)],
            [launch(number, places.c) for number in (1, 2, 3)],
        )
    )
    work = time.layers[C].own_forward
    assert [round(value * 1e9) for value in (work.kernel_seconds, work.copy_seconds, work.memset_seconds)] == [5, 7, 2]
    assert (work.kernels, work.copies, work.memsets, work.launches) == (1, 1, 1, 3)
    assert work.seconds == pytest.approx(14e-9)


def test_with_marked_steps_only_what_they_launched_counts_and_figures_are_means() -> None:
    places = Places()
    time = places.profile(
        DeviceRecords.of(
            # The second kernel runs when its step has long ended; the third was launched between the steps.
            [kernel(110, 114, 1), kernel(390, 396, 2), kernel(350, 360, 3), kernel(420, 424, 4)],
            [launch(1, places.a, 105), launch(2, places.a, 190), launch(3, places.a, 250), launch(4, places.c, 410)],
            steps=[(100, 200), (400, 500)],
        )
    )
    assert time.steps == 2
    assert of(time, "own_forward") == [0, 5, 0, 2]
    assert time.layers[A].own_forward.kernels == 1
    assert time.layers[C].own_forward.kernels == 0.5
    assert time.layers[C].own_forward.launches == 0.5


def test_a_correlation_that_comes_again_is_that_of_the_last_launch_before() -> None:
    places = Places()
    launches = [
        launch(1, places.a, 10),
        launch(2, places.b, 20),
        launch(1, places.c, 1_010),  # the recorder has begun to count anew
        launch(2, places.root, 1_020),
        launch(3, places.c, 1_030),
    ]
    operations = [
        kernel(15, 18, 1),
        kernel(18, 25, 2),
        kernel(1_015, 1_026, 1),
        kernel(1_026, 1_039, 2),
        kernel(1_039, 1_056, 3),
        kernel(2, 8, 1),  # before its launch, as clocks may differ
        kernel(30, 33, 9),  # of no launch
    ]
    for _ in range(20):
        random.Random(_).shuffle(launches)
        random.Random(_).shuffle(operations)
        time = places.profile(DeviceRecords.of(operations, launches))
        assert of(time, "own_forward") == [13, 9, 7, 28]
        assert nanoseconds(time.unknown) == 3
    marked = places.profile(DeviceRecords.of(operations, launches, steps=[(1_000, 1_100)]))
    assert of(marked, "own_forward") == [13, 0, 0, 28]


def test_an_operation_without_a_launch_is_known_not_to_be_known() -> None:
    places = Places()
    records = DeviceRecords.of(
        [kernel(10, 14, 1), kernel(20, 26, 99), kernel(300, 301, 98)], [launch(1, places.a, 5)], steps=[(0, 100)]
    )
    time = places.profile(records)
    assert nanoseconds(time.unknown) == 6
    assert nanoseconds(time.total) == 10
    assert any("launch of 1 kernels a step (60.0% of the time) was not seen" in said for said in time.omissions())


def test_busy_time_is_a_union_over_the_streams_of_a_device() -> None:
    places = Places()
    time = places.profile(
        DeviceRecords.of(
            [
                kernel(10, 30, 1, stream=7),
                kernel(20, 40, 2, stream=8),
                kernel(25, 28, 3, stream=9),
                kernel(60, 70, 4, stream=7),
                kernel(0, 90, 5, device=1),
            ],
            [launch(number, places.a, begin) for number, begin in ((1, 1), (2, 2), (3, 3), (4, 50), (5, 0))],
            steps=[(0, 100)],
        )
    )
    first, second = time.devices
    assert (first.device, round(first.busy_seconds * 1e9), round(first.idle_seconds * 1e9)) == (0, 40, 60)
    assert (second.device, round(second.busy_seconds * 1e9), round(second.idle_seconds * 1e9)) == (1, 90, 10)
    assert time.busiest == second
    assert time.streams == 4


def test_launch_bound_is_the_idle_time_in_which_nothing_was_launched() -> None:
    places = Places()
    time = places.profile(
        DeviceRecords.of(
            # From 0 to 10 nothing was launched; from 20 to 25 the next one had been since 15; from 30 to 50 it hadn't;
            # after 60 there was nothing more.
            [kernel(10, 20, 1), kernel(25, 30, 2), kernel(50, 60, 3)],
            [launch(1, places.a, 5), launch(2, places.a, 15), launch(3, places.a, 45)],
            steps=[(0, 100)],
        )
    )
    only = time.devices[0]
    assert round(only.busy_seconds * 1e9) == 25
    assert round(only.idle_seconds * 1e9) == 75
    assert round(only.launch_bound_seconds * 1e9) == 10 + 20 + 40
    assert time.launch_bound_share == pytest.approx(0.7)


def test_a_step_that_is_not_waited_for_leaves_its_work_out_of_the_next_ones_idle_time() -> None:
    places = Places()
    time = places.profile(
        DeviceRecords.of(
            [kernel(10, 150, 1), kernel(150, 180, 2)],
            [launch(1, places.a, 5), launch(2, places.a, 105)],
            steps=[(0, 100), (100, 190)],
        )
    )
    assert round(time.busy_seconds * 2e9) == 170
    assert round(time.idle_seconds * 2e9) == 20


class TestGraphs:
    def test_replayed_kernels_find_the_layer_of_their_node_over_copies_of_copies(self) -> None:
        places = Places()
        captured = places.tree.child(UNMARKED, ROOT, FORWARD)
        a, c = (places.tree.child(captured, layer, FORWARD) for layer in (A, C))
        nodes = [
            {"node": 1, "site": a},
            {"node": 2, "site": c, "phase": BACKWARD},
            {"node": 3, "site": UNMARKED},
            *({"node": 10 + number, "source": number} for number in (1, 2, 3)),
            *({"node": 20 + number, "source": 10 + number} for number in (1, 2, 3)),
        ]
        replay = [kernel(0, 3, 9, node=21), kernel(3, 8, 9, node=22), kernel(8, 15, 9, node=23)]
        time = places.profile(DeviceRecords.of(replay, [launch(9, IN_STEP, 1)], nodes, steps=[(0, 100)]))
        assert of(time, "own_forward") == [0, 3, 0, 0]
        assert of(time, "own_backward") == [None, None, None, 5]
        assert nanoseconds(time.outside) == 7
        assert time.total.launches == 1
        assert time.unplaced == 0

    def test_a_graph_that_was_captured_unseen_belongs_to_the_layer_that_launches_it(self) -> None:
        places = Places()
        records = DeviceRecords.of(
            [kernel(0, 3, 9, node=21), kernel(5, 6, 8, node=22)], [launch(9, places.b, 1), launch(8, IN_STEP, 2)]
        )
        time = places.profile(records)
        assert of(time, "own_forward") == [0, 0, 3, 0]
        assert nanoseconds(time.outside) == 1
        assert time.unplaced == 1
        assert any("captured before the probes were attached" in said for said in time.omissions())

    def test_a_number_that_is_used_again_has_its_last_place(self) -> None:
        places = Places()
        nodes = [{"node": 1, "site": places.a}, {"node": 2, "source": 1}, {"node": 1, "site": places.c}]
        nodes += [{"node": 2, "source": 1}, {"node": 3, "source": 77}]
        time = places.profile(
            DeviceRecords.of([kernel(0, 3, 9, node=2), kernel(3, 4, 9, node=3)], [launch(9, IN_STEP)], nodes)
        )
        assert of(time, "own_forward") == [0, 0, 0, 3]
        assert time.unplaced == 1

    def test_a_replay_whose_launch_is_lost_still_has_its_layers(self) -> None:
        places = Places()
        nodes = [{"node": 1, "site": places.a}]
        time = places.profile(DeviceRecords.of([kernel(10, 13, 9, node=1)], [], nodes, steps=[(0, 100)]))
        assert of(time, "own_forward") == [0, 3, 0, 0]
        assert nanoseconds(time.unknown) == 0


def test_order_and_parts_change_nothing() -> None:
    places = Places()
    chance = random.Random(3)
    sites = [places.root, places.a, places.b, places.c, IN_STEP]
    begins = np.cumsum([chance.randrange(1, 9) for _ in range(400)]).tolist()
    rows = [
        (
            kernel(begin, begin + chance.randrange(20), number, stream=chance.randrange(3), device=chance.randrange(2)),
            launch(number, chance.choice(sites), begin - 1, chance.randrange(2) * BACKWARD),
        )
        for number, begin in enumerate(begins, 1)
    ]

    def shuffled(some: list[Any]) -> list[Any]:
        return chance.sample(some, len(some))

    whole = places.profile(DeviceRecords.of([row[0] for row in rows], [row[1] for row in rows]))
    mixed = places.profile(DeviceRecords.of(shuffled([row[0] for row in rows]), shuffled([row[1] for row in rows])))
    assert whole == mixed
    parts = [rows[:100], rows[100:]]
    apart = places.profile(*(DeviceRecords.of([row[0] for row in part], [row[1] for row in part]) for part in parts))
    assert [apart.layers, apart.outside, apart.total] == [whole.layers, whole.outside, whole.total]


def test_clocks_that_disagree_are_said() -> None:
    places = Places()
    launches = [launch(1, places.a, 5_000_000), launch(2, places.b, 6_000_000)]
    off = DeviceRecords.of(
        [kernel(3_900_000, 3_900_030, 1), kernel(6_000_100, 6_000_200, 2)], launches, steps=[(0, 10**8)]
    )
    time = places.profile(off)
    assert time.early == 1
    assert time.omissions() == (
        "1 operations a step began before their launch, so the clocks of host and device disagree: how long the device "
        "was busy or idle is not to be trusted",
    )
    assert of(time, "own_forward") == [0, 30, 100, 0]
    near = DeviceRecords.of([kernel(4_100_000, 4_100_030, 1), kernel(6_000_100, 6_000_200, 2)], launches)
    assert places.profile(near).omissions() == ()


def test_what_is_lost_is_said() -> None:
    records = replace(DeviceRecords.of(), lost=3, lost_launches=1)
    time = by_layer(add_up(records), Places().tree.sums()["sites"], PATHS, range(4), PARENTS)
    assert [said.split(" ", 1)[0] for said in time.omissions()] == ["3", "1"]
    assert time.busy_seconds == time.launch_bound_share == 0


def test_the_check_finds_work_that_is_missing() -> None:
    places = Places()
    sums = add_up(DeviceRecords.of([kernel(0, 3, 1), kernel(4, 9, 2)], [launch(1, places.a), launch(2, places.c)]))
    sums.work[places.a] = 0
    with pytest.raises(InvariantError, match="kernel_seconds sum to 5e-09"):
        by_layer(sums, places.tree.sums()["sites"], PATHS, range(4), PARENTS).self_check()


def test_kernels_are_summed_by_name_longest_first() -> None:
    places = Places()
    names = ["void at::native::vectorized_elementwise_kernel<4, at::native::GeluCUDAKernelImpl(int)>(int)", "gemm_x"]
    time = places.profile(
        DeviceRecords.of(
            [kernel(0, 3, 1, name=0), kernel(3, 10, 2, name=1), kernel(10, 12, 3, name=0), kernel(12, 13, 4)],
            [launch(number, places.a) for number in range(1, 5)],
            names=names,
        )
    )
    assert [(one.short, round(one.seconds * 1e9), one.count) for one in time.kernels] == [
        ("gemm_x", 7, 1),
        ("vectorized_elementwise_kernel<GeluCUDAKernelImpl>", 5, 2),
        ("unknown", 1, 1),
    ]
