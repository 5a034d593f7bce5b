from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pyprof.errors import UsageError
from pyprof.worker.batch_search import LargestBatch, MemoryModel, Trial, find_largest_batch


class Device:
    """A simulated device: `peak` of a batch in bytes, and an `end` of memory that one process or another may hit."""

    def __init__(self, peak: Callable[[int], int], end: int = 10**12, fresh_end: int | None = None) -> None:
        self.bytes = peak
        self.end = end
        self.fresh_end = end if fresh_end is None else fresh_end
        self.asked: list[int] = []
        self.confirmed: list[int] = []

    def peak(self, batch: int) -> int | None:
        self.asked.append(batch)
        return self.bytes(batch) if self.bytes(batch) <= self.end else None

    def confirm(self, batch: int) -> bool | int:
        self.confirmed.append(batch)
        return self.bytes(batch) if self.bytes(batch) <= self.fresh_end else False

    def confirm_blindly(self, batch: int) -> bool:
        return self.confirm(batch) is not False


def test_a_linear_step_needs_one_confirmation() -> None:
    device = Device(lambda batch: 1000 + 7 * batch)
    found = find_largest_batch(device.peak, device.confirm, 2000)
    assert (found.batch, found.exact, found.capped, found.reason) == (142, True, False, None)
    assert found.trials == (Trial(142, True, 1994),)
    assert device.asked == [1, 2, 16]
    assert found.peaks[142] == 1994


@pytest.mark.parametrize("budget", range(107, 400, 13))
def test_no_example_more_and_none_less_fits(budget: int) -> None:
    device = Device(lambda batch: 100 + 7 * batch)
    found = find_largest_batch(device.peak, device.confirm, budget)
    assert found.exact
    assert device.bytes(found.batch) <= budget < device.bytes(found.batch + 1)


