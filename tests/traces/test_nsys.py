"""An export of Nsight Systems becomes the layer table, and what is no export is one sentence."""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import sys

import pytest
from nsys_export import FORWARD, PROCESS, STEP, Export, replayed_graph, two_steps

from pyprof.cli.main import build_parser, main
from pyprof.errors import UsageError
from pyprof.traces import nsys, nsys_tool

NS = 1e-9


@pytest.fixture
def export(tmp_path):
    return two_steps(tmp_path / "report.sqlite")


def by_path(profile):
    return {layer.path: (layer, work) for layer, work in zip(profile.layers, profile.device_time.layers, strict=True)}


def test_work_goes_to_the_layer_that_launched_it(export):
    profile = nsys.read(export.close())
    device = profile.device_time
    layers = by_path(profile)
    assert list(layers) == ["", "attention", "mlp"]
    assert layers[""][0].type == "Net"
    assert profile.steps == device.steps == 2
    attention, mlp, root = layers["attention"][1], layers["mlp"][1], layers[""][1]
    assert attention.own_forward.kernel_seconds == pytest.approx(300 * NS)
    assert (attention.own_forward.kernels, attention.own_forward.launches) == (1, 1)
    assert mlp.own_forward.kernel_seconds == pytest.approx(100 * NS)
    assert mlp.own_forward.copy_seconds == pytest.approx(50 * NS)
    assert root.own_forward.kernel_seconds == pytest.approx(30 * NS)
    assert root.forward.kernel_seconds == pytest.approx(430 * NS)
    for work in (attention, mlp):
        assert work.own_backward.kernel_seconds == pytest.approx(140 * NS)
        assert (work.own_backward.kernels, work.own_backward.launches) == (2, 1)
    assert root.backward.kernel_seconds == pytest.approx(280 * NS)
    assert device.outside.memset_seconds == pytest.approx(10 * NS)
    assert device.total.kernel_seconds == pytest.approx((430 + 280) * NS)
    assert device.unknown.kernels == 0


def test_host_times_and_busy_times_of_each_device(export):
    profile = nsys.read(export.close())
    layers = by_path(profile)
    assert profile.step_seconds == pytest.approx(5000 * NS)
    assert layers["attention"][0].forward_seconds == pytest.approx(200 * NS)
    assert layers[""][0].forward_seconds == pytest.approx(900 * NS)
    assert layers[""][0].own_forward_seconds == pytest.approx(300 * NS)
    assert layers["mlp"][0].own_backward_seconds == pytest.approx(500 * NS)
    assert layers[""][0].backward_seconds == pytest.approx(1000 * NS)
    assert profile.outside_seconds == pytest.approx(3100 * NS)
    first, second = profile.device_time.devices
    assert (first.device, second.device) == (0, 1)
    assert first.busy_seconds == pytest.approx((300 + 100 + 50 + 30 + 10 + 140) * NS)
    assert second.busy_seconds == pytest.approx(140 * NS)
    assert first.busy_seconds + first.idle_seconds == pytest.approx(5000 * NS)
    assert profile.device_time.streams == 3
    longest = profile.device_time.kernels[0]
    assert (longest.short, longest.count) == ("gemm", 5)


def test_two_processes_with_the_same_correlations(export):
    other = PROCESS + (1 << 24)
    export.range(1100, 1900, "theirs", FORWARD, other | 1)
    export.launch(1300, other | 1, correlation=1)
    export.work("KERNEL", 1350, 1360, 1, "relu", process=other)
    layers = by_path(nsys.read(export.close()))
    assert layers["attention"][1].own_forward.kernel_seconds == pytest.approx(300 * NS)
    assert layers["theirs"][1].own_forward.kernel_seconds == pytest.approx(5 * NS)


def test_what_a_graph_replays_is_of_the_layer_in_which_its_node_was_made(tmp_path):
    profile = nsys.read(replayed_graph(tmp_path / "graph.sqlite").close())
    layers, device = by_path(profile), profile.device_time
    assert profile.steps == 2
    assert layers["attention"][1].own_forward.kernel_seconds == pytest.approx(10 * NS)
    assert layers["mlp"][1].own_forward.kernel_seconds == pytest.approx(11 * NS)
    assert layers["mlp"][1].own_forward.copy_seconds == pytest.approx(7 * NS)
    assert layers[""][1].own_forward.kernel_seconds == pytest.approx(12 * NS)
    assert layers["mlp"][1].own_backward.kernel_seconds == pytest.approx(13 * NS)
    assert (device.outside.kernel_seconds, device.outside.kernels) == (pytest.approx((14 + 3) * NS), 2)
    assert device.total.launches == 1
    assert device.unplaced == 1
    assert not [note for note in profile.notes if "graph" in note]


