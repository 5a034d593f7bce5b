from __future__ import annotations

import pytest

from pyprof.analysis.layer_tree import layer_lines, unprobed
from pyprof.layers.profile import LayerCost, Profile


def layer(index: int, parent: int | None, path: str, own: float, **changes: object) -> LayerCost:
    values: dict[str, object] = {
        "type": "Linear",
        "kind": "feedforward",
        "calls": 1,
        "parameters": 10,
        "forward_seconds": own,
        "own_forward_seconds": own,
        "backward_seconds": None,
        "own_backward_seconds": None,
        "recompute_seconds": None,
        "attached": "replaced",
    }
    return LayerCost(index=index, parent=parent, path=path, **(values | changes))  # type: ignore[arg-type]


def profile(*layers: LayerCost, step: float = 10.0) -> Profile:
    return Profile(layers, 1, step, 0.0, 5, 0, 0)


def stack(blocks: int) -> Profile:
    """A root with a list of blocks of one linear layer each; the i-th takes i + 1 seconds."""
    layers = [
        layer(0, None, "", 0.0, type="Model", parameters=0, forward_seconds=10.0),
        layer(1, 0, "layers", 0.0, type="ModuleList", parameters=0, calls=0, forward_seconds=10.0),
    ]
    for block in range(blocks):
        index = 2 + 2 * block
        layers.append(layer(index, 1, f"layers.{block}", 0.5, type="Block", parameters=0, forward_seconds=block + 1.5))
        layers.append(layer(index + 1, index, f"layers.{block}.dense", block + 1.0))
    return profile(*layers)


def test_alike_neighbours_share_a_line_of_means() -> None:
    lines = layer_lines(stack(4))
    assert [(line.depth, line.name, line.last, line.beside) for line in lines] == [
        (0, "", None, 1),
        (1, "layers", None, 1),
        (2, "0", "3", 4),
        (3, "dense", None, 1),
    ]
    block, dense = lines[2:]
    assert (block.own_forward_seconds, dense.own_forward_seconds) == (0.5, 2.5)
    assert (block.repeats, dense.repeats) == (4, 4)
    assert dense.share == pytest.approx((1 + 2 + 3 + 4) / 10)
    assert block.share == pytest.approx(dense.share + 4 * 0.5 / 10)
    assert (block.parameters, lines[0].parameters) == (10, 40)


def test_own_shares_sum_to_the_same_folded_and_expanded() -> None:
    folded, expanded = layer_lines(stack(4)), layer_lines(stack(4), fold=False)
    assert len(expanded) == 2 + 2 * 4
    assert sum(line.own_share for line in folded) == pytest.approx(sum(line.own_share for line in expanded))


def test_two_blocks_are_not_worth_folding() -> None:
    assert len(layer_lines(stack(2))) == 2 + 2 * 2


def test_blocks_that_differ_below_stay_apart() -> None:
    layers = list(stack(4).layers)
    layers[5] = layer(5, 4, "layers.1.dense", 2.0, parameters=11)
    names = [(line.name, line.last) for line in layer_lines(profile(*layers)) if line.depth == 2]
    assert names == [("0", None), ("1", None), ("2", None), ("3", None)]


def test_named_siblings_are_never_folded() -> None:
    heads = [layer(n, 0, name, 1.0) for n, name in enumerate(("query", "key", "value", "output"), 1)]
    assert len(layer_lines(profile(layer(0, None, "", 0.0), *heads))) == 5


def test_folding_reaches_into_folded_blocks() -> None:
    layers = [layer(0, None, "", 0.0)]
    for stage in range(3):
        layers.append(layer(len(layers), 0, f"{stage}", 0.0, type="Stage"))
        above = len(layers) - 1
        layers += [layer(above + 1 + block, above, f"{stage}.{block}", 1.0) for block in range(3)]
    lines = layer_lines(profile(*layers))
    assert [(line.beside, line.repeats) for line in lines] == [(1, 1), (3, 3), (3, 9)]
    assert lines[2].share == pytest.approx(0.9)


def test_backward_and_recomputation_count_to_the_share() -> None:
    one = layer(0, None, "", 1.0, backward_seconds=3.0, own_backward_seconds=2.0, recompute_seconds=0.5)
    (line,) = layer_lines(profile(one))
    assert line.share == line.own_share == pytest.approx(0.35)
    assert (line.backward_seconds, line.recompute_seconds) == (3.0, 0.5)


def test_experts_share_a_line_with_the_mean_of_their_calls() -> None:
    experts = [layer(1 + expert, 0, str(expert), 1.0, calls=calls) for expert, calls in enumerate((0.25, 0.5, 0.75))]
    lines = layer_lines(profile(layer(0, None, "", 0.0), *experts))
    assert [(line.beside, line.calls) for line in lines] == [(1, 1), (3, 0.5)]
    experts[1] = layer(2, 0, "1", 0.0, calls=0)
    assert len(layer_lines(profile(layer(0, None, "", 0.0), *experts))) == 4


def test_what_ran_beside_the_step_is_no_part_of_its_shares() -> None:
    (line,) = layer_lines(profile(layer(0, None, "", 1.0, beside_seconds=4.0, second_order_seconds=0.5)))
    assert (line.share, line.beside_seconds, line.second_order_seconds) == (0.1, 4.0, 0.5)


def test_layers_without_a_probe_are_named_where_they_hold_parameters() -> None:
    found = unprobed(
        profile(
            layer(0, None, "", 0.0, type="Model", attached="hooked", parameters=0),
            layer(1, 0, "layers", 0.0, attached="skipped: has no forward of its own", parameters=0),
            layer(2, 0, "script", 0.0, attached="skipped: inside TorchScript"),
        )
    )
    assert found == {"hooked": ("Model",), "skipped: inside TorchScript": ("script",)}
