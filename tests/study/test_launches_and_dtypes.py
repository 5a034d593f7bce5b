"""How work is launched, and the dtype of a comparison: axes of a case that studies, pairings and reports know."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from simulated_machine import Simulated, make_study, quadratic

from pyprof.errors import UsageError
from pyprof.models import registry
from pyprof.records import run_directory
from pyprof.records.case import Case
from pyprof.records.resolved import Resolved
from pyprof.records.study import Study, built_in, load, parse
from pyprof.report import terminal
from pyprof.report.as_json import document
from pyprof.report.run import view_of
from pyprof.study.narrow import Narrowing, narrow
from pyprof.study.resolve import resolve
from pyprof.study.run import run_study

BLOCK = {"vanilla": "bert", "variants": ["longformer"], "lengths": [128, 1536], "implementations": ["then", "now"]}
BOTH = ["eager", "graph"]


class Card(Simulated):
    """The simulated machine, which can capture what it launches."""

    def start(self, study: Study):  # type: ignore[no-untyped-def]
        ready = super().start(study)
        return replace(ready, study=replace(ready.study, device="cuda"))


def steps(case: Case) -> float:
    """Half of the time in a graph, and a quarter of it in 16 bits."""
    return quadratic(case) * (0.5 if case.launch == "graph" else 1.0) * (1.0 if case.dtype == "float32" else 0.25)


def on(device: str, study: Study) -> Resolved:
    return resolve(replace(study, device=device))


def printed(directory: Path) -> str:
    file = io.StringIO()
    terminal.write(view_of(run_directory.read(directory)), Console(file=file, width=130))
    return " ".join(file.getvalue().split())


def test_models_are_compared_within_each_launch_and_each_with_itself_between_them() -> None:
    study = make_study(comparison=[{**BLOCK, "implementations": ["now"]}], launches=["graph", "eager"], device="cuda")
    assert study.launches == ("eager", "graph")
    found = [(each.variant, each.variant_how, each.vanilla, each.vanilla_how) for each in resolve(study).comparisons]
    assert found == [
        ("longformer", "eager", "bert", "sdpa"),
        ("longformer", "eager, graph", "bert", "sdpa, graph"),
        ("bert", "sdpa, graph", "bert", "sdpa"),
        ("longformer", "eager, graph", "longformer", "eager"),
    ]
    assert [each.sense for each in resolve(study).comparisons] == [
        "now",
        "now, graph",
        "now, graph against eager",
        "now, graph against eager",
    ]
    alone = make_study(comparison=[{**BLOCK, "variants": []}], launches=BOTH, device="cuda")
    assert [pairing.subjects for pairing in resolve(alone).pairings if pairing.variant] == [
        pairing.subjects for pairing in resolve(alone).pairings if len(pairing.subjects) == 2
    ]
    assert sum(pairing.variant is not None for pairing in resolve(alone).pairings) == 2  # then and now


def test_a_study_in_both_launches_measures_and_reports_them(tmp_path: Path) -> None:
    machine = Card(steps)
    block = {**BLOCK, "implementations": ["now"], "lengths": [128, 512, 1024, 1536, 2048]}
    run_study(make_study(comparison=[block], launches=BOTH), tmp_path / "run", executor=machine, clock=machine.clock)
    assert {(case.model, case.launch) for case in machine.measured} == {
        (model, launch) for model in ("bert", "longformer") for launch in BOTH
    }
    assert len(machine.measured) == len({case.key for case in machine.measured}) == 20
    # A model and its captured self are timed in the same rounds.
    assert all({case.launch for case in group} == set(BOTH) for group in machine.groups)
    (text,) = view_of(run_directory.read(tmp_path / "run")).modalities
    lines = {(line.comparison.variant, line.comparison.sense): line for line in text.tipping}
    assert lines["bert", "now, graph against eager"].tipping.status == "everywhere"
    assert lines["bert", "now, graph against eager"].points[0].ratio == pytest.approx(0.5)
    # What was published is about a variant and its vanilla model.
    assert lines["longformer", "now"].published is not None
    assert lines["bert", "now, graph against eager"].published is None
    assert lines["longformer", "now"].tipping.crossing is not None
    report = printed(tmp_path / "run")
    assert "bert sdpa, graph against bert sdpa (now, float32)" in report
    assert "longformer eager, graph against bert sdpa, graph (now, float32)" in report
    plain = json.loads(json.dumps(document(view_of(run_directory.read(tmp_path / "run")))))
    columns = [column["launch"] for column in plain["modalities"][0]["tables"][0]["columns"]]
    assert columns == ["eager", "graph", "eager", "graph"]


def test_a_comparison_is_in_the_dtype_of_its_implementations_and_the_titles_name_both(tmp_path: Path) -> None:
    study = make_study(comparison=[BLOCK], dtypes={"now": "usual"})
    on_card = on("cuda", study)
    assert [(each.name, each.dtype) for each in on_card.comparisons] == [("then", "float32"), ("now", "bfloat16")]
    assert {each.dtype for each in on("cpu", study).comparisons} == {"float32"}
    machine = Card(steps)
    run_study(study, tmp_path / "run", executor=machine, clock=machine.clock)
    dtypes = {(case.attention, case.dtype) for case in machine.measured if case.model == "bert"}
    assert dtypes == {("eager", "float32"), ("sdpa", "bfloat16")}
    assert all(len({case.dtype for case in group}) == 1 for group in machine.groups)
    run = run_directory.read(tmp_path / "run")
    for line in view_of(run).modalities[0].tipping:
        measured = {point.length for point in line.points}
        assert measured == {128, 1536}
        for record in run.records.values():
            if record.case.attention in (line.comparison.vanilla_attention,) and record.case.model == "bert":
                assert record.case.dtype == line.comparison.dtype
    report = printed(tmp_path / "run")
    assert "longformer eager against bert eager (then, float32)" in report
    assert "longformer eager against bert sdpa (now, bfloat16)" in report
    assert "then: implementations comparable with 2023 (eager against eager), float32" in report
    assert "Latency of one example, infer (ms), bfloat16" in report
    assert "Latency of one example, infer (s), float32" in report


def test_a_run_in_16_bits_alone_says_so_in_its_titles(tmp_path: Path) -> None:
    machine = Card(steps)
    study = make_study(dtype="autocast-bfloat16")
    run_study(study, tmp_path / "run", executor=machine, clock=machine.clock)
    assert "Latency of one example, infer (ms), autocast-bfloat16" in printed(tmp_path / "run")
    assert "Latency of one example, infer (s), float32" not in printed(tmp_path / "run")


def test_the_shipped_studies_take_what_is_in_use_for_today_alone() -> None:
    of_today = set()
    for name in built_in():
        resolved = on("cuda", load(name))
        for each in resolved.pairings:
            needs = any(subject.model == "nystromformer" for subject in each.subjects)
            today = "autocast-bfloat16" if needs else "bfloat16"
            if each.name == "then" or name in ("speech", "sparsity"):
                assert each.dtype == "float32", (name, each)
            else:
                assert each.dtype == today, (name, each)
                of_today.add(name)
        assert {each.dtype for each in on("cpu", load(name)).pairings} == {"float32"}
    assert of_today >= {"quick", "diwan2023", "zoo", "families", "vit-scaling", "generation"}


@pytest.mark.parametrize("entry", registry.entries(), ids=lambda entry: entry.name)
def test_a_model_that_needs_autocast_says_so_and_no_other_needs_it(entry: registry.Entry) -> None:
    dtype = registry.usual_dtype([entry.name], "bfloat16")
    loaded = registry.load(entry.name, size="tiny", attention="best", mode="infer", longest=64, dtype=dtype)
    loaded.fit(64)
    args, kwargs = loaded.inputs(64, 1)
    loaded.call(*args, **kwargs)
    if entry.needs_autocast:
        assert dtype == "autocast-bfloat16"
        with pytest.raises(UsageError, match="cannot run in bfloat16"):
            registry.load(entry.name, size="tiny", attention="best", mode="infer", longest=64, dtype="bfloat16")
    assert registry.usual_dtype([entry.name], "float32") == "float32"


def test_models_that_are_compared_are_all_under_autocast_where_one_needs_it() -> None:
    assert registry.usual_dtype(["bert", "longformer"], "bfloat16") == "bfloat16"
    assert registry.usual_dtype(["bert", "nystromformer"], "bfloat16") == "autocast-bfloat16"
    assert registry.usual_dtype(["mine:model", "bert"], "bfloat16") == "bfloat16"


def test_the_command_line_overrides_the_dtypes_of_a_study() -> None:
    quick = load("quick")
    asked = narrow(quick, Narrowing(settings={"dtype": "float16"}))
    assert {each.dtype for each in on("cuda", asked).comparisons} == {"float16"}
    only_then = narrow(quick, Narrowing(implementations=("then",)))
    assert only_then.dtypes == {}
    assert narrow(quick, Narrowing(modes=("infer",))).dtypes == quick.dtypes
    launched = narrow(quick, Narrowing(settings={"launches": BOTH, "device": "cuda"}))
    assert launched.launches == ("eager", "graph")
    assert parse(launched.to_table(), "again") == launched


def test_where_two_senses_are_the_same_on_a_device_one_of_them_is_measured() -> None:
    study = make_study(comparison=[{**BLOCK, "implementations": ["eager", "then"]}], dtypes={"then": "usual"})
    assert len(study.blocks[0].implementations) == 2
    assert [each.name for each in on("cpu", study).comparisons] == ["eager"]
    assert [each.name for each in on("cuda", study).comparisons] == ["eager", "then"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"launches": ["graf"]}, "test: launches has no launch 'graf': did you mean 'graph'?"),
        ({"launches": []}, "test: launches is an empty list: name at least one"),
        ({"dtypes": {"now": "fp8"}}, "dtypes: now has no dtype 'fp8'"),
        ({"dtypes": {"nwo": "usual"}}, "test: dtypes names 'nwo', which no comparison has: did you mean 'now'?"),
        ({"dtypes": "usual"}, "test: dtypes must be a table from implementations"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_study(comparison=[BLOCK], **change)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


REFUSED = "cpu has no graphs to capture launches in: leave --launch out, or choose cuda"


def test_the_host_refuses_a_graph_whoever_chose_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=REFUSED):
        resolve(make_study(launches=["graph"], device="cpu"))
    machine = Simulated(quadratic)  # whose auto turns out to be the host
    with pytest.raises(UsageError, match=REFUSED):
        run_study(make_study(launches=BOTH), tmp_path / "run", executor=machine, clock=machine.clock)
    assert not machine.measured
    assert machine.closed
    command = [sys.executable, "-m", "pyprof", "study", "quick", "--device", "cpu", "--launch", "graph", "-o", "made"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"pyprof: {REFUSED}\n")
    assert not (tmp_path / "made").exists()


def test_a_run_of_before_is_eager_and_of_the_dtype_of_its_study(tmp_path: Path) -> None:
    machine = Card(steps)
    directory = tmp_path / "run"
    run_study(make_study(dtype="float16"), directory, executor=machine, clock=machine.clock)
    new = run_directory.read(directory)
    resolved = json.loads((directory / "resolved.json").read_text())
    for pairing in resolved["pairings"]:
        assert pairing.pop("dtype") == "float16"
        for subject in (pairing["vanilla"], pairing["variant"]):
            assert subject.pop("launch") == "eager"
    (directory / "resolved.json").write_text(json.dumps(resolved))
    records = [json.loads(line) for line in (directory / "records.jsonl").read_text().splitlines()]
    for record in records:
        assert record["case"].pop("launch") == "eager"
    (directory / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    lines = (directory / "study.toml").read_text().splitlines()
    (directory / "study.toml").write_text("".join(f"{line}\n" for line in lines if not line.startswith("launches")))
    old = run_directory.read(directory)
    assert not old.warnings
    assert old == new
    assert document(view_of(old)) == document(view_of(new))
    assert all(line.points for line in view_of(old).modalities[0].tipping)


def test_what_is_known_of_a_curve_is_of_its_dtype_and_launch(tmp_path: Path) -> None:
    from pyprof.study.prediction import Prediction

    machine = Card(steps)
    study = make_study()
    run_study(study, tmp_path / "run", executor=machine, clock=machine.clock)
    prediction = Prediction(study)
    for record in run_directory.read(tmp_path / "run").records.values():
        prediction.observe(record)
    case = machine.measured[0]
    assert prediction.step_seconds(case) == pytest.approx(steps(case))
    graph = replace(case, launch="graph")
    # Nothing else is known of it, so its time is that of its nearest relative until it is measured.
    assert prediction.step_seconds(graph) == pytest.approx(steps(case))
    prediction.observe(replace(machine.measure(graph).record, environment="x"))
    assert prediction.step_seconds(graph) == pytest.approx(steps(graph))
    assert prediction.step_seconds(case) == pytest.approx(steps(case))


def test_charts_mark_a_crossing_at_the_table_of_its_own_dtype_and_launch(tmp_path: Path) -> None:
    from pyprof.report.charts.curves import _crossings

    machine = Card(steps)
    block = {**BLOCK, "lengths": [128, 512, 1024, 1536, 2048]}
    study = make_study(comparison=[block], launches=BOTH, dtypes={"now": "usual"})
    run_study(study, tmp_path / "run", executor=machine, clock=machine.clock)
    (text,) = view_of(run_directory.read(tmp_path / "run")).modalities
    marks = {table.setting: {words for _, words in _crossings("", text, table)} for table in text.tables}
    assert {setting: len(words) for setting, words in marks.items()} == {"float32": 2, "bfloat16": 2}
    for words in marks.values():
        assert sum("graph" in each for each in words) == 1
