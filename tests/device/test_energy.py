"""Energy on devices whose power is known, against an integration that knows nothing of ticks and windows."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyprof.device.energy import measure_energy
from pyprof.device.nvml import CardEnergy, Nvml
from pyprof.device.rapl import Rapl
from pyprof.errors import UsageError
from pyprof.indicators import energy


class Plant:
    """A device with a clock of its own: idle it takes `idle` watts, busy what `busy` says; the counter ticks."""

    name = "the plant"

    def __init__(self, idle: float, busy: Callable[[float], float], tick: float) -> None:
        self.idle, self.busy, self.tick = idle, busy, tick
        self.now = 100.0
        self.used = 0.0
        self.shown = (0, 0.0)
        self.history: list[tuple[float, float, bool]] = []

    def spend(self, seconds: float, busy: bool) -> None:
        """Let time pass in small parts, each with the power of its begin."""
        parts = max(1, round(seconds / 1e-3))
        for _ in range(parts):
            watts = self.busy(self.now) if busy else self.idle
            self.history.append((seconds / parts, watts, busy))
            self.used += watts * seconds / parts
            self.now += seconds / parts
            if int(self.now / self.tick) != self.shown[0]:
                self.shown = (int(self.now / self.tick), self.used)

    def joules(self) -> float:
        return self.shown[1]

    def clock(self) -> float:
        return self.now


def beyond_idle(plant: Plant) -> float:
    """Joules of all busy parts without the idle power, by plain summation."""
    return sum(seconds * (watts - plant.idle) for seconds, watts, busy in plant.history if busy)


@pytest.mark.parametrize("tick", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("step", [0.003, 0.017, 0.4])
def test_energy_is_that_of_an_independent_integration(tick: float, step: float) -> None:
    plant = Plant(60.0, lambda now: 300 + 80 * math.sin(7 * now) + 20 * math.sin(91 * now), tick)
    calls = []

    def call() -> None:
        calls.append(1)
        plant.spend(step, busy=True)

    found = measure_energy(plant, call, clock=plant.clock, sleep=lambda seconds: plant.spend(seconds, busy=False))
    assert found.joules == pytest.approx(beyond_idle(plant) / len(calls), rel=0.03)
    assert found.idle_watts == pytest.approx(60.0, rel=0.01)
    assert found.gross_joules - found.joules == pytest.approx(60.0 * step, rel=0.01)
    assert found.seconds == pytest.approx(step)
    assert found.window >= 3.0


class Library:
    """NVML of a card that is a plant: the counter in whole millijoules, the power in whole milliwatts."""

    class NVMLError(Exception):
        pass

    def __init__(self, plant: Plant) -> None:
        self.plant = plant

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object) -> int:
        return int(self.plant.joules() * 1000)

    def nvmlDeviceGetPowerUsage(self, handle: object) -> int:
        _, watts, _ = self.plant.history[-1]
        return round(watts * 1000)


@pytest.mark.parametrize("tick", [0.02, 0.1])
@pytest.mark.parametrize("step", [0.003, 0.4])
def test_energy_of_a_card_is_that_of_its_power_integrated_beside(tick: float, step: float) -> None:
    """As a second program would do it: it asks NVML for the power every 10 ms and sums up trapezoids."""
    plant = Plant(72.0, lambda now: 420 + 120 * math.sin(5 * now) + 30 * math.sin(61 * now), tick)
    library = Library(plant)
    asked: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    calls = []

    def spend(seconds: float, busy: bool) -> None:
        for _ in range(max(1, round(seconds / 0.001))):
            plant.spend(0.001, busy)
            if not asked[busy] or plant.now - asked[busy][-1][0] >= 0.01:
                asked[busy].append((plant.now, library.nvmlDeviceGetPowerUsage("card") * 1e-3))

    def call() -> None:
        calls.append(1)
        spend(step, busy=True)

    card = CardEnergy(Nvml(library, "card"))
    found = measure_energy(card, call, clock=plant.clock, sleep=lambda seconds: spend(seconds, busy=False))
    idle = sum(watts for _, watts in asked[False]) / len(asked[False])
    busy = asked[True]
    joules = sum((end - begin) * (a + b) / 2 for (begin, a), (end, b) in pairwise(busy))
    seconds = busy[-1][0] - busy[0][0]
    assert found.joules == pytest.approx((joules / seconds - idle) * step, rel=0.03)
    assert found.joules > 0.5 * (420 - 72) * step


def test_a_counter_that_stands_still_is_said() -> None:
    plant = Plant(60.0, lambda now: 300.0, tick=1e9)
    with pytest.raises(UsageError, match="the counter of the plant stands still"):
        measure_energy(
            plant,
            lambda: plant.spend(0.1, busy=True),
            clock=plant.clock,
            sleep=lambda seconds: plant.spend(seconds, busy=False),
        )


def powercap(root: Path, values: dict[str, int]) -> Path:
    for name, value in values.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / "energy_uj").write_text(f"{value}\n")
        (root / name / "max_energy_range_uj").write_text("999999\n")
    return root


def test_rapl_sums_the_packages_and_goes_on_where_a_counter_wraps(tmp_path: Path) -> None:
    root = powercap(tmp_path, {"intel-rapl:0": 900_000, "intel-rapl:1": 100_000, "intel-rapl:0:0": 7})
    meter = Rapl(root)
    assert meter.joules() == pytest.approx(1.0)
    powercap(root, {"intel-rapl:0": 50_000, "intel-rapl:1": 150_000})
    assert meter.joules() == pytest.approx(0.15 + 1.05)


def test_what_cannot_be_read_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no RAPL counters"):
        Rapl(tmp_path)
    root = powercap(tmp_path, {"intel-rapl:0": 5})

    def refused(self: Path, *_: Any, **__: Any) -> str:
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(UsageError, match="only root may read energy_uj"):
        Rapl(root)


class Silent:
    """NVML of a card that counts no energy."""

    class NVMLError(Exception):
        pass

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object) -> int:
        raise self.NVMLError


def test_nvml_counts_in_millijoules_and_its_silence_is_a_reason() -> None:
    library = SimpleNamespace(
        NVMLError=Silent.NVMLError, nvmlDeviceGetTotalEnergyConsumption=lambda handle: {"card": 1_234_500}[handle]
    )
    assert CardEnergy(Nvml(library, "card")).joules() == pytest.approx(1234.5)
    with pytest.raises(UsageError, match="no longer tells"):
        CardEnergy(Nvml(Silent(), "card")).joules()


def test_the_indicator_is_null_with_a_reason_and_never_0(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable() -> None:
        raise UsageError("nothing counts here")

    step: Any = SimpleNamespace(device=SimpleNamespace(energy_meter=unreadable))
    assert (energy.read(step).value, energy.read(step).reason) == (None, "nothing counts here")


def test_the_indicator_is_of_one_example(monkeypatch: pytest.MonkeyPatch) -> None:
    plant = Plant(60.0, lambda now: 260.0, 0.02)
    monkeypatch.setattr("pyprof.device.energy.measure_energy", lambda meter, call: measure_energy(
        meter, call, clock=plant.clock, sleep=lambda seconds: plant.spend(seconds, busy=False)
    ))  # fmt: skip

    class Step:
        batch = 4
        device = SimpleNamespace(energy_meter=lambda: plant, synchronize=lambda: None)

        def renew(self) -> None:
            pass

        def __call__(self) -> None:
            plant.spend(0.05, busy=True)

    reading = energy.read(Step())  # type: ignore[arg-type]
    assert reading.value == pytest.approx(200 * 0.05 / 4, rel=0.03)
    assert reading.detail["idle_watts"] == pytest.approx(60, rel=0.01)
    assert reading.detail["watts"] == pytest.approx(260, rel=0.01)
    assert reading.detail["meter"] == "the plant"
