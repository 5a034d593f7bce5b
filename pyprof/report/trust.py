"""Whether a run's times can be trusted, in words, and what is known of the machine that it ran on."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from pyprof.analysis.noise import SLOW, RunNoise, SlowCase
from pyprof.analysis.trust import Trust
from pyprof.quantity import named, plural
from pyprof.records.noise import machine_facts
from pyprof.records.trust import Judgement, Level, Reason, judge, reasons_of, throttling
from pyprof.report.style import short_case

STYLES: dict[Level, str] = {"trust": "bold green", "trust with care": "bold yellow", "do not trust": "bold red"}


def judgement(trust: Trust) -> Judgement:
    """A trust in words."""
    calm = "nothing is known to have disturbed them"
    if trust.cases:
        calm = f"other processes held up none of {plural(len(trust.cases), 'case')}"
    return judge(trust.level, list(_reasons(trust)), calm)


def _reasons(trust: Trust) -> Iterator[Reason]:
    if trust.level == "trust":
        return
    yield from reasons_of([(short_case(each.case), each.share) for each in trust.cases])
    if trust.slow:
        yield Reason(
            f"{plural(len(trust.slow), 'case')} ran while the machine was slow (typically below {100 * SLOW:.0f} % of "
            f"its best speed: {_speeds(trust.slow)})",
            "Their times are longer by that; ratios within the same rounds, and so tipping points, hardly change.",
            "Compare ratios rather than times, or measure again when the machine is left alone.",
        )
    if trust.throttled:
        yield throttling()


def _speeds(cases: tuple[SlowCase, ...]) -> str:
    return named([f"{short_case(each.case)}: {100 * each.speed:.0f} %" for each in cases])


def trust_lines(judged: Judgement, noise: RunNoise) -> Iterator[Text]:
    """The judgement as a paragraph for each reason, and below it what is known of the machine."""
    yield Text(judged.sentence, STYLES[judged.level])
    for index, reason in enumerate(judged.reasons):
        text = Text("" if not index else f"{reason.what[0].upper()}{reason.what[1:]}. ")
        yield text.append(f"{reason.consequence} ").append(reason.action, "cyan")
    facts = list(machine_facts(noise.others_share, noise.steal_share))
    if noise.slowest is not None:
        facts.append(
            f"a fixed work timed between the samples ran at {100 * noise.slowest:.0f} to 100 % of its best speed"
        )
    if facts:
        told = "; ".join(facts)
        yield Text(f"{told[0].upper()}{told[1:]}.", "dim")


def trust_line(judged: Judgement) -> Text:
    """A judgement in one paragraph: with what its first reason means, and what to do about it."""
    text = Text.assemble((judged.sentence, "dim" if judged.level == "trust" else STYLES[judged.level]))
    for reason in judged.reasons[:1]:
        text.append(f" {reason.consequence} ").append(reason.action, "cyan")
    return text
