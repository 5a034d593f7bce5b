"""Attribution on traces written by hand: every number is exact."""

from __future__ import annotations

import numpy as np
import pytest

from pyprof.errors import InvariantError
from pyprof.layers.profile import LayerFacts, Profile, assemble
from pyprof.layers.replay import Replay
from pyprof.layers.trace import FORWARD, NODE_DTYPE, RECOMPUTE, SPAN_DTYPE, STEP, Trace

MS = 1_000_000


def span(begin, end, layer, sequence=(0, 0), phase=FORWARD, thread=0):
    return (begin * MS, end * MS, *sequence, thread, layer, phase, -1, -1, 0)


def node(begin, end, sequence, task=1, thread=0, origin=7, made=(0, 0)):
    return (begin * MS, end * MS, sequence, origin, *made, thread, task, -1, -1)


def added_up(spans, nodes=(), threads=(7, 8)):
    replay = Replay()
    replay.add(
        Trace(np.array(list(spans), SPAN_DTYPE), np.array(list(nodes), NODE_DTYPE), np.array(threads, np.uint64), 0)
    )
    return replay.sums()


def profile_of(spans, nodes=(), layers=("", "a", "b"), threads=(7, 8)):
    facts = [LayerFacts(path, "Module", "other", None if i == 0 else 0, 0, "replaced") for i, path in enumerate(layers)]
    profile = assemble(added_up(spans, nodes, threads), facts)
    profile.self_check(1e-9)
    return profile


def milliseconds(profile: Profile, name: str):
    values = [getattr(layer, name) for layer in profile.layers]
    return [None if value is None else pytest.approx(value * 1e3) for value in values]


def test_own_time_is_total_less_children():
    profile = profile_of([span(0, 100, 0), span(10, 30, 1), span(40, 90, 2)])
    assert milliseconds(profile, "forward_seconds") == [100, 20, 50]
    assert milliseconds(profile, "own_forward_seconds") == [30, 20, 50]
    assert milliseconds(profile, "backward_seconds") == [None, None, None]


def test_a_step_holds_its_outside():
    profile = profile_of([span(0, 130, STEP), span(10, 110, 0), span(20, 40, 1)])
    assert profile.step_seconds == pytest.approx(0.130)
    assert profile.outside_seconds == pytest.approx(0.030)
    assert milliseconds(profile, "own_forward_seconds") == [80, 20, None]


def test_several_steps_are_averaged_and_what_lies_outside_of_them_is_left_out():
    warm_up = [span(0, 500, 0)]
    profile = profile_of([*warm_up, span(600, 700, STEP), span(600, 690, 0), span(800, 860, STEP), span(800, 850, 0)])
    assert profile.steps == 2
    assert profile.layers[0].calls == 1
    assert milliseconds(profile, "forward_seconds")[0] == 70
    assert profile.step_seconds == pytest.approx(0.080)


def test_backward_nodes_go_to_the_innermost_call_of_their_number():
    spans = [span(0, 100, STEP), span(0, 40, 0, (5, 20)), span(5, 15, 1, (6, 10)), span(20, 30, 2, (12, 18))]
    nodes = [node(41, 43, 30), node(50, 60, 19), node(60, 70, 15), node(70, 75, 12), node(76, 90, 7), node(92, 95, 5)]
    profile = profile_of(spans, nodes)
    # The gap 75 to 76 is the doing of node 12, the one from 90 to 92 of node 7; from 43 to 50 of the loss, which no
    # layer owns.
    assert milliseconds(profile, "own_backward_seconds") == [10 + 3, 16, 16]
    assert milliseconds(profile, "backward_seconds") == [45, 16, 16]
    assert profile.outside_seconds == pytest.approx(0.001 + 0.009 + 0.005)


def test_of_two_calls_with_the_same_numbers_the_inner_one_owns_the_node():
    profile = profile_of([span(0, 10, 0, (5, 9)), span(1, 9, 1, (5, 9))], [node(20, 23, 6)])
    assert milliseconds(profile, "own_backward_seconds") == [None, 3, None]
    assert milliseconds(profile, "backward_seconds") == [3, 3, None]


