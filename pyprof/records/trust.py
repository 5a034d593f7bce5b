"""Whether times can be trusted, in the words that every output shares: what disturbed them, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pyprof.quantity import named, plural
from pyprof.records.disturbance import CALM, MOST_LOST

Level = Literal["trust", "trust with care", "do not trust"]
# Where so many of the figures were held up, a reader would have to know which to skip.
MANY = 0.25
# So many that were held up a little are worth a word.
SOME = 0.1

_VERDICTS: dict[Level, str] = {
    "trust": "Trust {}",
    "trust with care": "Trust {} with care",
    "do not trust": "Do not trust {}",
}
_ALONE = "Measure again while nothing else runs on the cores (pyprof env --check says what does)"
_APART = f"{_ALONE}, or leave the others a core with --pin."
_BARRIERS = "A step waits for its slowest thread at each of its barriers"
_THROTTLED = "the clock was lowered for heat or power"


@dataclass(frozen=True)
class Reason:
    """Something that disturbed times: what it was, its `consequence` for the figures, and the `action` to take."""

    what: str
    consequence: str
    action: str


@dataclass(frozen=True)
class Judgement:
    """Whether to trust times: the level, one sentence, and the reasons where it isn't the highest.

    As text it is the sentence, with what the first reason means and what to do.
    """

    level: Level
    sentence: str
    reasons: tuple[Reason, ...] = ()

    def __str__(self) -> str:
        return " ".join([self.sentence, *(f"{each.consequence} {each.action}" for each in self.reasons[:1])])


def judge(level: Level, reasons: Sequence[Reason], otherwise: str, figures: str = "these times") -> Judgement:
    """The judgement of a level: its sentence gives the first reason, or says what is known `otherwise`."""
    verdict = _VERDICTS[level].format(figures)
    return Judgement(level, f"{verdict}: {reasons[0].what if reasons else otherwise}.", tuple(reasons))


def of_share(share: float | None, throttled: bool | None = None, figures: str = "these times") -> Judgement | None:
    """Judge figures that were held up for a share of the time; None where the system tells nothing of them."""
    if share is None and not throttled:
        return None
    waited = f"other processes held the threads up for {100 * (share or 0):.0f} % of the time"
    if share is not None and share > MOST_LOST:
        reason = Reason(waited, f"{_BARRIERS}, so {figures} may be off by {_factor(share)}.", _APART)
        return judge("do not trust", [reason], "", figures)
    reasons = []
    if share is not None and share > CALM:
        reasons.append(Reason(waited, f"Up to so much of {figures} may be due to them.", f"{_ALONE} if it matters."))
    reasons += [throttling()] if throttled else []
    calm = f"other processes held the threads up for less than {100 * CALM:.0f} % of the time"
    return judge("trust with care" if reasons else "trust", reasons, calm, figures)


def with_trust(text: str, judged: Judgement | None) -> str:
    """What is told of figures, and how far to trust them where there is something to say of that."""
    return text if judged is None or judged.level == "trust" else f"{text}. {judged}"


def level_of(shares: Sequence[float]) -> Level:
    """How far to trust several figures together that were held up for such shares of the time."""
    held_up = sum(share > MOST_LOST for share in shares)
    if held_up > MANY * len(shares):
        return "do not trust"
    partly = sum(CALM < share <= MOST_LOST for share in shares)
    return "trust with care" if held_up or partly > SOME * len(shares) else "trust"


def reasons_of(shares: Sequence[tuple[str, float]], noun: str = "case") -> Iterator[Reason]:
    """What held up several figures, each by its name and the share of its time, the worst first."""
    every = plural(len(shares), noun)
    level = level_of([share for _, share in shares])
    if held_up := [each for each in shares if each[1] > MOST_LOST]:
        what = (
            f"other processes held up {len(held_up):,} of {every} for more than {100 * MOST_LOST:.0f} % of the time "
            f"({_named(held_up)})"
        )
        if level == "do not trust":
            told = f"{_BARRIERS}, so times and what follows from them may be off by {_factor(held_up[0][1])}."
            yield Reason(what, told, _APART)
        else:
            off = _factor(held_up[0][1])
            told = f"These may be off by {off}, and so may ratios with them; the other {noun}s are sound."
            yield Reason(what, told, f"{_ALONE} before you rely on these.")
    partly = [each for each in shares if CALM < each[1] <= MOST_LOST]
    if partly and level != "trust":
        yield Reason(
            f"other processes held up {len(partly):,} of {every} for {100 * CALM:.0f} to {100 * MOST_LOST:.0f} % "
            f"of the time ({_named(partly)})",
            f"Their times may be too long by as much; a difference of more than {100 * MOST_LOST:.0f} % is real.",
            f"{_ALONE} if smaller differences matter.",
        )


def of_shares(shares: Sequence[tuple[str, float]], noun: str, throttled: bool = False) -> Judgement | None:
    """Judge several figures together, each with a name and the share of its time that was held up; None without any."""
    if not shares and not throttled:
        return None
    worst = sorted(shares, key=lambda each: -each[1])
    level = level_of([share for _, share in shares])
    reasons = [*reasons_of(worst, noun), *([throttling()] if throttled else [])]
    calm = f"other processes held up none of {plural(len(shares), noun)}"
    return judge("trust with care" if reasons and level == "trust" else level, reasons, calm)


def throttling() -> Reason:
    """That the clock was lowered."""
    return Reason(
        _THROTTLED,
        "Times are longer than those of a cool machine; ratios within the same rounds hardly change.",
        "Let it cool, or bound its clock or power below the point where it throttles.",
    )


def _factor(share: float) -> str:
    """How far off a time may be of which so large a share was waited."""
    return f"a factor of up to {1 / (1 - share):.1f}" if share < 0.9 else "a factor of ten and more"


def _named(shares: Sequence[tuple[str, float]]) -> str:
    return named([f"{name}: {100 * share:.0f} %" for name, share in shares])