@pytest.mark.parametrize(
    "peak",
    [
        lambda batch: max(5000 + 3 * batch, 100 + 40 * batch),  # another phase takes over beyond batch 132
        lambda batch: 500 + 20 * batch + batch * batch // 50,
        lambda batch: 500 + 4 * ((41 * batch + 3) // 4),  # an allocator that rounds to blocks
        lambda batch: 500 + 40 * batch if batch < 5 else 2000 + 30 * batch,
    ],
    ids=["phases", "superlinear", "blocks", "another algorithm"],
)
@pytest.mark.parametrize("budget", [6000, 9000, 20_000])
def test_a_bent_peak_still_gives_the_largest(peak: Callable[[int], int], budget: int) -> None:
    device = Device(peak)
    found = find_largest_batch(device.peak, device.confirm, budget, max_confirmations=12)
    assert found.exact
    assert peak(found.batch) <= budget < peak(found.batch + 1)
    assert len(device.confirmed) <= 6


def test_what_is_tried_before_the_prediction_stays_far_below_it() -> None:
    device = Device(lambda batch: 10**6 + 1000 * batch)
    found = find_largest_batch(device.peak, device.confirm, 10**6 + 1000 * 2000)
    assert found.batch == 2000
    assert device.asked == [1, 2, 16, 128]


def test_a_phase_that_takes_over_later_is_seen_early() -> None:
    device = Device(lambda batch: max(10_000 + batch, 100 * batch))
    found = find_largest_batch(device.peak, device.confirm, 20_000)
    assert found.batch == 200
    # By the slope of batches 1 and 2 all four thousand would fit.
    assert max(device.confirmed) < 500


def test_blind_failures_are_bisected() -> None:
    device = Device(lambda batch: 10 * batch, fresh_end=900)
    found = find_largest_batch(device.peak, device.confirm_blindly, 1000)
    assert found.exact
    assert found.batch == 90
    assert device.confirmed[0] == 100
    assert Trial(91, False) in found.trials


def test_bisection_that_runs_out_says_between_what() -> None:
    device = Device(lambda batch: 10 * batch, fresh_end=900)
    found = find_largest_batch(device.peak, device.confirm_blindly, 1000, max_confirmations=3)
    assert [trial.batch for trial in found.trials] == [100, 56, 78]
    assert found.batch == 78
    assert not found.exact
    assert found.reason == "the confirmations were used up: batch 78 fits, and batch 100 does not"


def test_nothing_confirmed_is_no_batch() -> None:
    found = find_largest_batch(Device(lambda batch: 10 * batch).peak, lambda batch: False, 1000)
    assert found.batch is None
    assert not found.exact
    assert "no batch was confirmed" in str(found.reason)


def test_a_confirmation_over_the_budget_fails() -> None:
    found = find_largest_batch(lambda batch: 10 * batch, lambda batch: 11 * batch, 1000)
    assert found.batch == 90
    assert found.trials[0] == Trial(100, False, 1100)
    assert found.exact


def test_one_example_beyond_the_budget_is_the_reason() -> None:
    device = Device(lambda batch: 5 * 2**20 * batch)
    found = find_largest_batch(device.peak, device.confirm, 2**20)
    assert found == LargestBatch(None, reason="one example needs 5.00 MiB, and the budget is 1.00 MiB")
    assert device.confirmed == []


def test_one_example_beyond_the_memory_is_the_reason() -> None:
    device = Device(lambda batch: 1000, end=10)
    assert find_largest_batch(device.peak, device.confirm, 2000).reason == (
        "one example runs out of memory, and the budget is 1.95 KiB"
    )


def test_only_one_example_fits() -> None:
    within_budget = Device(lambda batch: 600 * batch)
    out_of_memory = Device(lambda batch: 600 * batch, end=700)
    for device in (within_budget, out_of_memory):
        found = find_largest_batch(device.peak, device.confirm, 1000)
        assert (found.batch, found.exact) == (1, True)
        assert device.confirmed == [1]


def test_the_limit_caps_the_batch_and_is_reported() -> None:
    device = Device(lambda batch: 10 * batch)
    found = find_largest_batch(device.peak, device.confirm, 10**6, limit=64)
    assert (found.batch, found.capped, found.exact) == (64, True, False)
    assert found.reason == "the search ends at batch 64, and a larger one might fit"
    assert max(device.asked + device.confirmed) == 64


def test_a_limit_of_one_asks_for_one() -> None:
    device = Device(lambda batch: 10 * batch)
    found = find_largest_batch(device.peak, device.confirm, 10**6, limit=1)
    assert (found.batch, found.capped) == (1, True)
    assert (device.asked, device.confirmed) == ([1], [1])


def test_a_peak_that_does_not_grow_ends_at_the_limit() -> None:
    device = Device(lambda batch: 500)
    assert find_largest_batch(device.peak, device.confirm, 1000, limit=300).batch == 300


def test_memory_that_ends_early_in_this_process_bounds_the_search() -> None:
    device = Device(lambda batch: 10 * batch, end=100, fresh_end=130)
    found = find_largest_batch(device.peak, device.confirm_blindly, 10**4)
    assert found.batch == 13
    assert found.exact


@pytest.mark.parametrize("values", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_a_search_for_nothing_is_refused(values: tuple[int, int, int]) -> None:
    budget, limit, confirmations = values
    with pytest.raises(UsageError, match="at least one"):
        find_largest_batch(lambda batch: 1, lambda batch: True, budget, limit=limit, max_confirmations=confirmations)


def test_the_model_is_the_line_through_the_largest_and_its_half() -> None:
    model = MemoryModel.fit({16: 260, 15: 259, 1: 7, 8: 140, 9: 141}, budget=1000)
    assert model == MemoryModel(fixed=20, per_example=15)
    assert model.peak(16) == 260
    assert model.largest(budget=335, limit=100) == 21
    assert model.largest(budget=334, limit=100) == 20
    assert model.largest(budget=10, limit=100) == 0


def test_peaks_around_the_budget_come_first() -> None:
    assert MemoryModel.fit({1: 10, 2: 20, 16: 160, 20: 400, 30: 9000}, budget=300) == MemoryModel(-800, 60)


def test_any_growing_peak_ends_in_a_confirmed_batch() -> None:
    rng = np.random.default_rng(4)
    for _ in range(300):
        peaks = np.cumsum(rng.integers(0, rng.integers(1, 60), size=301) * rng.integers(0, 2, size=301) + 1).tolist()
        budget = int(rng.integers(peaks[1], peaks[-1] + 50))
        device = Device(peaks.__getitem__, fresh_end=int(rng.integers(peaks[1], peaks[-1] + 50)))
        found = find_largest_batch(device.peak, device.confirm, budget, limit=300, max_confirmations=300)
        assert found.batch in device.confirmed
        assert found.exact != found.capped
        assert peaks[found.batch] <= min(budget, device.fresh_end)
        assert len(set(device.confirmed)) == len(device.confirmed)
        assert all(trial.fits == (trial.batch <= found.batch) for trial in found.trials)


def test_blind_bisection_finds_the_very_last_that_fits() -> None:
    rng = np.random.default_rng(9)
    for _ in range(300):
        slope, end = int(rng.integers(1, 50)), int(rng.integers(60, 5000))
        device = Device(lambda batch, slope=slope: slope * batch, fresh_end=end)
        found = find_largest_batch(device.peak, device.confirm_blindly, 5000, max_confirmations=50)
        assert found.batch == min(end // slope, 4096)