def test_nodes_of_two_processes_with_the_same_numbers(tmp_path):
    export = replayed_graph(tmp_path / "graph.sqlite")
    other = PROCESS + (1 << 24)
    export.range(100, 900, "theirs", FORWARD, other | 1)
    export.graph_node(200, 31, other | 1)
    export.launch(11200, other | 1, correlation=1)
    export.work("KERNEL", 11500, 11520, 1, "relu", process=other, node=31)
    export.work("KERNEL", 11600, 11640, 1, "relu", process=other, node=32)
    layers = by_path(nsys.read(export.close()))
    assert layers["attention"][1].own_forward.kernel_seconds == pytest.approx(10 * NS)
    assert layers["theirs"][1].own_forward.kernel_seconds == pytest.approx(10 * NS)


def test_a_graph_that_is_launched_inside_of_a_layer_keeps_unknown_nodes_there(tmp_path):
    export = replayed_graph(tmp_path / "graph.sqlite")
    export.range(11050, 11200, "mlp", FORWARD)
    profile = nsys.read(export.close())
    assert by_path(profile)["mlp"][1].own_forward.kernel_seconds == pytest.approx((11 + (14 + 3) / 2) * NS)
    assert profile.device_time.unplaced == pytest.approx(0.5)


def test_where_nodes_were_made_may_be_missing(tmp_path):
    export = replayed_graph(tmp_path / "graph.sqlite")
    export.connection.execute("DROP TABLE CUDA_GRAPH_NODE_EVENTS")
    profile = nsys.read(export.close())
    assert profile.device_time.outside.kernels == 6
    assert any("where their nodes were made is not in it" in note for note in profile.notes)


def test_graphs_that_were_recorded_as_a_whole_are_said(tmp_path):
    export = two_steps(tmp_path / "whole.sqlite")
    export.connection.execute("CREATE TABLE CUPTI_ACTIVITY_KIND_GRAPH_TRACE (start INTEGER, end INTEGER)")
    export.row("CUPTI_ACTIVITY_KIND_GRAPH_TRACE", start=1, end=2)
    notes = nsys.read(export.close()).notes
    assert any("recorded as a whole: 1;" in note and "--cuda-graph-trace=node" in note for note in notes)


def test_a_kernel_whose_launch_was_not_seen_is_of_no_layer(export):
    export.work("KERNEL", 2000, 2100, export.launch(0, seen=False), "relu")
    profile = nsys.read(export.close())
    assert profile.device_time.unknown.kernel_seconds == pytest.approx(50 * NS)
    assert any("was not seen" in said for said in profile.omissions())


def test_rows_in_any_order_and_read_in_small_parts(export, monkeypatch):
    path = export.close()
    whole = nsys.read(path).to_json()
    connection = sqlite3.connect(path)
    for table in ("NVTX_EVENTS", "CUPTI_ACTIVITY_KIND_RUNTIME", "CUPTI_ACTIVITY_KIND_KERNEL"):
        connection.execute(f"CREATE TABLE shuffled AS SELECT * FROM {table} ORDER BY start * 7919 % 1009, rowid DESC")
        connection.execute(f"DROP TABLE {table}")
        connection.execute(f"ALTER TABLE shuffled RENAME TO {table}")
    connection.commit()
    connection.close()
    monkeypatch.setattr(nsys, "_PART", 3)
    assert nsys.read(path).to_json() == whole


