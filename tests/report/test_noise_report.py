from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

import synthetic_run as synthetic
from rich.console import Console

from pyprof.analysis.noise import RunNoise, SlowCase
from pyprof.analysis.trust import trust
from pyprof.machine.check import MachineCheck, Observation
from pyprof.machine.settings import Check
from pyprof.machine.steadiness import Steadiness
from pyprof.records.case import Case
from pyprof.records.noise import Noise
from pyprof.records.record import Record
from pyprof.records.rounds import Rounds
from pyprof.report import noise as report
from pyprof.report.as_json import document
from pyprof.report.build import About, build_view
from pyprof.report.style import Glyphs
from pyprof.report.terminal import render
from pyprof.report.trust import judgement, trust_lines
from pyprof.report.view import View

HEADING = "whether to trust these times"


def printed(view: View, width: int = 100) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(render(view, width, Glyphs()))
    return file.getvalue()


def with_noise() -> Iterator[Record]:
    """The run with a yardstick beside every latency: swin's ran while the machine was slow."""
    for record in synthetic.quick():
        latency = record.indicators.get("latency")
        if latency is not None:
            slow = record.case.model == "swin"
            rounds = Rounds(
                f"{record.case.model}-{record.case.length}-{record.case.mode}",
                yardstick=(15_000_000 if slow else 10_000_000,) * 7,
                hits=(1, 0, 0, 0, 0, 0, 4 if slow else 0),
                noise=Noise(2.0, 7, others_share=0.25, steal_share=0.004),
            )
            indicators = {**record.indicators, "latency": replace(latency, rounds=rounds)}
            record = replace(record, indicators=indicators)
        yield record


def test_a_report_says_whether_to_trust_its_times() -> None:
    view = build_view(with_noise(), synthetic.RESOLVED, About("quick", "m"))
    assert view.trust is not None
    assert view.trust.level == "trust with care"
    text = " ".join(printed(view).split())
    swin = sum(record.case.model == "swin" and "latency" in record.indicators for record in synthetic.quick())
    assert f"{HEADING} ━" in text
    assert f"Trust these times with care: {swin} cases ran while the machine was slow (typically below 85 %" in text
    assert f"and {swin - 3} more). Their times are longer by that; ratios within the same rounds" in text
    assert "hardly change. Compare ratios rather than times, or measure again" in text
    assert (
        "Other processes used 25 % of all cores; the hypervisor withheld 0.4 % of the time; a fixed work timed" in text
    )
    assert text.index("in short: the length") < text.index(HEADING)


def held_up(records: Iterable[Record], share: float, models: tuple[str, ...] = ()) -> Iterator[Record]:
    """The records with other threads that waited for a share of each sample, of some models or of all."""
    for record in records:
        latency = record.indicators.get("latency")
        if latency is not None:
            lost = share if not models or record.case.model in models else 0.0
            waits = tuple(round(lost * sample) for sample in latency.samples)
            name = f"{record.case.model}-{record.case.length}-{record.case.mode}"
            rounds = Rounds(name, others_waits=waits, hits=tuple(int(wait > 0) for wait in waits))
            record = replace(record, indicators={**record.indicators, "latency": replace(latency, rounds=rounds)})
        yield record


def test_a_run_that_was_held_up_is_not_to_be_trusted_and_says_so_first() -> None:
    view = build_view(held_up(synthetic.quick(), 0.95), synthetic.RESOLVED, About("quick", "m"))
    assert view.trust is not None
    assert view.trust.level == "do not trust"
    text = " ".join(printed(view).split())
    assert text.index("Do not trust these times: other processes held up") < text.index("━━")
    assert (
        "so times and what follows from them may be off by a factor of ten and more. Measure again while nothing"
        in text
    )
    (reason,) = document(view)["trust"]["reasons"]
    assert set(reason) == {"what", "consequence", "action"}


def test_times_hold_what_the_first_thread_waited_too() -> None:
    """On one core there are no other threads, and a medians of samples as they are is twice as long."""
    records = []
    for record in held_up(synthetic.quick(), 0.5):
        latency = record.indicators.get("latency")
        if latency is not None and latency.rounds is not None:
            own = replace(latency.rounds, waits=latency.rounds.others_waits, others_waits=(0,) * len(latency.samples))
            record = replace(record, indicators={"latency": replace(latency, rounds=own)})
        records.append(record)
    view = build_view(records, synthetic.RESOLVED, About("quick", "m"))
    assert view.trust is not None
    assert view.trust.level == "do not trust"
    kept = trust(records, RunNoise(0, 0, {}), of_kept=True)
    assert kept is not None
    assert kept.level == "trust"  # a gate subtracts it


