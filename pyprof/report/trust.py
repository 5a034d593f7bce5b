"""Whether a run's times can be trusted, in words: what disturbed it, what that means, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.text import Text

from pyprof.analysis.disturbance import CALM, MOST_LOST
from pyprof.analysis.noise import SLOW, RunNoise, SlowCase
from pyprof.analysis.trust import HeldUp, Level, Trust
from pyprof.report.style import named, plural, short_case

STYLES: dict[Level, str] = {"trust": "bold green", "trust with care": "bold yellow", "do not trust": "bold red"}
_VERDICTS: dict[Level, str] = {
    "trust": "Trust these times",
    "trust with care": "Trust these times with care",
    "do not trust": "Do not trust these times",
}
_ALONE = "Measure again while nothing else runs on the cores (pyprof env --check says what does)"


@dataclass(frozen=True)
class Reason:
    """Something that disturbed a run: what it was, its `consequence` for the figures, and the `action` to take."""

    what: str
    consequence: str
    action: str


@dataclass(frozen=True)
class Judgement:
    """Whether to trust the times of a run: the level, one sentence, and the reasons where it isn't the highest."""

    level: Level
    sentence: str
    reasons: tuple[Reason, ...] = ()


def judgement(trust: Trust) -> Judgement:
    """A trust in words."""
    reasons = tuple(_reasons(trust))
    verdict = _VERDICTS[trust.level]
    if reasons:
        return Judgement(trust.level, f"{verdict}: {reasons[0].what}.", reasons)
    if not trust.cases:
        return Judgement(trust.level, f"{verdict}: nothing is known to have disturbed them.")
    return Judgement(trust.level, f"{verdict}: other processes held up none of {plural(trust.cases, 'case')}.")


def _reasons(trust: Trust) -> Iterator[Reason]:
    every = plural(trust.cases, "case")
    if trust.held_up:
        what = (
            f"other processes held up {len(trust.held_up):,} of {every} for more than {100 * MOST_LOST:.0f} % of the "
            f"time ({_shares(trust.held_up)})"
        )
        if trust.level == "do not trust":
            yield Reason(
                what,
                "A step then waits for a thread at each of its barriers and takes up to 200 times as long, so neither "
                "times nor ratios nor tipping points say anything of the models.",
                f"{_ALONE}, or leave the others a core with --pin.",
            )
        else:
            yield Reason(
                what,
                "These can be many times too long, and so can ratios with them; the other cases are sound.",
                f"{_ALONE} before you rely on these.",
            )
    if trust.level == "trust":
        return
    if trust.partly:
        yield Reason(
            f"other processes held up {len(trust.partly):,} of {every} for {100 * CALM:.0f} to {100 * MOST_LOST:.0f} % "
            f"of the time ({_shares(trust.partly)})",
            f"Their times may be too long by as much; a difference of more than {100 * MOST_LOST:.0f} % is real.",
            f"{_ALONE} if smaller differences matter.",
        )
    if trust.slow:
        yield Reason(
            f"{plural(len(trust.slow), 'case')} ran while the machine was slow (typically below {100 * SLOW:.0f} % of "
            f"its best speed: {_speeds(trust.slow)})",
            "Their times are longer by that; ratios within the same rounds, and so tipping points, hardly change.",
            "Compare ratios rather than times, or measure again when the machine is left alone.",
        )
    if trust.throttled:
        yield Reason(
            "the clock was lowered for heat or power",
            "Times are longer than those of a cool machine; ratios within the same rounds hardly change.",
            "Let it cool, or bound its clock or power below the point where it throttles.",
        )


def _shares(cases: tuple[HeldUp, ...]) -> str:
    return named([f"{short_case(each.case)}: {100 * each.share:.0f} %" for each in cases])


def _speeds(cases: tuple[SlowCase, ...]) -> str:
    return named([f"{short_case(each.case)}: {100 * each.speed:.0f} %" for each in cases])


def trust_lines(judged: Judgement, noise: RunNoise) -> Iterator[Text]:
    """The judgement as a paragraph for each reason, and below it what is known of the machine."""
    yield Text(judged.sentence, STYLES[judged.level])
    for index, reason in enumerate(judged.reasons):
        text = Text("" if not index else f"{reason.what[0].upper()}{reason.what[1:]}. ")
        yield text.append(f"{reason.consequence} ").append(reason.action, "cyan")
    facts = list(_facts(noise))
    if facts:
        told = "; ".join(facts)
        yield Text(f"{told[0].upper()}{told[1:]}.", "dim")


def _facts(noise: RunNoise) -> Iterator[str]:
    if noise.others_share is not None:
        yield f"other processes used {100 * noise.others_share:.0f} % of all cores"
    if noise.steal_share:
        yield f"the hypervisor withheld {100 * noise.steal_share:.1f} % of the time"
    if noise.slowest is not None:
        yield f"a fixed work timed between the samples ran at {100 * noise.slowest:.0f} to 100 % of its best speed"