def test_the_file_is_only_read(export):
    path = export.close()
    before = path.read_bytes()
    path.chmod(0o444)
    nsys.read(path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_ranges_alone_give_times_of_the_host(tmp_path):
    export = Export(tmp_path / "cpu.sqlite")
    export.range(0, 1000, "step", STEP)
    export.range(100, 900, "Net", FORWARD)
    export.range(200, 500, "encoder.layer.0", FORWARD)
    export.range(950, None, "encoder.layer.1", FORWARD)
    for kind in ("KERNEL", "MEMCPY", "MEMSET", "RUNTIME"):
        export.connection.execute(f"DROP TABLE CUPTI_ACTIVITY_KIND_{kind}")
    profile = nsys.read(export.close())
    assert profile.device_time is None
    assert [layer.path for layer in profile.layers] == ["", "encoder", "encoder.layer", "encoder.layer.0"]
    assert profile.layers[3].own_forward_seconds == pytest.approx(300 * NS)
    assert profile.layers[0].own_forward_seconds == pytest.approx(500 * NS)
    assert any("1 range had not ended" in note for note in profile.notes)
    assert any("times are the host's" in note for note in profile.notes)


def test_without_ranges_of_pyprof_work_is_of_no_layer(tmp_path):
    export = Export(tmp_path / "plain.sqlite")
    export.work("KERNEL", 10, 20, export.launch(5), "relu")
    export.connection.execute("DELETE FROM NVTX_EVENTS")
    profile = nsys.read(export.close())
    assert profile.device_time.outside.kernel_seconds == pytest.approx(10 * NS)
    assert any("no ranges of pyprof" in note for note in profile.notes)


def test_bad_files_are_one_sentence(tmp_path, capsys):
    text = tmp_path / "text.sqlite"
    text.write_text("no database at all, but some text\n" * 100)
    empty = tmp_path / "empty.sqlite"
    sqlite3.connect(empty).execute("CREATE TABLE other (a)").connection.close()
    old = Export(tmp_path / "old.sqlite")
    old.connection.execute("ALTER TABLE NVTX_EVENTS DROP COLUMN domainId")
    cut = two_steps(tmp_path / "whole.sqlite").close()
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(cut.read_bytes()[:20_000])
    for path in (text, empty, old.close(), damaged, tmp_path, tmp_path / "missing.sqlite"):
        assert main(["nsys", str(path)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("pyprof: ")
        assert captured.err.count("\n") == 1


def test_copies_alone_are_work_too(export):
    export.connection.execute("DROP TABLE CUPTI_ACTIVITY_KIND_KERNEL")
    profile = nsys.read(export.close())
    assert profile.device_time.total.kernel_seconds == 0
    assert profile.device_time.total.copy_seconds > 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("start", "end"), [(-(2**63), 2**63 - 1), (0, 2**62), (-(2**62), 900)])
def test_times_that_nothing_can_have_taken_are_one_sentence(export, start, end):
    export.connection.execute(f"UPDATE CUPTI_ACTIVITY_KIND_MEMCPY SET start = {start}, end = {end}")
    with pytest.raises(UsageError, match="more than a hundred days"):
        nsys.read(export.close())


def test_values_that_are_no_numbers_are_one_sentence(export):
    export.connection.execute("UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET correlationId = 'x' WHERE rowid = 1")
    with pytest.raises(UsageError, match="cannot be read as an export"):
        nsys.read(export.close())


def test_the_command_prints_the_table_and_json(export, capsys):
    path = export.close()
    assert main(["nsys", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "attention" in shown
    assert "longest kernels" in shown
    assert main(["nsys", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["file"] == "report.sqlite"
    assert document["layers"]["path"] == ["", "attention", "mlp"]
    assert document["device_time"]["source"] == "nsys"


def test_without_nsys_a_report_says_where_to_get_it(tmp_path, capsys, monkeypatch):
    report = tmp_path / "a.nsys-rep"
    report.write_bytes(b"x")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["nsys", str(report)]) == 2
    assert "install Nsight Systems" in capsys.readouterr().err


FAKE = """#!{python}
import json, os, pathlib, shutil, subprocess, sys
words = sys.argv[1:]
if words[0] == "export":
    (output,) = [word.partition("=")[2] for word in words if word.startswith("--output=")]
    shutil.copy(words[-1], output)
else:
    at = next(place for place, word in enumerate(words) if word == {python!r})
    pathlib.Path({told!r}).write_text(json.dumps(words))
    (output,) = [word.partition("=")[2] for word in words[:at] if word.startswith("--output=")]
    print("what it printed")
    shutil.copy({export!r}, pathlib.Path(output).with_suffix({suffix!r}))
"""
IMPORTER = """#!{python}
import shutil, sys
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
shutil.copy(words["-i"], words["-o"])
"""


def fake(path, text, **values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.format(python=sys.executable, **values))
    path.chmod(0o755)
    return path


def test_profile_under_nsys_records_the_same_command_with_ranges(export, tmp_path, capsys, monkeypatch):
    """A program in the place of nsys notes how it is called, and hands out an export for a report."""
    told = tmp_path / "told.json"
    fake(tmp_path / "nsys", FAKE, told=str(told), export=str(export.close()), suffix=".nsys-rep")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    words = ["bert", "--size", "tiny", "--mode", "train", "--base-model", "--length", "32"]
    assert main(["profile", *words, "--nsys", "mine.nsys-rep", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["layers"]["path"] == ["", "attention", "mlp"]
    assert "report is in mine.nsys-rep" in captured.err
    assert "what it printed" not in captured.err
    called = json.loads(told.read_text())
    assert {"--nvtx-capture=profile@pyprof", "--cuda-graph-trace=node"} <= set(called)
    recorded = called[called.index(sys.executable) + 1 :]
    assert recorded[:5] == ["-m", "pyprof", "profile", "bert", "--nvtx"]
    assert {"--size=tiny", "--mode=train", "--base-model", "--length=32"} <= set(recorded)
    assert not [word for word in recorded if "nsys" in word or word == "--json"]
    assert build_parser().parse_args(recorded[2:]).nvtx


@pytest.mark.parametrize("has_importer", [True, False])
def test_a_report_is_made_of_what_nsys_leaves_where_it_finds_no_importer(
    has_importer, export, tmp_path, capfd, monkeypatch
):
    """In Debian's package the program is a link to a link, and the importer lies beside the second one alone."""
    values = {"told": str(tmp_path / "told.json"), "export": str(export.close()), "suffix": ".qdstrm"}
    fake(tmp_path / "lib" / "x86" / "target-linux-x64" / "nsys", FAKE, **values)
    if has_importer:
        fake(tmp_path / "lib" / "nsight" / "host-linux-x64" / "QdstrmImporter", IMPORTER)
    for link, target in (
        ("lib/nsight/bin/nsys", "../../x86/target-linux-x64/nsys"),
        ("bin/nsys", "../lib/nsight/bin/nsys"),
    ):
        (tmp_path / link).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / link).symlink_to(target)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    assert main(["profile", "bert", "--size", "tiny", "--nsys", "mine.nsys-rep", "--json"]) == (
        0 if has_importer else 2
    )
    captured = capfd.readouterr()
    assert (tmp_path / "mine.qdstrm").exists() != has_importer
    if has_importer:
        assert json.loads(captured.out)["layers"]["path"] == ["", "attention", "mlp"]
    else:
        assert "what it printed" in captured.err
        assert "wrote no report mine.nsys-rep" in captured.err


def test_profile_without_nsys_says_where_to_get_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["profile", "bert", "--nsys"]) == 2
    assert "install Nsight Systems" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["infer", "train"])
def test_ranges_that_nsight_systems_recorded(mode, tmp_path):
    """Debian's nsight-systems records ranges without a GPU."""
    try:
        program = nsys_tool.found()
    except UsageError as error:
        pytest.skip(str(error))
    report = tmp_path / "report.nsys-rep"
    told = tmp_path / "told.json"
    words = [
        "profile",
        "bert",
        "--size",
        "tiny",
        "--length",
        "16",
        "--seconds",
        "0.1",
        "--mode",
        mode,
        "--nvtx",
        "--json",
    ]
    program_of_ours = f"import contextlib, pyprof.cli.main as cli\nwith open({str(told)!r}, 'w') as told, "
    program_of_ours += f"contextlib.redirect_stdout(told):\n    cli.main({words!r})"
    nsys_tool.record(program, report, [sys.executable, "-c", program_of_ours])
    expected = json.loads(told.read_text())
    profile = nsys_tool.read_any(report)
    assert profile.steps == expected["steps"]
    calls = {layer.path: layer.calls for layer in profile.layers if layer.calls}
    layers = expected["layers"]
    assert calls == {path: count for path, count in zip(layers["path"], layers["calls"], strict=True) if count}
    # Ranges and probes stamp beside each other, and now and then something comes in between.
    took = dict(zip(layers["path"], layers["forward_seconds"], strict=True))
    ratios = [layer.forward_seconds / took[layer.path] for layer in profile.layers if took.get(layer.path)]
    assert statistics.median(ratios) == pytest.approx(1, abs=0.1)