def test_a_few_cases_that_were_held_up_are_named() -> None:
    view = build_view(held_up(synthetic.quick(), 0.5, ("vit",)), synthetic.RESOLVED, About("quick", "m"))
    assert view.trust is not None
    assert view.trust.level == "trust with care"
    text = " ".join(printed(view).split())
    assert "for more than 10 % of the time (vit " in text
    assert "the other cases are sound. Measure again while nothing else runs" in text


def test_little_that_was_waited_says_how_much_too_long_times_may_be() -> None:
    view = build_view(held_up(synthetic.quick(), 0.06), synthetic.RESOLVED, About("quick", "m"))
    assert view.trust is not None
    assert view.trust.level == "trust with care"
    assert "a difference of more than 10 % is real" in " ".join(printed(view).split())


def test_a_run_that_was_left_alone_is_to_be_trusted() -> None:
    view = build_view(held_up(synthetic.quick(), 0.0), synthetic.RESOLVED, About("quick", "m"))
    assert view.trust is not None
    cases = sum("latency" in record.indicators for record in synthetic.quick())
    assert view.trust.sentence == f"Trust these times: other processes held up none of {cases} cases."
    assert view.trust.reasons == ()


def test_the_document_holds_the_summary_and_not_the_readings() -> None:
    view = build_view(with_noise(), synthetic.RESOLVED, About("quick", "m"))
    data = json.loads(json.dumps(document(view), allow_nan=False))
    assert data["quiet"]["others_share"] == 0.25
    assert data["trust"]["level"] == "trust with care"
    first = data["quiet"]["slow"][0]
    assert (first["case"]["model"], round(first["speed"], 3)) == ("swin", 0.667)
    cells = [
        cell
        for part in data["modalities"]
        for table in part["tables"]
        for row in table["rows"]
        for cell in row["cells"]
    ]
    assert {name for cell in cells for name in cell["detail"] or ()} == {"rounds", "batch"}


def test_a_run_of_before_says_nothing() -> None:
    view = build_view(synthetic.quick(), synthetic.RESOLVED, About("quick", "m"))
    assert view.quiet is None
    assert document(view)["quiet"] is None
    assert HEADING not in printed(view)


def sentences(quiet: RunNoise) -> list[str]:
    found = trust([], quiet)
    assert found is not None
    return [text.plain for text in trust_lines(judgement(found), quiet)]


def test_only_what_is_known_is_told() -> None:
    assert sentences(RunNoise(0, 0, {})) == ["Trust these times: nothing is known to have disturbed them."]
    throttled = sentences(RunNoise(0, 0, {}, throttled=True))
    assert throttled[0] == "Trust these times with care: the clock was lowered for heat or power."
    assert throttled[1].startswith("Times are longer than those of a cool machine")
    slow = sentences(RunNoise(2, 2, {"steal": 2}, 0.5, 1, (SlowCase(Case("bert", 1024, "train"), 0.5),)))
    assert (
        "1 case ran while the machine was slow (typically below 85 % of its best speed: bert eager train 1,024: 50 %"
        in slow[0]
    )
    assert slow[-1] == "A fixed work timed between the samples ran at 50 to 100 % of its best speed."


def test_the_checks_are_a_table_with_a_sentence() -> None:
    observation = Observation(Steadiness((10_000_000,) * 100), Noise(1.0, 100), (), 1)
    checks = (Check("governor", "warn", "powersave", "sudo cpupower [x]"), Check("steal", "ok", "none"))
    file = io.StringIO()
    report.write(MachineCheck(checks, observation, ((0.01, 0.004), (0.1, 0.021))), Console(file=file, width=80))
    lines = [" ".join(line.split()) for line in file.getvalue().splitlines()]
    assert lines[0] == "check found what to do"
    assert lines[2:4] == ["governor warn powersave sudo cpupower [x]", "steal ok none"]
    assert " ".join(lines[4:]) == (
        "1 warning in 2 checks. At this steadiness, 30 s of pyprof.compare should show a difference of about 0.40 % "
        "between steps of 10.0 ms, and of 2.1 % between steps of 100 ms."
    )
    file = io.StringIO()
    report.write(MachineCheck(checks[1:], observation, ((0.01, None),)), Console(file=file, width=200))
    assert "Nothing here disturbs measurements. The fixed work ran too few times" in file.getvalue()
