"""The ranks of a record: which one the others wait for, and that they are kept and read back."""

from __future__ import annotations

import pytest

from pyprof.errors import UsageError
from pyprof.records.case import Case
from pyprof.records.ranks import Rank, waiting
from pyprof.records.record import Record

MS = 1_000_000


def ranks(*works: list[int], step: int = 100 * MS) -> list[Rank]:
    """Ranks that end each step together: what is no work is communication."""
    return [
        Rank("cpu", steps=(step,) * len(work), communication=tuple(step - each * MS for each in work)) for work in works
    ]


def test_the_slowest_is_the_one_that_works_longest_though_all_steps_are_as_long() -> None:
    told = waiting(ranks(*([20, 21, 20, 19, 20, 22] * 2, [40, 41, 41, 40, 40, 43] * 2, [30, 30, 30, 31, 30, 30] * 2)))
    assert told is not None
    assert told.slowest == 1
    assert told.shown
    assert [round(wait.value * 1e3, 6) for wait in told.waits] == [20.5, 0.0, 10.5]
    assert told.longest == told.waits[0]
    assert told.longest.low is not None
    assert told.to_json()["slowest"] == 1


def test_none_is_called_the_slowest_where_noise_alone_may_be_it() -> None:
    told = waiting(ranks([20, 24, 19, 25, 20, 24, 21], [24, 19, 25, 20, 24, 19, 22]))
    assert told is not None
    assert not told.shown
    assert told.to_json()["slowest"] is None


def test_few_steps_show_nothing_and_none_tell_nothing() -> None:
    few = waiting(ranks([20, 20], [40, 40]))
    assert few is not None
    assert few.slowest == 1
    assert not few.shown
    assert waiting([Rank("cpu"), Rank("cpu")]) is None
    assert waiting(ranks([1, 2])) is None


def test_many_ranks_need_more_steps_to_show_the_slowest() -> None:
    # Six steps give a pair its interval, and none to each of 28 pairs at once.
    eight = [[20 + number] * 6 for number in range(8)]
    assert waiting(ranks(*eight)).shown is False  # type: ignore[union-attr]
    assert waiting(ranks(*[each * 3 for each in eight])).shown  # type: ignore[union-attr]


def record(**changes: object) -> Record:
    case = Case("a:b", 16, ranks=2)
    return Record(case, "ok", "feed", "2026-01-01T00:00:00+00:00", 1.0, **changes)  # type: ignore[arg-type]


def test_a_record_keeps_its_ranks_and_one_without_says_nothing_of_them() -> None:
    kept = record(ranks=(Rank("cuda:0", (5, 6), (7,), (3,), 1024), Rank("cuda:1", (6, 5), (7,), (2,))))
    assert Record.from_json(kept.to_json()) == kept
    assert "ranks" not in record().to_json()
    assert Record.from_json(record().to_json()) == record()


@pytest.mark.parametrize("damage", [{"steps": [-1]}, {"device": ""}, {"peak_memory": 0.5}, {"what": 1}])
def test_damaged_ranks_are_refused_with_the_field(damage: dict[str, object]) -> None:
    data = record(ranks=(Rank("cpu"),)).to_json()
    data["ranks"][0] |= damage
    with pytest.raises(UsageError, match=next(iter(damage))):
        Record.from_json(data)


def test_the_key_of_a_case_in_one_process_is_what_it_was() -> None:
    assert Case("bert", 128).key == Case("bert", 128, ranks=1).key != Case("bert", 128, ranks=2).key
    assert str(Case("a:b", 16, ranks=2)).endswith(" 2 ranks")
    assert Case.from_json({k: v for k, v in Case("bert", 128).to_json().items() if k != "ranks"}) == Case("bert", 128)
