"""The energy of the host's processors, as the kernel's powercap interface tells it (RAPL, of Intel and AMD)."""

from __future__ import annotations

from pathlib import Path

from pyprof.errors import UsageError


class Rapl:
    """The sum over all packages. Raises UsageError where the system has no such counters or does not let them be read.

    `root` is where the interface is looked for. Every process on the machine is in what is counted.
    """

    name = "RAPL, all processor packages"

    def __init__(self, root: Path = Path("/sys/class/powercap")) -> None:
        packages = sorted(path for path in root.glob("*-rapl:*") if path.name.count(":") == 1)
        self._counters = [(path / "energy_uj", path / "max_energy_range_uj") for path in packages]
        if not self._counters:
            raise UsageError("the host's energy cannot be read: this system has no RAPL counters (a virtual machine?)")
        self._wrapped = [0] * len(self._counters)
        self._last = [self._read(counter) for counter, _ in self._counters]

    def joules(self) -> float:
        """What was used since some moment in the past; a counter that wraps is taken further."""
        total = 0
        for index, (counter, most) in enumerate(self._counters):
            now = self._read(counter)
            if now < self._last[index]:
                self._wrapped[index] += self._read(most) + 1
            self._last[index] = now
            total += self._wrapped[index] + now
        return total * 1e-6

    def _read(self, path: Path) -> int:
        try:
            return int(path.read_text())
        except PermissionError:
            raise UsageError(
                f"the host's energy cannot be read: only root may read {path.name} of RAPL, unless the system allows it"
            ) from None
        except (OSError, ValueError):
            raise UsageError(f"the host's energy cannot be read: {path.name} of RAPL holds no number") from None