def test_an_accumulation_goes_with_the_node_before_it():
    spans = [span(0, 10, 0, (5, 9)), span(1, 4, 1, (5, 7)), span(5, 9, 2, (7, 9))]
    profile = profile_of(spans, [node(20, 21, 8), node(21, 25, -1), node(25, 28, 6), node(28, 29, -1)])
    assert milliseconds(profile, "own_backward_seconds") == [None, 4, 5]


def test_numbers_of_another_thread_are_not_mixed_up():
    spans = [span(0, 10, 0, (5, 9)), span(0, 10, 1, (5, 9), thread=1)]
    profile = profile_of(spans, [node(20, 24, 6, origin=7), node(24, 30, 6, origin=8)])
    assert milliseconds(profile, "own_backward_seconds") == [4, 6, None]


def test_the_gap_between_two_backward_calls_belongs_to_nobody():
    profile = profile_of([span(0, 10, 0, (5, 9))], [node(20, 24, 6, task=1), node(44, 50, 6, task=2)])
    assert milliseconds(profile, "own_backward_seconds")[0] == 10
    assert profile.step_seconds == pytest.approx(0.020)


def test_recomputation_is_told_apart():
    spans = [
        span(0, 100, STEP),
        span(0, 30, 0, (5, 9)),
        span(5, 20, 1, (6, 8)),
        span(50, 60, 1, (40, 44), phase=RECOMPUTE),
    ]
    profile = profile_of(spans, [node(40, 45, 8), node(45, 80, 7)])
    assert profile.layers[1].calls == 1
    assert milliseconds(profile, "own_forward_seconds") == [15, 15, None]
    assert milliseconds(profile, "recompute_seconds") == [None, 10, None]
    assert milliseconds(profile, "own_backward_seconds") == [5, 25, None]


def test_backward_inside_of_a_recomputed_part_counts_for_the_caller():
    """Re-entrant checkpointing: the node of the checkpoint runs the part again and then its backward, all inside of
    itself.
    """
    spans = [span(0, 30, 0, (5, 9)), span(5, 20, 1, (6, 6)), span(45, 55, 1, (40, 44), phase=RECOMPUTE)]
    profile = profile_of(spans, [node(40, 90, 7, task=1), node(60, 80, 42, task=2)])
    assert milliseconds(profile, "own_backward_seconds") == [20, 20, None]
    assert milliseconds(profile, "backward_seconds") == [40, 20, None]
    assert milliseconds(profile, "recompute_seconds") == [None, 10, None]


def test_a_part_recomputed_on_another_thread_counts_for_the_layers_around_the_checkpoint():
    """The forward ran on the second thread that was seen, the backward on the first."""
    spans = [
        span(0, 30, 0, (5, 9), thread=1),
        span(2, 28, 2, (5, 9), thread=1),
        span(5, 20, 1, (6, 6), thread=1),
        span(45, 55, 1, (40, 44), phase=RECOMPUTE),
    ]
    profile = profile_of(spans, [node(40, 90, 7, task=1, origin=8), node(60, 80, 42, task=2)])
    assert milliseconds(profile, "own_backward_seconds") == [None, 20, 20]
    assert milliseconds(profile, "backward_seconds") == [40, 20, 40]


def test_a_layer_that_calls_itself_is_counted_once():
    profile = profile_of([span(0, 100, 0), span(10, 60, 1), span(20, 40, 1)])
    assert profile.layers[1].calls == 2
    assert milliseconds(profile, "forward_seconds") == [100, 50, None]
    assert milliseconds(profile, "own_forward_seconds") == [50, 50, None]


def test_a_module_that_is_never_called_shows_the_sum_of_its_children():
    facts = [
        LayerFacts("", "Model", "other", None, 0, "replaced"),
        LayerFacts("list", "ModuleList", "other", 0, 0, "skipped: has no forward of its own"),
        LayerFacts("list.0", "Linear", "other", 1, 3, "replaced"),
    ]
    profile = assemble(added_up([span(0, 10, 0), span(2, 8, 2)]), facts)
    assert profile.layers[1].calls == 0
    assert milliseconds(profile, "forward_seconds") == [10, 6, 6]


def test_self_check_tells_a_contradiction():
    profile = profile_of([span(0, 100, 0), span(10, 30, 1)])
    wrong = Profile(profile.layers, 0, profile.step_seconds * 1.05, 0.0, 2, 0, 0)
    with pytest.raises(InvariantError, match="sum to"):
        wrong.self_check()
