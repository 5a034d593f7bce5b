from __future__ import annotations

import io
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic_run as synthetic
from rich.console import Console
from simulated_machine import make_study

from pyprof.analysis.omitted import Note
from pyprof.analysis.published import Side
from pyprof.analysis.tipping import Crossing, Tipping
from pyprof.records.case import Case, Mode
from pyprof.records.trust import of_share
from pyprof.report.axis import data_set_sentences
from pyprof.report.bars import bar, legend
from pyprof.report.build import About, build_view
from pyprof.report.style import ASCII, Glyphs, Scale, glyphs, scale
from pyprof.report.terminal import render, write
from pyprof.report.view import Placement, View
from pyprof.statistics.estimate import Estimate

ABOUT = About("quick", "2 slow cores, torch 2.13.0")


@pytest.fixture(scope="module")
def view() -> View:
    return build_view(synthetic.quick(), synthetic.RESOLVED, ABOUT)


def printed(view: View, width: int = 80, colour: bool = False, marks: Glyphs | None = None) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=colour, color_system="256" if colour else None)
    console.print(render(view, width, marks or Glyphs()))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def section(text: str, start: str, lines: int) -> list[str]:
    """The lines from the first one that begins with `start`."""
    every = [line.rstrip() for line in text.splitlines()]
    first = next(index for index, line in enumerate(every) if line.startswith(start))
    return every[first : first + lines]


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_cut_off(view: View, width: int) -> None:
    text = printed(view, width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text


def test_without_colour_there_are_no_escapes_and_the_same_words(view: View) -> None:
    plain, coloured = printed(view), printed(view, colour=True)
    assert "\x1b" not in plain
    assert "\x1b[" in coloured
    assert "1,676 [1,562–1,802] =" in plain


def test_an_ascii_terminal_gets_ascii(view: View) -> None:
    assert printed(view, marks=ASCII).replace("─", "-").isascii()
    assert glyphs("ascii") == glyphs("latin-1") == glyphs("no such encoding") == ASCII
    assert glyphs("utf-8") == Glyphs()
    raw = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    write(view, Console(file=raw, width=80))
    raw.flush()


def test_units_are_in_the_titles(view: View) -> None:
    table = section(printed(view), "Latency of one example, infer", 6)
    assert table[0] == "Latency of one example, infer (ms)"
    assert table[3].split() == ["(tokens)", "(ms)", "(ms)", "(ms)", "(ms)"]
    assert section(printed(view), "Throughput", 1) == ["Throughput at the largest batch that fits, infer (examples/s)"]


def test_cells_show_the_median_its_interval_and_whether_it_is_cheaper(view: View) -> None:
    lines = section(printed(view), "Latency of one example, infer", 14)
    row = next(line for line in lines if line.lstrip().startswith("2,042"))
    assert row.split() == ["2,042", "3,172", "±2.1%", "2,877", "±1.6%", "3,052", "±1.3%▽", "2,425", "±1.4%▼"]
    assert next(line for line in lines if line.lstrip().startswith("3,362")).split()[1] == "oom"


def test_wide_tables_are_split_between_columns() -> None:
    names = [f"model{number}" for number in range(12)]
    facts = dict.fromkeys(names, synthetic.FACTS["bert"])
    one = synthetic.record("bert", "eager", 62, "infer")
    records = [replace(one, case=replace(one.case, model=name)) for name in names]
    text = printed(build_view(records, synthetic.resolved((), facts), About("wide", "m")))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert all(name in text for name in names)


def test_shares_stand_beside_their_bars(view: View) -> None:
    lines = section(printed(view), "Where the time goes", 8)
    assert "██ self-attention" in lines[1]
    assert lines[4].startswith("bert eager                62 ████▒▒▒▒")
    assert lines[4].endswith("22")


def test_the_share_outside_of_attention_stands_beside_the_published_one(view: View) -> None:
    text = " ".join(printed(view).split())
    assert "Below 1,000 tokens, on average so much of latency lies outside self-attention: then infer 65 %" in text
    assert "(measured from 62 to 542); published 35 %" in text


def test_tipping_points_stand_beside_the_published_ones(view: View) -> None:
    lines = section(printed(view), "longformer eager against bert eager (then, float32)", 4)
    assert lines[1].split("  ")[1:] == [
        "latency",
        "",
        "",
        "1,676 [1,562–1,802] =",
        " 1,682 [1,562–1,802] =",
        " 1,750–2,000",
    ]
    assert lines[2].split() == ["throughput", "nowhere", "542–1,562", "=", "nowhere", "542–1,562", "=", "none"]


def test_the_axis_places_points_and_data_sets(view: View) -> None:
    lines = section(printed(view), "On the axis", 5)
    assert lines[1].strip().startswith("62──")
    assert lines[1].endswith("3,362")
    # SST and MNLI lie below the range, TriviaQA above it; SQuAD2, the third, OntoNotes and others in it.
    assert lines[2].startswith("data sets (mean)         ◂")
    assert lines[2].endswith("▸")
    assert [mark for mark in lines[2][26:-1] if mark != "─"] == ["3", "4", "5", "6"]
    published, tipping = lines[3], lines[4]
    assert published.index("▒") > tipping.index("●") > tipping.index("├")


def test_data_sets_are_put_into_words(view: View) -> None:
    text = " ".join(printed(view).split())
    assert "the mean LibriSpeech utterance, 615 tokens, lies below it; Spoken-SQuAD (3,080) above it" in text


def test_data_sets_in_one_interval_are_listed(view: View) -> None:
    speech = view.modalities[1]
    sides: dict[str, Side] = {"TEDLIUM": "within", "LJSpeech": "within", "VoxCeleb": "within", "LibriSpeech": "above"}
    placed = tuple(Placement(name, 300 + number, side) for number, (name, side) in enumerate(sides.items()))
    line = replace(speech.tipping[0], data_sets=placed)
    (sentence,) = data_set_sentences(speech, [line])
    assert sentence.plain == (
        "l-hubert then infer: the mean TEDLIUM utterance (300 tokens), LJSpeech (301) and VoxCeleb (302) lie in its "
        "interval; LibriSpeech (303) above it"
    )


def test_what_no_time_was_left_for_is_not_called_skipped(view: View) -> None:
    omission = next(each for each in view.omitted if each.status == "skipped")
    spent = replace(omission, reason="predicted 10.6 s, 5.66 s left of the budget of 8 min")
    needless = replace(omission, reason="not needed: what it would be compared for is decided without it")
    lines = section(printed(replace(view, omitted=(spent, needless))), "━━ not measured", 12)
    assert lines[1].startswith("no time ")
    assert any(line.startswith("not needed ") for line in lines)
    assert "skipped" not in "".join(lines)


def test_a_model_whose_parameters_vary_stands_in_one_row(view: View) -> None:
    part = view.modalities[2]
    vit = next(line for line in part.models if line.column.model == "vit")
    more = replace(vit, column=replace(vit.column, attention="sdpa"), most=(vit.most or 0) + 10**6)
    text = printed(replace(view, modalities=(*view.modalities[:2], replace(part, models=(vit, more)))))
    rows = text.rpartition("Parameters and the share")[2].partition("━━")[0].splitlines()
    assert len([line for line in rows if line.startswith("vit ")]) == 1


def test_what_is_missing_takes_few_lines(view: View) -> None:
    lines = section(printed(view), "━━ not measured", 12)
    assert lines[1] == "oom 1 case, infer, 3,362 tokens: bert eager"
    assert lines[2] == "  needed 3.1 GiB and 2.9 GiB were free"
    assert sum(line.startswith("skipped ") for line in lines) == 3


def test_the_report_begins_with_the_tipping_points(view: View) -> None:
    lines = section(printed(view), "━━ in short", 6)
    assert lines[1] == "Latency of one example in tokens (swin: pixels) [95 % interval]"
    assert lines[4].split() == ["longformer", "then", "1,676", "[1,562–1,802]", "1,682", "[1,562–1,802]", "1,750–2,000"]
    assert lines[5].split()[:3] == ["now", "2,469", "[2,042–2,582]"]
    assert "━━ in short" not in printed(view).partition("━━ text")[2]


def test_a_terminal_says_it_again_at_the_end(view: View) -> None:
    file = io.StringIO()
    write(view, Console(file=file, width=80, force_terminal=True, color_system=None))
    assert file.getvalue().rindex("in short") > file.getvalue().index("━━ not measured")


MODELS = ("bert", "longformer", "nystromformer")


def at_one_length(noise: float, modes: Sequence[Mode] = ("infer",), about: About = ABOUT) -> View:
    """Three models at 1,562 tokens, where bert takes 1.02 times as long as nystromformer, give or take the noise."""
    records = [synthetic.record(model, "eager", 1562, mode, 7, noise) for model in MODELS for mode in modes]
    return build_view(records, synthetic.RESOLVED, about)


def test_at_one_length_it_begins_with_the_fastest() -> None:
    text = printed(at_one_length(0.001))
    lines = section(text, "━━ in short", 9)
    assert lines[0].startswith("━━ in short: which model costs least at 1,562 tokens ━")
    assert lines[2].startswith("  infer then  nystromformer is fastest; bert takes 1.2")
    assert "Tipping points" not in text
    assert "On the axis" not in text
    assert "measure about" not in text
    table = section(text, "then ", 5)
    assert [line.split()[0] for line in table[2:]] == ["nystromformer", "bert", "longformer"]
    assert table[2].split()[2:4] == ["1.85", "s"]


def test_an_order_that_is_not_shown_says_what_to_measure() -> None:
    study = make_study()
    text = printed(at_one_length(0.3, about=replace(ABOUT, plan=study, directory=Path("runs/a run"))))
    lines = section(text, "━━ in short", 12)
    assert lines[2].startswith("  infer then  not shown which: ")
    assert "To tell what is not shown, measure about " in text
    printed_command = text[text.index("pyprof study ") :].partition("\n\n")[0].replace("\\\n", " ")
    command = shlex.split(printed_command)
    assert command[:3] == ["pyprof", "study", "runs/a run/study.toml"]
    assert command[-2:] == ["-o", "runs/a run-longer"]
    assert int(command[command.index("--max-samples") + 1]) > study.care.max_samples


def test_a_run_that_is_not_to_be_trusted_asks_for_another_and_not_for_more() -> None:
    view = at_one_length(0.3, about=replace(ABOUT, plan=make_study(), directory=Path("runs/a run")))
    text = printed(replace(view, trust=of_share(0.6)))
    assert "To tell what is not shown" not in text
    before = " ".join(text.partition("━━ in short")[0].split())
    assert "Do not trust these times: other processes held the threads up for 60 % of the time." in before
    assert "Measure again while nothing else runs on the cores" in before


def test_at_one_length_a_mode_without_time_says_so_and_how_to_go_on() -> None:
    records = [synthetic.record(model, "eager", 1562, "infer") for model in MODELS]
    spent = synthetic.record("bert", "eager", 1562, "train")
    reason = "predicted 10.6 s, 5.66 s left of the budget of 8 min"
    records.append(replace(spent, status="skipped", reason=reason, indicators={}, kinds={}))
    view = build_view(records, synthetic.RESOLVED, replace(ABOUT, directory=Path("runs/a run")))
    text = printed(view)
    assert "train: no time: the study's time was up before, and this goes on:" in text
    assert "pyprof study -o 'runs/a run' --resume" in text
    assert "no time" not in printed(at_one_length(0.001))


def test_where_noise_is_the_matter_nobody_is_told_to_measure_for_days() -> None:
    text = " ".join(
        printed(at_one_length(1.0, about=replace(ABOUT, plan=make_study(), directory=Path("runs/a run")))).split()
    )
    assert "more of such samples: measure again while the machine is quieter" in text
    assert "a run-longer" not in text


def changed(view: View, tipping: Tipping) -> str:
    """The report with another outcome for all text comparisons."""
    text = view.modalities[0]
    lines = tuple(replace(line, tipping=tipping, agreement=None) for line in text.tipping)
    return " ".join(printed(replace(view, modalities=(replace(text, tipping=lines),))).split())


def test_several_crossings_are_listed(view: View) -> None:
    crossings = (Crossing(500.0, 400, 600), Crossing(900.0, 800, 1000, gains=False), Crossing(1500.4, 1400, 1600))
    text = changed(view, Tipping("several", crossings[-1], crossings))
    assert "1,500 [1,400–1,600]" in text
    assert "cheaper from 500 [400–600]; dearer from 900 [800–1,000]; cheaper from 1,500 [1,400–1,600]" in text


def test_open_intervals_and_reasons_are_said(view: View) -> None:
    crossing = Crossing(1500.0, 1400, None)
    text = changed(view, Tipping("point", crossing, (crossing,), "no longer length is shown to cost less"))
    assert "1,500 [1,400–?]" in text
    assert "latency infer, latency train" in text
    assert "peak memory train: no longer length is shown to cost less" in text
    assert "no difference is shown" in changed(view, Tipping("undetermined", reason="no difference is shown"))
    assert "[?–?]" in changed(view, Tipping("point", Crossing(7.0, None, None), (Crossing(7.0, None, None),)))


def test_warnings_and_notes_are_shown(view: View) -> None:
    text = printed(replace(view, warnings=("the last line is torn",), notes=(Note("padded to 512", True, 3),)))
    assert "warning: the last line is torn" in text
    assert "padded to 512 (3 cases, the numbers differ)" in text


def test_an_empty_run_is_a_header() -> None:
    text = printed(build_view([], synthetic.resolved(()), ABOUT))
    assert text.splitlines()[0] == "pyprof · study quick"
    assert "0 cases" in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_run_of_failures_or_of_one_record_says_what_there_is(width: int) -> None:
    reason = "needed 3.1 GiB and 2.9 GiB were free"
    failed = [synthetic.missing(Case(name, 62), "oom", reason) for name in ("bert", "longformer")]
    text = printed(build_view(failed, synthetic.RESOLVED, ABOUT), width)
    assert "2 cases: 2 oom" in text
    assert " ".join(reason.split()) in " ".join(text.split())
    assert "nan" not in text.lower()
    text = printed(build_view([synthetic.record("bert", "eager", 62, "infer")], synthetic.RESOLVED, ABOUT), width)
    assert "1 case: 1 ok" in text
    assert "Where the time goes" in text


def test_brackets_in_a_name_are_no_markup() -> None:
    one = synthetic.record("bert", "eager", 62, "infer")
    two = replace(one, case=replace(one.case, model="a[red]b:c"))
    longer = [replace(each, case=replace(each.case, length=99)) for each in (one, two)]
    facts = {**synthetic.FACTS, "a[red]b:c": synthetic.FACTS["longformer"]}
    comparison = replace(synthetic.COMPARISONS[0], variant="a[red]b:c")
    text = printed(build_view([one, two, *longer], synthetic.resolved([comparison], facts), About("x", "y")), width=120)
    assert text.count("a[red]b:c") == 7
    assert "a[red]b:c eager against bert eager" in text


@pytest.mark.parametrize("width", [1, 7, 20, 33])
def test_a_bar_is_exactly_as_wide_as_asked(width: int) -> None:
    shares = {"self-attention": 0.333, "feedforward": 0.333, "embedding": 0.001, "mine": 0.333}
    text = bar(shares, width, Glyphs())
    assert text.cell_len == width


def test_a_legend_parts_no_filling_from_its_name() -> None:
    kinds = ["self-attention", "feedforward", "embedding", "normalisation", "head", "other", "outside"]
    lines = legend(kinds, 40, Glyphs()).plain.splitlines()
    assert all(len(line.rstrip()) <= 40 for line in lines)
    assert sum(line.count("  ") >= 0 and line.strip() != "" for line in lines) == len(lines)
    assert [name for name in kinds if not any(f" {name}" in line for line in lines)] == []


def test_one_unit_serves_a_whole_table() -> None:
    assert scale([0.0221, 3.5], "time") == Scale("ms", 1e-3)
    assert scale([0.12, 3.5], "time") == Scale("s", 1.0)
    assert scale([3e-10], "time").unit == "ns"
    assert scale([500 * 2.0**20], "bytes") == Scale("MiB", 2.0**20)
    assert scale([0.5, 7.0], "number", "examples/s") == Scale("examples/s")
    assert scale([], "time").unit == "s"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3504.4, "3,504"),
        (99.96, "100"),
        (12.34, "12.3"),
        (9.996, "10.0"),
        (1.234, "1.23"),
        (0.12345, "0.123"),
        (0, "0"),
    ],
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert Scale("s").number(value) == text


def test_what_the_probes_cost_stands_below_the_shares(view: View) -> None:
    assert "of steps with probes" not in printed(view)
    records = [replace(record, overhead=Estimate(1.004)) for record in synthetic.quick()]
    records[0] = replace(records[0], overhead=Estimate(1.0312, 1.02, 1.04))
    text = " ".join(printed(build_view(records, synthetic.RESOLVED, ABOUT), 200).split())
    said = f"which took 0.40 % longer than those without (median of {len(records)} cases; 3.12 % longer at most)"
    assert said in text
