"""What differs on a device: what models are of by default, and how large the work is that fills it."""

from __future__ import annotations

import pytest

from pyprof.cli.main import build_parser
from pyprof.device import of
from pyprof.records.case import DTYPES


def test_a_card_takes_bfloat16_and_work_that_fills_it() -> None:
    host, card = of("cpu"), of("cuda:1")
    assert (host.usual_dtype, card.usual_dtype) == ("float32", "bfloat16")
    assert (host.filling_size, card.filling_size) == (1024, 8192)
    assert {host.usual_dtype, card.usual_dtype} <= set(DTYPES)


@pytest.mark.parametrize("command", ["profile", "overhead"])
def test_every_dtype_can_be_asked_for(command: str) -> None:
    for dtype in DTYPES:
        assert build_parser().parse_args([command, "bert", "--dtype", dtype]).dtype == dtype
