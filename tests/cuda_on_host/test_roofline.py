"""The roofline of docs/cuda.md: it is what the bench computes, and the bench counts what the kernels execute."""

from __future__ import annotations

import importlib.util
import sys

import pytest
from building import COMPILER, NO_COMPILER, PLAIN, ROOT, run

FLOPS_OF_A_PRODUCT = 2 * 16 * 8 * 16  # m16n8k16


@pytest.fixture(scope="module")
def roofline():
    sys.path.insert(0, str(ROOT / "bench"))
    spec = importlib.util.spec_from_file_location("roofline", ROOT / "bench/roofline.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["roofline"] = module
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(ROOT / "bench"))
    del sys.modules["roofline"]


def test_the_table_of_the_docs_is_what_the_bench_computes(roofline):
    assert roofline.markdown(roofline.table()) in (ROOT / "docs/cuda.md").read_text()


@pytest.mark.parametrize(("length", "window"), [(1, 0), (40, 3), (100, 64), (33, 500)])
def test_pairs(roofline, length, window):
    shape = roofline.Shape(length, window, batch=2, heads=3)
    rows = range(length)
    assert shape.pairs() == 6 * sum(abs(i - j) <= window for i in rows for j in rows)
    touched = {(i // 16, j // 16) for i in rows for j in rows if abs(i - j) <= window}
    assert shape.executed_pairs() == 6 * 256 * len(touched)


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason=NO_COMPILER)
@pytest.mark.parametrize(("length", "window"), [(64, 0), (200, 16), (130, 50), (70, 128), (420, 150)])
def test_executed_flops_are_those_of_the_kernels(roofline, workshop, length, window):
    shape = roofline.Shape(length, window, heads=2)
    case = f"type=bfloat16 length={length} left={window} right={window} heads=2 head_dim=64"
    for backward, kernels in (("0", roofline.FORWARD), ("1", roofline.FORWARD + roofline.BACKWARD)):
        done = run(workshop.program("mma", PLAIN), [f"{case} backward={backward}"])
        words = done.stdout.split()
        products = int(words[words.index("products") + 1])
        assert products * FLOPS_OF_A_PRODUCT == sum(kernel.flops(shape) for kernel in kernels)
