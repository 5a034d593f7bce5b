from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from pyprof.analysis.noise import SLOW, RunNoise, SlowCase, run_noise
from pyprof.records.case import Case
from pyprof.records.noise import Noise
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.rounds import Rounds

MS = 1_000_000


def record(length: int, environment: str = "here", dtype: str = "float32", **taken: Any) -> Record:
    """A case with rounds of its own unless they are named; nothing is known of them where nothing is given."""
    case = Case("bert", length, dtype=dtype)
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in taken.items()}
    if isinstance(values.get("noise"), dict):
        values["noise"] = Noise(**{"samples": 4, **values["noise"]})
    shared = Rounds(values.pop("rounds", case.key), "time", **values) if values else None
    latency = Reading(1.0, samples=(1,) * 4, rounds=shared)
    return Record(case, "ok", environment, "2026-05-09T07:35:25Z", 1.0, indicators={"latency": latency})


def test_records_of_before_tell_nothing() -> None:
    assert run_noise([]) is None
    assert run_noise([record(64), record(128)]) is None
    assert run_noise([replace(record(64, hits=[1]), indicators={})]) is None


def test_hit_samples_are_counted_once_and_by_each_cause() -> None:
    found = run_noise([record(64, hits=[0, 1, 5, 0]), record(128, hits=[0, 0, 2, 1]), record(256)])
    assert found == RunNoise(8, 4, {"preempted": 3, "page_fault": 1, "steal": 1})
    assert found is not None
    assert next(iter(found.causes)) == "preempted"
    assert run_noise([record(64, hits=[0, 0])]) == RunNoise(2, 0, {})


def test_the_speed_is_a_share_of_the_best_and_cases_inherit_that_of_their_rounds() -> None:
    fast, slow = [10 * MS] * 30, [20 * MS] * 10
    found = run_noise(
        [
            record(64, rounds="a", yardstick=fast),
            record(128, rounds="a", yardstick=fast),
            record(256, rounds="b", yardstick=slow),
            record(512, rounds="c", yardstick=[10 * MS, 11 * MS, 40 * MS]),
            record(1024, rounds="d", yardstick=[11 * MS, 12_500_000, 40 * MS]),
        ]
    )
    assert found is not None
    assert found.slowest == 0.5  # of 46 readings only two are slower than 20 ms
    assert found.cases == 5
    assert found.slow == (SlowCase(Case("bert", 256), 0.5), SlowCase(Case("bert", 1024), pytest.approx(0.8)))
    assert SLOW > 10 / 12.5


def test_yardsticks_of_other_kinds_are_never_compared() -> None:
    found = run_noise(
        [
            record(64, rounds="a", yardstick=[10 * MS] * 10),
            record(64, dtype="bfloat16", rounds="b", yardstick=[90 * MS] * 10),
            record(64, "there", rounds="a", yardstick=[70 * MS] * 9 + [100 * MS]),
        ]
    )
    assert found is not None
    assert (found.slow, found.cases) == ((), 3)
    assert found.slowest == pytest.approx(70 / 86.5)  # the 95 % quantile of ten, half-way between the last two


def test_a_best_that_is_one_odd_reading_makes_nobody_slow() -> None:
    found = run_noise([record(64, rounds="a", yardstick=[5 * MS] + [10 * MS] * 40)])
    assert found is not None
    assert (found.slowest, found.slow) == (1.0, ())


def test_the_noise_of_shared_rounds_counts_once_and_by_its_time() -> None:
    first = {"seconds": 3.0, "others_share": 0.1, "steal_share": None, "throttled": None}
    second = {"seconds": 1.0, "others_share": 0.5, "steal_share": 0.02, "throttled": False}
    found = run_noise(
        [
            record(64, rounds="a", noise=first),
            record(128, rounds="a", noise=first),
            record(256, rounds="b", noise=second),
            record(512, noise={"seconds": 0.0}),
        ]
    )
    assert found is not None
    assert found.others_share == pytest.approx(0.2)
    assert (found.steal_share, found.throttled, found.slowest) == (0.02, False, None)


def test_ten_thousand_records_take_well_below_a_second() -> None:
    yardsticks = [[10 * MS + 1000 * (17 * index % 101) for index in range(200)] for _ in range(2500)]
    noise = {"seconds": 1.0, "others_share": 0.1, "steal_share": 0.0, "throttled": None}
    records = [
        record(32 + index, rounds=index // 4, yardstick=yardsticks[index // 4], hits=[0] * 199 + [1], noise=noise)
        for index in range(10_000)
    ]
    least = min(_seconds(records) for _ in range(3))
    assert least < 1.5


def _seconds(records: list[Record]) -> float:
    begin = time.process_time()
    found = run_noise(records)
    assert found is not None
    assert found.hit == 10_000
    return time.process_time() - begin
