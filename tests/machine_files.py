"""The files of a machine that does not exist: /proc and /sys below a directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass
class MachineFiles:
    """Writes the few files that are looked at; what is not written does not exist."""

    root: Path

    def write(self, path: str, text: str | int) -> None:
        """Write a file in place, as the kernel does: a descriptor that was opened before sees the new text."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def waited(self, nanoseconds: int) -> None:
        """The time that the thread stood in the run queue."""
        self.write("proc/thread-self/schedstat", f"5000000 {nanoseconds} 12")

    def ticks(self, busy: int, idle: int, stolen: int = 0, cores: Mapping[int, tuple[int, int]] | None = None) -> None:
        """Ticks of all cores together, and of single ones as (busy, idle)."""
        lines = [f"cpu  {busy} 0 0 {idle} 0 0 0 {stolen} 0 0"]
        lines += [f"cpu{core} {own} 0 0 {free} 0 0 0 0 0 0" for core, (own, free) in (cores or {}).items()]
        self.write("proc/stat", "\n".join(lines))

    def core(self, core: int, name: str, text: str | int) -> None:
        """A file of one processor."""
        self.write(f"sys/devices/system/cpu/cpu{core}/{name}", text)

    def process(self, pid: int, name: str, user: int, system: int, started: int) -> None:
        """The ticks that a process has used, and when it was started."""
        text = f"{pid} ({name}) S 1 1 1 0 -1 0 0 0 0 0 {user} {system} 0 0 20 0 1 0 {started} 4096 10"
        self.write(f"proc/{pid}/stat", text)
