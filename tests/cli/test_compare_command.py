"""`pyprof compare` on run directories that are written, not measured, and on two tiny models."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pyprof.cli.main import build_parser, main
from pyprof.records import study as studies
from pyprof.records.case import Case
from pyprof.records.environment import Environment
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.rounds import Rounds
from pyprof.records.store import Store
from pyprof.statistics.estimate import Estimate
from pyprof.study.resolve import resolve

ROOT = Path(__file__).parents[2]
MACHINE = Environment(
    hostname="here",
    cpu="Slow CPU",
    cores=2,
    memory_bytes=2**33,
    threads=2,
    system="Linux",
    kernel="6.1",
    architecture="x86_64",
    python="3.11.2",
    torch="2.13.0",
    transformers="5.23.0",
    pyprof="0.1.0",
    blas="mkl",
    onednn="3.9",
    cpu_capability="AVX512",
)
MODELS = {"bert": 1.0, "longformer": 1.3, "nystromformer": 1.2}
LENGTHS = (128, 256, 512, 1024)
SPREAD = (1.0, 1.002, 0.998, 1.001, 0.999, 1.003)


def write_run(
    directory, factor=lambda case: 1.0, machine=MACHINE, left_out=(), stops_at=None, waits=0.0, ended=(), **study
):
    """A run of three models at four lengths; returns its directory.

    It ends before the case `stops_at`, as on a full disk, and other threads of its steps wait for so large a share. The
    rounds `ended` then, where it took turns.
    """
    settings = {"modes": ("infer",), "metrics": ("latency", "parameters"), **study}
    with Store(directory) as store:
        study = replace(studies.load("quick"), **settings)
        store.begin(study, resolve(study), machine)
        for model, cost in MODELS.items():
            for length in LENGTHS:
                case = Case(model, length)
                if case == stops_at:
                    return directory
                seconds = length * 1e-3 * cost * factor(case)
                samples = tuple(round(seconds * each * 1e9) for each in SPREAD)
                waited = tuple(round(waits * sample) for sample in samples)
                rounds = Rounds(f"{length}", yardstick=(10_000_000,) * 6, others_waits=waited, ended=ended)
                figures = {
                    "latency": Reading(seconds, seconds * 0.998, seconds * 1.003, samples, rounds=rounds),
                    "parameters": Reading(1000.0 * cost),
                }
                broken = case in left_out
                status, reason = ("error", "RuntimeError: no <such> kernel") if broken else ("ok", None)
                indicators = {} if broken else figures
                now = "2026-05-09T07:35:25Z"
                store.append(Record(case, status, machine.fingerprint, now, 1.0, reason, indicators, attention="eager"))
    return directory


def slower(case):
    return 1.2 if (case.model, case.length) == ("longformer", 512) else 1.0


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of one study: the baseline, the same again, one with a slower case, one with a case that fails, ..."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        "main": write_run(folder / "main"),
        "same": write_run(folder / "same"),
        "slower": write_run(folder / "slower", slower),
        "broken": write_run(folder / "broken", left_out=(Case("bert", 256),)),
        "stopped": write_run(folder / "stopped", stops_at=Case("longformer", 128)),
        "disturbed": write_run(folder / "disturbed", lambda case: 20.0, waits=0.95),
        "elsewhere": write_run(folder / "elsewhere", lambda case: 0.4, replace(MACHINE, cpu="Fast CPU", cores=64)),
        "newer": write_run(folder / "newer", slower, replace(MACHINE, torch="2.14.0")),
    }


def run(capsys, *arguments):
    try:
        code = main(["compare", *map(str, arguments)])
    except SystemExit as stop:  # argparse's own errors
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_equal_runs_pass(capsys, runs):
    code, out, err = run(capsys, runs["main"], runs["same"], "--fail-over", "3%")
    assert (code, err) == (0, "")
    assert "Passed: no regression beyond 3 % is shown." in out
    assert "Exactly the same: parameters of 12 cases" in out


@pytest.mark.parametrize(
    ("head", "said"), [("same", "Passed: "), ("slower", "Failed: 1 regression"), ("broken", "Failed: 1 case missing")]
)
def test_what_it_comes_to_stands_first_and_last(capsys, runs, head, said):
    _, out, _ = run(capsys, runs["main"], runs[head], "--fail-over", "3%")
    lines = out.splitlines()
    first, last = (place for place, line in enumerate(lines) if line.startswith(said))
    assert lines[0].startswith("pyprof · ")
    assert first < 5
    assert last > len(lines) - 3


def test_a_regression_ends_in_exit_code_1_only_where_a_gate_is_set(capsys, runs):
    code, out, err = run(capsys, runs["main"], runs["slower"], "--fail-over", "3%")
    assert code == 1
    assert err == "pyprof: the gate is not passed: 1 regression beyond 3 % shown\n"
    assert re.search(r"longformer eager 512 +666 ms → 799 ms +\+20\.\d %", out)
    code, out, err = run(capsys, runs["main"], runs["slower"])
    assert (code, err) == (0, "")
    assert "1 regression shown." in out
    code, _, err = run(capsys, runs["main"], runs["slower"], "--fail-over", "25%")
    assert (code, err) == (0, "")
    code, out, _ = run(capsys, runs["slower"], runs["main"], "--fail-over", "0%")
    assert code == 0
    assert "costs less" in out


def test_a_case_that_broke_fails_the_gate_with_its_reason(capsys, runs):
    code, out, err = run(capsys, runs["main"], runs["broken"], "--fail-over", "5%")
    assert code == 1
    assert err == (
        "pyprof: the gate is not passed: 1 case missing or failed in the head (bert eager infer 256), "
        "no regression beyond 5 % is shown\n"
    )
    assert "RuntimeError: no <such> kernel" in out
    code, out, _ = run(capsys, runs["broken"], runs["main"], "--fail-over", "5%")
    assert code == 0
    assert "failed in the baseline" in out


def test_a_head_that_stopped_early_fails_unless_what_it_lacks_is_allowed_by_name(capsys, runs):
    """A full disk ends a run after some cases, whose times are all well."""
    gate = (runs["main"], runs["stopped"], "--fail-over", "5%")
    code, out, err = run(capsys, *gate)
    assert code == 1
    assert "8 cases missing or failed in the head (longformer eager infer 128, " in err
    assert "and 5 more)" in err
    assert "Failed: 8 cases missing" in " ".join(out.split())
    code, _, err = run(capsys, *gate, "--allow-missing", "longformer*")
    assert code == 1
    assert "4 cases missing" in err
    each = [f"nystromformer eager infer {length:,}" for length in LENGTHS]
    named = [word for case in ("longformer", *each) for word in ("--allow-missing", case)]
    code, out, err = run(capsys, *gate, *named)
    assert (code, err) == (0, "")
    assert "not in the run, allowed" in out
    code, out, _ = run(capsys, *gate, "--json")
    document = json.loads(out)
    assert (code, document["outcome"], len(document["missing"])) == (1, "failed", 8)
    _, out, _ = run(capsys, *gate, "--markdown")
    assert "#### Missing or failed in the head" in out


def test_a_head_that_measured_nothing_fails_a_gate(capsys, runs, tmp_path):
    nothing = write_run(tmp_path / "nothing", stops_at=Case("bert", 128))
    code, _, err = run(capsys, runs["main"], nothing, "--fail-over", "5%")
    assert code == 1
    assert "12 cases missing" in err


def test_a_run_too_disturbed_to_judge_neither_passes_nor_fails(capsys, runs, monkeypatch):
    gate = (runs["main"], runs["disturbed"], "--fail-over", "5%")
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run(capsys, *gate)
    words = " ".join(out.split())
    assert code == 4
    assert err.startswith("pyprof: the gate is neither passed nor failed: 12 of 24 comparisons too disturbed to judge")
    assert "Neither passed nor failed: 12 of 24 comparisons too disturbed to judge" in words
    assert f"In {runs['disturbed']} other processes took the cores" in words
    assert f"pyprof study {runs['disturbed']}/study.toml -o {runs['disturbed']}-again" in words
    assert "--pin 0" in words
    assert f"{runs['disturbed']}: Do not trust these times: other processes held up 12 of 12 cases" in words
    assert f"{runs['main']}: Trust these times: other processes held up none of 12 cases." in words
    assert "▲" not in out.partition("Latency")[2]
    code, out, _ = run(capsys, *gate, "--json")
    document = json.loads(out)
    assert (code, document["outcome"], document["failed"]) == (4, "too disturbed", False)
    assert document["again"]["runs"] == [str(runs["disturbed"])]
    levels = {name: judged["level"] for name, judged in document["trust"].items()}
    assert levels == {"baseline": "trust", "head": "do not trust"}
    assert document["again"]["obstacles"] == ["waits"]
    assert len(document["again"]["cases"]) == 12
    code, out, _ = run(capsys, *gate, "--markdown")
    assert code == 4
    assert out.startswith("### pyprof: Neither passed nor failed: ")
    assert "Too disturbed to judge: 12" in out
    assert f"> **Warning:** {runs['disturbed']}: Do not trust these times" in out
    code, out, err = run(capsys, *gate[:2])
    assert (code, err) == (0, "")
    assert "12 of 24 comparisons too disturbed to judge" in " ".join(out.split())


def test_what_is_counted_is_judged_on_a_disturbed_machine_too(capsys, runs):
    gate = (runs["main"], runs["disturbed"], "--fail-over", "5%", "--metrics", "parameters")
    code, _, err = run(capsys, *gate)
    assert (code, err) == (0, "")


def test_json_is_one_document(capsys, runs):
    code, out, err = run(capsys, runs["main"], runs["slower"], "--fail-over", "0.03", "--json")
    document = json.loads(out)
    assert code == 1
    assert err.startswith("pyprof: ")
    assert document["failed"]
    worst = max(document["changes"], key=lambda change: change["ratio"])
    assert worst["verdict"] == "regression"
    assert worst["low"] < 1.2 < worst["high"]
    assert worst["case"]["model"] == "longformer"
    assert {shape["comparison"]["variant"] for shape in document["shapes"]} == {"longformer", "nystromformer"}


def test_markdown_begins_with_what_is_wrong_and_escapes(capsys, runs):
    code, out, _ = run(capsys, runs["main"], runs["slower"], "--fail-over", "3%", "--markdown")
    lines = out.splitlines()
    assert code == 1
    assert lines[0] == "### pyprof: Failed: 1 regression beyond 3 % shown."
    tables = [line for line in lines if line.startswith("|")]
    assert tables[2].startswith("| **longformer eager** 512 | latency, infer | 666 ms | 799 ms | +20")
    assert out.count("<details>") == out.count("</details>") >= 2
    assert "Slow CPU, 2 of 2 cores" in out
    _, out, _ = run(capsys, runs["main"], runs["broken"], "--markdown")
    assert "no &lt;such&gt; kernel" in out


def test_other_machines_are_refused_or_compared_in_their_shapes(capsys, runs):
    code, out, err = run(capsys, runs["main"], runs["elsewhere"])
    assert (code, out) == (2, "")
    assert "processor: Slow CPU against Fast CPU; cores: 2 against 64" in err
    assert "--across-machines" in err
    code, out, err = run(capsys, runs["main"], runs["elsewhere"], "--across-machines")
    assert (code, err) == (0, "")
    assert "Fast CPU" in out
    assert "ratios to the vanilla model" in out
    assert not re.search(r"\d ms|\d s\b", out)
    code, out, _ = run(capsys, runs["main"], runs["elsewhere"], "--across-machines", "--json")
    document = json.loads(out)
    assert document["changes"] == []
    assert all(not ratio["shown"] for shape in document["shapes"] for ratio in shape["ratios"])


def test_other_software_has_to_be_meant(capsys, runs):
    code, _, err = run(capsys, runs["main"], runs["newer"])
    assert code == 2
    assert "torch: 2.13.0 against 2.14.0" in err
    assert "--across-software" in err
    code, out, _ = run(capsys, runs["main"], runs["newer"], "--across-software", "--fail-over", "3%")
    assert code == 1
    assert "differs: torch: 2.13.0 against 2.14.0" in out
    code, _, err = run(capsys, runs["main"], runs["elsewhere"], "--across-software")
    assert code == 2
    assert "processor" in err


def test_a_wide_and_a_narrow_terminal(capsys, runs, monkeypatch):
    for width in (80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        _, out, _ = run(capsys, runs["main"], runs["slower"], "--fail-over", "3%")
        shown = out.replace(str(runs["main"].parent), "runs")
        assert all(len(line) <= width for line in shown.splitlines())
        assert "…" not in out


def test_records_of_another_environment_are_left_out_and_told(capsys, runs, tmp_path):
    mixed = write_run(tmp_path / "mixed")
    lines = (mixed / "records.jsonl").read_text().splitlines()
    first = {**json.loads(lines[0]), "environment": "0123456789abcdef"}
    (mixed / "records.jsonl").write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")
    code, out, _ = run(capsys, runs["main"], mixed)
    assert code == 0
    assert "1 record of" in out
    assert "are left out" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("{main}", "{same}", "--fail-over", "3"), ("--fail-over", "3%")),
        (("{main}", "{same}", "--fail-over", "much"), ("'much'", "3%")),
        (("{main}", "{same}", "--metrics", "latncy"), ("latncy", "latency")),
        (("{main}", "{same}", "--length", "5"), ("--length", "two models")),
        (("{main}", "{same}", "--json", "--markdown"), ("choose one",)),
        (("{main}", "{elsewhere}", "--across-machines", "--fail-over", "3%"), ("--fail-over", "two machines")),
        (("{main}", "{same}", "--fail-over", "3%", "--allow-missing", "brt"), ("'brt'", "bert eager infer 128")),
        (("{main}", "{same}", "--allow-missing", "bert"), ("--fail-over",)),
        (("bert/eager", "bert/sdpa", "--allow-missing", "bert"), ("--allow-missing", "two runs")),
        (("{main}", "bert"), ("is a run and bert is none",)),
        (("bert", "{main}"), ("is a run and bert is none",)),
        (("{main}", "."), ("study.toml", "config.json")),
        (("bert", "brt"), ("brt", "bert")),
        (("bert/eager", "bert/flash", "--size", "tiny"), ("flash", "choose from")),
        (("bert", "vit", "--size", "tiny", "--length", "32"), ("token", "pixel")),
        (("bert/eager", "bert/sdpa", "--markdown"), ("--markdown", "two runs")),
        (("bert/eager", "bert/sdpa", "--size", "tiny", "--length", "0"), ("at least 1",)),
        (("bert/eager", "bert/sdpa", "--size", "tiny", "--precision", "5"), ("--precision", "3%")),
    ],
)
def test_wrong_use_is_one_sentence(capsys, runs, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *(argument.format(**runs) for argument in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("pyprof: ")
    assert len(err.strip().splitlines()) == 1
    assert all(word in err for word in words), err


def test_runs_without_a_case_in_common_and_of_other_optimizers(capsys, runs, tmp_path):
    with Store(tmp_path / "empty") as store:
        store.begin(studies.load("quick"), resolve(studies.load("quick")), MACHINE)
    code, _, err = run(capsys, runs["main"], tmp_path / "empty")
    assert code == 2
    assert "no measured case in common" in err
    trained = [write_run(tmp_path / name, modes=("train",), optimizer=name) for name in ("sgd", "adamw")]
    code, _, err = run(capsys, *trained)
    assert code == 2
    assert "sgd against adamw" in err


def test_two_models_are_compared_now(capsys):
    quick = ("--size", "tiny", "--length", "16", "--seconds", "0.2")
    code, out, err = run(capsys, "bert/eager", "bert/sdpa", *quick)
    assert (code, err) == (0, "")
    assert "bert eager" in out
    assert "bert sdpa" in out
    assert re.search(r"ratio +\d", out)
    assert "pairs in random order" in out
    code, out, _ = run(capsys, "bert/eager", "bert/sdpa", *quick, "--json", "--fail-over", "900%")
    document = json.loads(out)
    assert code == (4 if document["too_disturbed"] else 0)  # the tests' own machine may be busy
    assert document["verdict"] in ("faster", "slower", "no difference shown")
    assert document["ratio"]["value"] > 0
    assert len(document["samples_a"]) == document["pairs"]
    assert document["length"] == 16


def test_a_factory_and_a_gate_between_models(capsys, tmp_path, monkeypatch):
    (tmp_path / "sleepers.py").write_text(
        "import time, torch\n"
        "class Sleeper(torch.nn.Module):\n"
        "    def __init__(self, seconds):\n"
        "        super().__init__()\n"
        "        self.seconds, self.weight = seconds, torch.nn.Parameter(torch.zeros(1))\n"
        "    def forward(self, x):\n"
        "        time.sleep(self.seconds)\n"
        "        return x * self.weight\n"
        "def inputs(length, batch):\n"
        "    return (torch.zeros(batch, length),)\n"
        "def short():\n"
        "    return Sleeper(0.002), inputs\n"
        "def long():\n"
        "    return Sleeper(0.02), inputs\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    operands = ("sleepers:short", "sleepers:long", "--length", "4", "--seconds", "1")
    code, out, err = run(capsys, *operands, "--fail-over", "50%")
    assert code == 1
    assert "the gate is not passed: sleepers:long own takes" in err
    assert "more time than sleepers:short own." in out.replace("\n", " ")
    code, out, err = run(capsys, "sleepers:long/own", "sleepers:short", *operands[2:], "--fail-over", "50%")
    assert (code, err) == (0, "")


@pytest.mark.parametrize(("shares", "code"), [((0.02, 0.01), 1), ((0.9, 0.01), 4), ((None, None), 1)])
def test_two_models_that_were_held_up_are_not_told_apart(capsys, monkeypatch, shares, code):
    """The same difference, which a neighbour makes of the barriers in a step."""
    from pyprof.timing import compare as timing

    def disturbed(*arguments, **options):
        found = real(*arguments, **options)
        return replace(found, ratio=Estimate(20.0, 18.0, 22.0), verdict="slower", held_up=shares)

    real = timing.compare
    monkeypatch.setattr(timing, "compare", disturbed)
    gate = ("bert/eager", "bert/sdpa", "--size", "tiny", "--length", "16", "--seconds", "0.2", "--fail-over", "5%")
    found, out, err = run(capsys, *gate)
    assert found == code
    told = " ".join(out.split())
    assert ("too disturbed to tell" in err) == ("Measure again while nothing else runs" in told) == (code == 4)
    assert ("Do not trust this ratio" in told) == (code == 4)
    found, out, _ = run(capsys, *gate, "--json")
    assert found == code
    assert json.loads(out)["outcome"] == ("too disturbed" if code == 4 else "failed")
    assert run(capsys, *gate[:-2])[0] == 0


def test_the_workflow_of_the_page_is_yaml_whose_commands_exist():
    page = (ROOT / "docs" / "gate.md").read_text()
    (text,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    workflow = yaml.safe_load(text)
    (job,) = workflow["jobs"].values()
    commands = [
        shlex.split(line.split("|")[0].split(">>")[0])
        for step in job["steps"]
        for line in step.get("run", "").replace("\\\n", " ").splitlines()
        if " pyprof " in f" {line}"
    ]
    found = [words[words.index("pyprof") + 1 :] for words in map(list, commands) if "pyprof" in words]
    assert {words[0] for words in found} == {"gate"}
    for words in found:
        build_parser().parse_args(words)
