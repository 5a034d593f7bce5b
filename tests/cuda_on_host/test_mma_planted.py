"""Planted bugs in the tensor-core kernels: the cases of test_mma_kernels have to find each of them."""

from __future__ import annotations

import pytest
from building import ASAN, COMPILER, NO_COMPILER, TSAN
from planted import Bug, survives
from test_mma_kernels import SMALL

pytestmark = [pytest.mark.slow, pytest.mark.skipif(COMPILER is None, reason=NO_COMPILER)]

TILE, FORWARD, BACKWARD = "mma_tile.cuh", "mma_forward.cuh", "mma_backward.cuh"
SYNC_OF_A_STAGE = "    gpu::sync_threads();  // the next stage is visible to all, and this one is free\n    load_stage("

BUGS = [
    # The band.
    Bug("the band begins a key early", TILE, "other - mine + before)", "other - mine + before + 1)"),
    Bug("the band ends a key early", TILE, "<= static_cast<uint32_t>(width)", "< static_cast<uint32_t>(width)"),
    Bug("the key length is ignored in the last group", TILE, " && other < columns;", ";"),
    Bug("a group counts as whole too early", TILE, "first + count <= end;", "first + count <= end + 1;"),
    Bug("the last row's group is lost", TILE, "first + count - 1 : rows - 1", "first + count - 2 : rows - 1"),
    Bug("the last stage is lost", TILE, "(columns.end - start + width - 1) / width", "(columns.end - start) / width"),
    Bug("the last group is lost", TILE, "high + kGroup - 1 :", "high :"),
    Bug("the first group is lost", TILE, "? low / kGroup : 0", "? (low + kGroup - 1) / kGroup : 0"),
    Bug("stages begin between groups", TILE, "start(columns.begin / kGroup * kGroup)", "start(columns.begin)"),
    Bug(
        "left is taken for right", BACKWARD, "{p.shape.right, p.shape.left, keys", "{p.shape.left, p.shape.right, keys"
    ),
    Bug("a pass does a group too many", FORWARD, "g + 1 < groups.end ? 2 : 1", "2"),
    # Tiles and fragments.
    Bug("swizzles disagree", TILE, "return place ^ (2 * kChunk * k);", "return place + 2 * kChunk * k;"),
    Bug(
        "fragments are swapped",
        TILE,
        "columns + step(own, k));\n    const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};",
        "columns + step(own, k));\n    const uint32_t low[2] = {b[0], b[2]}, high[2] = {b[1], b[3]};",
    ),
    Bug("an operand's quarters are swapped", TILE, "d[i / 2][i % 2 * 2], d[i / 2]", "d[i % 2][i / 2 * 2], d[i / 2]"),
    Bug("a tile isn't transposed", TILE, "gpu::load_matrices_transposed(b,", "gpu::load_matrices(b,"),
    Bug(
        "rows past the end are read",
        TILE,
        "const bool valid = wanted.holds(index);",
        "const bool valid = true || wanted.holds(index);",
    ),
    Bug(
        "rows past the end are written",
        TILE,
        "if (first + row >= end) continue;",
        "if (first + row >= end + kRows) continue;",
        ASAN,
    ),
    Bug("a head's stride is a row's", TILE, "head * tensor.strides.head", "head * tensor.strides.row"),
    Bug(
        "rows of other lanes are stored too early",
        TILE,
        "  gpu::sync_warp();\n  PYPROF_UNROLL for (int i",
        "  PYPROF_UNROLL for (int i",
        TSAN,
    ),
    # Softmax and its statistics.
    Bug("sums aren't scaled to a larger score", FORWARD, "sums[n][i] *= shrink[i / 2];", ";"),
    Bug("the total isn't scaled to a larger score", FORWARD, "total[half] *= shrink[half];", ""),
    Bug("rows that saw nothing yet", FORWARD, "raised == -kInfinity ? 0.0f : raised", "raised"),
    Bug("a log-sum-exp in powers of two", FORWARD, "+ gpu::log2(all)) * kLn2", "+ gpu::log2(all))"),
    Bug(
        "heads of a group read another key",
        FORWARD,
        "place.head / (p.shape.heads / p.shape.key_heads)",
        "place.head % p.shape.key_heads",
    ),
    Bug(
        "the wrong sign of the log-sum-exp's gradient",
        BACKWARD,
        "delta - p.grad_lse[place]",
        "delta + p.grad_lse[place]",
    ),
    Bug("the wrong sign of delta", BACKWARD, "(upstream - statistics[i / 2].y)", "(upstream + statistics[i / 2].y)"),
    Bug("delta misses half a row", BACKWARD, "int mask = kLanes / 2;", "int mask = kLanes / 4;"),
    Bug("statistics past the end are read", BACKWARD, "if (mine < p.padded)", "", ASAN),
    # Gradients.
    Bug(
        "dropout's scale is missing for the key",
        BACKWARD,
        "(kept[n] >> i & 1) != 0 ? upstream * p.shape.dropout.scale",
        "(kept[n] >> i & 1) != 0 ? upstream",
    ),
    Bug("dropout's scale is missing for the value", BACKWARD, "valid ? p.shape.dropout.scale", "valid ? 1.0f"),
    Bug(
        "the scale is missing for the query",
        BACKWARD,
        "factor[2] = {p.shape.scale, p.shape.scale}",
        "factor[2] = {1.0f, 1.0f}",
    ),
    Bug("keys that take no part get a gradient", BACKWARD, "+ 8 * half < keys;", "+ 8 * half < p.shape.length;"),
    Bug("only the first head of a group counts", BACKWARD, "? begin.head + group :", "? begin.head + 1 :"),
    Bug("the next head begins where the last one ended", BACKWARD, "    column = start;\n", ""),
    # Dropout.
    Bug("lanes of a quad draw the same", TILE, "  kept >>= 2 * odd;\n", ""),
    Bug("keys of a quad draw the same", TILE, "  kept >>= own;\n", ""),
    # Stages.
    Bug("a stage is read before it is there", FORWARD, "gpu::copy_wait<0>();", "gpu::copy_wait<1>();"),
    Bug("the first stage is read before it is there", FORWARD, "gpu::copy_wait<1>();", "gpu::copy_wait<2>();"),
    Bug(
        "the other stage is read",
        FORWARD,
        "const T* const tile = ring + stage % 2",
        "const T* const tile = ring + (stage + 1) % 2",
    ),
    Bug(
        "statistics of both stages share a place",
        BACKWARD,
        "statistics_ring + slot * kWidth + pair,",
        "statistics_ring + pair,",
    ),
    Bug("a stage is overwritten while it is read", FORWARD, SYNC_OF_A_STAGE, "    load_stage(", TSAN),
    Bug(
        "a stage of queries is overwritten while it is read",
        BACKWARD,
        SYNC_OF_A_STAGE + "ahead",
        "    load_stage(ahead",
        TSAN,
    ),
    Bug(
        "a stage of keys is overwritten while it is read",
        BACKWARD,
        SYNC_OF_A_STAGE + "stage",
        "    load_stage(stage",
        TSAN,
    ),
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "-"))
def test_planted_bugs_are_found(workshop, tmp_path, bug):
    assert not survives(bug, workshop, "mma_small", SMALL, tmp_path)
