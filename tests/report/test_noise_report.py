from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace

import synthetic_run as synthetic
from rich.console import Console

from pyprof.analysis.noise import RunNoise, SlowCase
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
from pyprof.report.view import View

HEADING = "how quiet the machine was"


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


def test_a_report_says_how_quiet_the_machine_was() -> None:
    view = build_view(with_noise(), synthetic.RESOLVED, About("quick", "m"))
    assert view.quiet is not None
    text = " ".join(printed(view).split())
    swin = sum(record.case.model == "swin" and "latency" in record.indicators for record in synthetic.quick())
    every = sum("latency" in record.indicators for record in synthetic.quick())
    share = 100 * (every + swin) / (7 * every)
    assert f"{HEADING} ━" in text
    assert f"{share:.1f} % of {7 * every:,} samples were hit by noise ({every:,} by preemption, {swin} by" in text
    assert "other processes used 25 % of all cores; the hypervisor withheld 0.4 % of the time." in text
    assert "A fixed work timed between the samples ran at 67 to 100 % of its best speed" in text
    assert f"{swin} of {every:,} cases ran while the machine was slow (typically below 85 %): swin eager infer" in text
    assert f"and {swin - 3} more. This makes their times longer" in text
    assert text.index(HEADING) < text.index("in short: from where")


def test_the_document_holds_the_summary_and_not_the_readings() -> None:
    view = build_view(with_noise(), synthetic.RESOLVED, About("quick", "m"))
    data = json.loads(json.dumps(document(view), allow_nan=False))
    assert data["quiet"]["others_share"] == 0.25
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
    return [text.plain for text in report.quiet_lines(quiet)]


def test_a_quiet_run_is_told_in_two_sentences() -> None:
    assert sentences(RunNoise(1200, 0, {}, 0.97, 30, (), 0.01, 0.0, False)) == [
        "None of 1,200 samples was hit by noise; other processes used 1 % of all cores.",
        "A fixed work timed between the samples ran at 97 to 100 % of its best speed; no case ran while the machine "
        "was slow (typically below 85 %).",
    ]


def test_only_what_is_known_is_told() -> None:
    assert sentences(RunNoise(0, 0, {}, throttled=True)) == ["The clock was lowered for heat or power."]
    assert sentences(RunNoise(0, 0, {})) == ["The system reported nothing."]
    slow = RunNoise(2, 2, {"steal": 2}, 0.5, 1, (SlowCase(Case("bert", 1024, "train"), 0.5),))
    assert sentences(slow)[0] == "100.0 % of 2 samples were hit by noise (2 by stolen time)."
    assert (
        "1 of 1 case ran while the machine was slow (typically below 85 %): bert eager train 1,024 (50 %)."
        in sentences(slow)[1]
    )


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
