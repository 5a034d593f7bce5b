"""What is said of the system's part: only where it is one, the largest first, and when pages were dear."""

from __future__ import annotations

from pyprof.analysis.system_time import system_time
from pyprof.records.case import Case
from pyprof.records.reading import Reading
from pyprof.records.record import KindCost, Record
from pyprof.records.rounds import Rounds

SECOND = 10**9


def record(
    length: int, system: float, faults: int, page_faults: tuple[int, ...] = (), kinds: dict[str, int] | None = None
) -> Record:
    rounds = Rounds(
        str(length),
        faults=(faults,) * 6,
        system=(round(system * SECOND),) * 6,
        processor=(SECOND,) * 6,
        page_faults=page_faults,
    )
    latency = Reading(1.0, samples=(SECOND,) * 6, rounds=rounds)
    costs = {kind: KindCost(0.1, None, 1, count) for kind, count in (kinds or {}).items()}
    return Record(Case("bert", length), "ok", "e", "t", 1.0, indicators={"latency": latency}, kinds=costs)


def test_the_share_is_the_systems_part_of_the_processor_time_and_the_largest_comes_first() -> None:
    told = system_time([record(64, 0.12, 50_000), record(128, 0.34, 1_080_000, kinds={"self-attention": 3, "head": 1})])
    assert told is not None
    assert [(share.case.length, share.part.share, share.part.faults) for share in told.shares] == [
        (128, 0.34, 1_080_000),
        (64, 0.12, 50_000),
    ]
    assert told.shares[0].kinds == {"self-attention": 0.75, "head": 0.25}
    assert told.shares[1].kinds == {}


def test_little_of_it_or_without_faults_is_not_told() -> None:
    told = system_time([record(64, 0.04, 50_000), record(128, 0.5, 900)])
    assert told is not None
    assert told.shares == ()


def test_records_that_know_nothing_of_it_say_nothing() -> None:
    plain = Record(Case("bert", 64), "ok", "e", "t", 1.0, indicators={"latency": Reading(1.0, samples=(SECOND,) * 6)})
    assert system_time([plain]) is None
    assert system_time([]) is None


def test_cases_that_ran_while_pages_were_dear_are_named() -> None:
    cheap = [record(64 * index, 0.1, 50_000, (3_000_000,) * 6) for index in range(1, 10)]
    dear = record(2048, 0.1, 50_000, (3_000_000, *(9_000_000,) * 5))
    told = system_time([*cheap, dear])
    assert told is not None
    assert [case.length for case in told.dear] == [2048]
    assert (told.measured, told.dearest) == (10, 3.0)
