from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from pyprof.models.setup import ModelSetup
from pyprof.overhead import ModeResult, Overhead, OverheadRequest, Row, Stated
from pyprof.overhead.accuracy import Errors, PhaseError
from pyprof.overhead.empty_module import Added
from pyprof.records.environment import Environment
from pyprof.records.noise import Noise
from pyprof.report.overhead import write
from pyprof.statistics.estimate import Estimate


def an_overhead(mode: str = "train") -> Overhead:
    forward = PhaseError(0.0086, 0.033, "blocks.0", 1_340.0, 700.0, 28, 28)
    backward = PhaseError(0.0131, 0.049, "head", None, None, 28, 28) if mode == "train" else None
    ours = Row(
        "pyprof",
        "ok",
        "the mark",
        None,
        Estimate(1.0011, 0.9952, 1.0063),
        (1, 2),
        Added(62.4, 70.0, 0.05, 9),
        56.2,
        "entries",
        Errors(forward, backward, 9),
    )
    heavy = replace(ours, tool="torchprof", ratio=Estimate(12.5), call=None, event_bytes=None, errors=None)
    heavy = replace(heavy, gaps={"call": "RuntimeError: it broke"})
    failed = Row("Python hooks", "error", "nothing", "RuntimeError: an operation in place")
    absent = Row("DeepSpeed", "skipped", "nothing", "not installed: pip install deepspeed")
    stated = Stated(231.0, 400.0 if mode == "train" else 0.0, Estimate(0.1), Estimate(1.0024, 0.999, 1.0061), 40)
    result = ModeResult(
        mode,
        "sdpa",
        Estimate(0.1, 0.099, 0.101),
        (1, 2),
        "time",
        (ours, heavy, failed, absent),
        1_100.0,
        9_000.0,
        stated,
        Noise(1.0, 10, {"preempted": 3}),
        0.3,
        ("padded to 512",),
    )
    machine = Environment(
        "host", "a CPU", 2, 2**33, 1, "Linux", "6", "x86_64", "3.11", "2.13", "5.23", "0.1", "mkl", None, "AVX2"
    )
    return Overhead(OverheadRequest(ModelSetup("bert", 512), (mode,)), "token", machine, (result,))


def lines(overhead: Overhead, width: int = 100) -> list[str]:
    file = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    write(overhead, Console(file=file, width=width, color_system=None))
    file.seek(0)
    return [line.rstrip() for line in file.read().splitlines()]


def test_the_figures_of_each_tool_stand_in_one_row_of_a_hundred_columns():
    shown = lines(an_overhead())
    assert max(map(len, shown)) <= 100
    [ours] = [line for line in shown if line.startswith("pyprof   ")]
    for figure in ("0.11", "-0.48 to 0.63", "62", "56", "0.86", "3.30", "1,340", "1.31", "4.90"):
        assert f" {figure}" in ours
    [heavy] = [line for line in shown if line.startswith("torchprof ")]
    assert heavy.split()[:5] == ["torchprof", "1,150", "too", "few", "rounds"]
    assert heavy.split()[5:] == ["-"] * 7


def test_what_has_no_figure_has_its_reason():
    text = "\n".join(lines(an_overhead()))
    assert "error Python hooks: RuntimeError: an operation in place" in text
    assert "skipped DeepSpeed: not installed: pip install deepspeed" in text
    assert "no figure torchprof, added per call: RuntimeError: it broke" in text


def test_what_a_profile_states_stands_beside_what_was_measured():
    text = " ".join(lines(an_overhead()))
    assert "pyprof profile states: a step takes 100 ms without probes, and 0.24 % longer (-0.10 to 0.61 %)" in text
    assert "with them on its 231 calls of layers and 400 backward nodes; 40 rounds" in text


def test_inference_has_no_columns_of_backward():
    text = "\n".join(lines(an_overhead("infer")))
    assert "bwd. " in "\n".join(lines(an_overhead("train")))
    assert "bwd. " not in text.partition("states")[0]
    assert "backward nodes" not in text
    assert "a step takes 100 ms ±1.0 % without a profiler, 2 rounds" in text
    assert "padded to 512" in text
    told = " ".join(text.split())
    assert "Do not trust these times: other processes held the threads up for 30 % of the time." in told
    assert "Measure again while nothing else runs on the cores" in told


def test_the_document_has_everything():
    document = an_overhead().to_json()
    assert document["model"] == "bert"
    [mode] = document["modes"]
    assert mode["stated"]["ratio"] == {"value": 1.0024, "low": 0.999, "high": 1.0061}
    assert mode["rounds"] == 2
    assert mode["rows"][0]["ratio"] == {"value": 1.0011, "low": 0.9952, "high": 1.0063}
    assert mode["rows"][0]["errors"]["forward"]["worst_layer"] == "blocks.0"
    assert mode["rows"][3]["reason"] == "not installed: pip install deepspeed"
