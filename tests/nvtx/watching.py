"""What a watched program did, as a tree of ranges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Range:
    """A range, and what was opened inside of it on the same thread."""

    name: str
    category: str
    payload: int
    inside: list[Range] = field(default_factory=list)

    def walk(self) -> Iterator[tuple[Range, Range | None]]:
        """The ranges inside, each with the one around it."""
        for each in self.inside:
            yield each, self
            yield from each.walk()


@dataclass
class Seen:
    """What the tool saw: the outermost ranges of each thread, and what the program printed."""

    threads: dict[str, list[Range]]
    calls: list[list[str]]
    printed: Any

    @property
    def ranges(self) -> list[Range]:
        return [each for outermost in self.threads.values() for each in outermost]

    def inside(self, name: str) -> Range:
        """The one outermost range of this name."""
        (found,) = [each for each in self.ranges if each.name == name]
        return found


def threads(calls: list[list[str]]) -> dict[str, list[Range]]:
    """The outermost ranges of each thread; fails where a range is not closed, or closed twice."""
    categories: dict[str, str] = {}
    open_ranges: dict[str, list[Range]] = {}
    for kind, thread, *rest in calls:
        if kind == "category":
            categories[rest[1]] = rest[2]
        if kind not in ("push", "pop"):
            continue
        assert rest[0] == "pyprof"
        stack = open_ranges.setdefault(thread, [Range("", "", -1)])
        if kind == "push":
            made = Range(rest[3], categories[rest[1]], int(rest[2]))
            stack[-1].inside.append(made)
            stack.append(made)
        else:
            assert len(stack) > 1, "a range was closed that nobody had opened"
            stack.pop()
    assert all(len(stack) == 1 for stack in open_ranges.values()), "a range was left open"
    return {thread: stack[0].inside for thread, stack in open_ranges.items()}
