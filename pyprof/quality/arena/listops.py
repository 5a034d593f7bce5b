"""ListOps (Nangia and Bowman, 2018) as Long Range Arena makes it: nested operators on digits, ten classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from pyprof.quality.arena.classification import Classification, Tokens, released
from pyprof.quality.plan import Plan
from pyprof.quality.task import SPLITS, Example, Split

OPERATORS = ("MIN", "MAX", "MED", "SM")
_CLOSE = "]"
# Token numbers from 1: the digits, the operators with their opening bracket, the closing bracket.
VOCABULARY = (*map(str, range(10)), *(f"[{name}" for name in OPERATORS), _CLOSE)
_NUMBER = {word: number for number, word in enumerate(VOCABULARY, start=1)}


@dataclass(frozen=True)
class Distribution:
    """What expressions are drawn from: as published, but for the defaults of a test.

    Below `depth` an operator stands where a value could with a probability of `share`, one operator being as likely as
    another; it takes 2 to `arguments` arguments, each number being as likely. Expressions of more than `shortest` and
    less than `longest` tokens are kept.
    """

    depth: int = 10
    arguments: int = 10
    share: float = 0.25
    shortest: int = 500
    longest: int = 2000


PUBLISHED = Distribution()
TINY = Distribution(depth=3, arguments=5, share=0.35, shortest=8, longest=49)
_COUNTS = {"train": 96_000, "validation": 2_000, "test": 2_000}
_TINY_COUNTS = {"train": 4_000, "validation": 500, "test": 500}


class ListOps(Classification):
    """What is ``[MAX 2 9 [MIN 4 7 ] 0 ]``? Token numbers of digits, operators and brackets; ten classes."""

    name = "listops"
    title = "ListOps"
    vocabulary: ClassVar[int] = len(VOCABULARY) + 1
    classes: ClassVar[int] = 10

    def length(self, size: str) -> int:
        """The longest expression: 2,000 tokens, and 48 at tiny."""
        return 48 if size == "tiny" else 2000

    def plan(self, size: str) -> Plan:
        """The released schedule, 5,000 steps; at tiny what learns to tell small digits from large within seconds."""
        if size == "tiny":
            return Plan(steps=200, batch=32, learning_rate=1e-2, warmup=10)
        return released(steps=5000, warmup=1000, check_every=500)

    def split(self, name: Split, size: str, seed: int = 0) -> Sequence[Example]:
        """96,000, 2,000 and 2,000 different expressions; some thousands at tiny."""
        return _splits(size == "tiny", seed)[name]


@cache
def _splits(tiny: bool, seed: int) -> dict[Split, Sequence[Example]]:
    """All splits from one stream of different expressions, so that no two of them share one."""
    counts = _TINY_COUNTS if tiny else _COUNTS
    drawn = different(TINY if tiny else PUBLISHED, np.random.default_rng([seed, 0x1157]))
    return {name: [next(drawn) for _ in range(counts[name])] for name in SPLITS}


def different(distribution: Distribution, rng: np.random.Generator) -> Iterator[Example]:
    """Examples that are all different, without end."""
    seen: set[bytes] = set()
    while True:
        words, value = expression(distribution, rng)
        tokens: Tokens = np.array([_NUMBER[word] for word in words], dtype=np.int64)
        key = tokens.tobytes()
        if key not in seen:
            seen.add(key)
            yield {"tokens": tokens, "label": value}


def expression(distribution: Distribution, rng: np.random.Generator) -> tuple[list[str], int]:
    """The words of one expression of a length that is kept, and its value."""
    while True:
        words: list[str] = []
        value = _grow(distribution, _Uniform(rng), 1, words)
        if value is not None and len(words) > distribution.shortest:
            return words, value


class _Uniform:
    """Numbers from a generator, drawn many at a time: one by one they take most of the time."""

    def __init__(self, rng: np.random.Generator, many: int = 256) -> None:
        self._rng, self._many = rng, many
        self._left: list[float] = []

    def next(self) -> float:
        if not self._left:
            self._left = self._rng.random(self._many).tolist()
        return self._left.pop()

    def below(self, bound: int) -> int:
        return int(self.next() * bound)


def _grow(distribution: Distribution, uniform: _Uniform, depth: int, words: list[str]) -> int | None:
    """Append one value or operator with all that is in it, and give its value; None once there are too many words."""
    if depth >= distribution.depth or uniform.next() >= distribution.share:
        value = uniform.below(10)
        words.append(str(value))
        return value if len(words) < distribution.longest else None
    operator = OPERATORS[uniform.below(len(OPERATORS))]
    words.append(f"[{operator}")
    values = []
    for _ in range(2 + uniform.below(distribution.arguments - 1)):
        value_of = _grow(distribution, uniform, depth + 1, words)
        if value_of is None:
            return None
        values.append(value_of)
    words.append(_CLOSE)
    return apply(operator, values) if len(words) < distribution.longest else None


def apply(operator: str, values: Sequence[int]) -> int:
    """The value of an operator: minimum, maximum, the median cut to a whole number, or the sum modulo 10."""
    if operator == "MIN":
        return min(values)
    if operator == "MAX":
        return max(values)
    if operator == "SM":
        return sum(values) % 10
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) // 2


def evaluated(words: Sequence[str]) -> int:
    """The value of an expression by reading its words from left to right, as a test of the generator asks for it."""
    stack: list[list[int]] = [[]]
    operators: list[str] = []
    for word in words:
        if word.startswith("["):
            operators.append(word[1:])
            stack.append([])
        elif word == _CLOSE:
            values = stack.pop()
            stack[-1].append(apply(operators.pop(), values))
        else:
            stack[-1].append(int(word))
    (value,) = stack[0]
    return value
