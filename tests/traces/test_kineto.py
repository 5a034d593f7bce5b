"""A trace of torch.profiler becomes the layer table; what it lacks is said, and what is no trace is one sentence."""

from __future__ import annotations

import gzip
import json

import pytest
import torch
from torch import nn
from torch.profiler import profile, record_function, schedule

from pyprof.cli.main import main
from pyprof.traces import kineto

US = 1e-6
MAIN, AUTOGRAD = 100, 200


def event(category, name, ts, dur, tid=MAIN, **args):
    return {"ph": "X", "cat": category, "name": name, "pid": 1, "tid": tid, "ts": ts, "dur": dur, "args": args}


def launched(at, name, begin, took, correlation, tid=MAIN, category="kernel", device=0):
    """A launch and what it launched."""
    return [
        event("cuda_runtime", "cudaLaunchKernel", at, 2.5, tid, correlation=correlation),
        event(category, name, begin, took, 7, correlation=correlation, device=device, stream=7),
    ]


def step(at, number):
    """Of two layers: a forward with kernels, and a backward on autograd's thread."""
    base = 100 * number
    return [
        event("user_annotation", f"ProfilerStep#{number}", at, 900),
        event("python_function", "nn.Module: Net_0", at + 10, 300),
        event("python_function", "nn.Module: Attention_0", at + 20, 100.5),
        event("cpu_op", "aten::bmm", at + 30, 50, **{"Sequence number": base + 1, "Fwd thread id": 0}),
        *launched(at + 40, "void gemm<float>(int)", at + 60, 30.25, base + 1),
        event("python_function", "nn.Module: MLP_0", at + 150, 100),
        event("cpu_op", "aten::addmm", at + 160, 50, **{"Sequence number": base + 2, "Fwd thread id": 0}),
        *launched(at + 170, "relu", at + 200, 10, base + 2),
        *launched(at + 180, "Memcpy HtoD", at + 220, 5, base + 3, category="gpu_memcpy"),
        *launched(at + 350, "loss", at + 360, 7, base + 4),
        event("user_annotation", "Optimizer.step#SGD.step", at + 800, 50),
        *(
            each
            for place, (name, sequence) in enumerate((("Addmm", base + 2), ("Bmm", base + 1)))
            for each in (
                event(
                    "cpu_op",
                    f"autograd::engine::evaluate_function: {name}Backward0",
                    at + 400 + 100 * place,
                    60,
                    AUTOGRAD,
                    **{"Sequence number": sequence, "Fwd thread id": 1},
                ),
                event(
                    "cpu_op",
                    f"{name}Backward0",
                    at + 405 + 100 * place,
                    40,
                    AUTOGRAD,
                    **{"Sequence number": sequence, "Fwd thread id": 1},
                ),
                *launched(at + 410 + 100 * place, "gemm_b", at + 450 + 100 * place, 20, base + 5 + place, AUTOGRAD),
                event(
                    "cpu_op",
                    "autograd::engine::evaluate_function: torch::autograd::AccumulateGrad",
                    at + 470 + 100 * place,
                    10,
                    AUTOGRAD,
                ),
            )
        ),
    ]


def write(path, events, **head):
    path.write_text(json.dumps({"schemaVersion": 1, **head, "traceEvents": events, "traceName": "a"}, indent=1))
    return path


@pytest.fixture
def trace(tmp_path):
    return write(tmp_path / "trace.json", [*step(4_000_000_000.125, 1), *step(4_000_001_000.5, 2)])


def by_path(profile):
    return {layer.path: (layer, work) for layer, work in zip(profile.layers, profile.device_time.layers, strict=True)}


def test_kernels_go_to_the_modules_that_launched_them(trace):
    profile = kineto.read(trace)
    layers = by_path(profile)
    assert list(layers) == ["", "Net_0", "Net_0.Attention_0", "Net_0.MLP_0"]
    assert profile.steps == 2
    attention, mlp = layers["Net_0.Attention_0"], layers["Net_0.MLP_0"]
    assert (attention[0].type, attention[0].kind, mlp[0].kind) == ("Attention", "self-attention", "feedforward")
    assert attention[0].forward_seconds == pytest.approx(100.5 * US, abs=2e-9)
    assert attention[1].own_forward.kernel_seconds == pytest.approx(30.25 * US, abs=2e-9)
    assert mlp[1].own_forward.kernel_seconds == pytest.approx(10 * US, abs=2e-9)
    assert mlp[1].own_forward.copy_seconds == pytest.approx(5 * US, abs=2e-9)
    for layer, work in (attention, mlp):
        assert work.own_backward.kernel_seconds == pytest.approx(20 * US, abs=2e-9)
        assert layer.own_backward_seconds == pytest.approx(70 * US, abs=4e-9)
    assert profile.device_time.outside.kernel_seconds == pytest.approx(7 * US, abs=2e-9)
    assert profile.device_time.total.kernel_seconds == pytest.approx((30.25 + 10 + 7 + 40) * US, abs=4e-9)


def test_gzipped_and_in_one_line_and_read_in_small_parts(trace, tmp_path, monkeypatch):
    whole = kineto.read(trace).to_json()
    document = json.loads(trace.read_text())
    zipped = tmp_path / "trace.json.gz"
    zipped.write_bytes(gzip.compress(json.dumps(document).encode()))
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps(document["traceEvents"]))
    monkeypatch.setattr(kineto, "_CHUNK", 333)
    for path in (trace, zipped, bare):
        assert kineto.read(path).to_json() == whole


def test_what_torch_profiler_writes_here(tmp_path):
    model = nn.Sequential(nn.Linear(64, 64), nn.Sequential(nn.ReLU(), nn.Linear(64, 64)))
    path = tmp_path / "torch.json"
    plan = schedule(wait=0, warmup=1, active=2, repeat=1)
    with profile(with_stack=True, schedule=plan, on_trace_ready=lambda p: p.export_chrome_trace(str(path))) as profiler:
        for _ in range(3):
            with record_function("block"):
                model(torch.ones(8, 64)).sum().backward()
            profiler.step()
    read = kineto.read(path)
    layers = {layer.path: layer for layer in read.layers}
    inside = "block.Sequential_0"
    names = ["", "block", inside, f"{inside}.Linear_0", f"{inside}.Sequential_1"]
    names += [f"{inside}.Sequential_1.ReLU_0", f"{inside}.Sequential_1.Linear_1"]
    assert list(layers) == names
    assert read.steps == 2
    assert all(layers[name].calls == 1 for name in names[1:])
    assert all(layers[name].own_backward_seconds for name in names[3:] if layers[name].type in ("Linear", "ReLU"))
    assert any("times are the host's" in note for note in read.notes)


def test_the_cost_of_the_other_tool_is_said_to_be_in_the_times(trace, capsys):
    assert main(["kineto", str(trace)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "in the trace" in said
    assert "these times hold what the tool that wrote the trace has cost" in said
    assert "plain_step" not in said


def test_what_a_trace_lacks_is_said(tmp_path, capsys):
    events = launched(10, "gemm", 20, 5, 1)
    events[0]["name"] = "hipLaunchKernel"
    path = write(tmp_path / "bare.json", events, distributedInfo={"backend": "nccl", "rank": 3, "world_size": 8})
    assert main(["kineto", str(path), "--json"]) == 0
    notes = " ".join(json.loads(capsys.readouterr().out)["notes"])
    for said in ("with_stack=True", "rank 3 of 8", "AMD"):
        assert said in notes


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no json",
        b'{"traceEvents": [',
        b'{"traceEvents": [{"ph": "X", "cat": "kernel", "name": "a", "ts": 1}]}',
        b'{"traceEvents": [{"ph": "X", "cat": "cpu_op", "name": 3, "ts": "x"}]}',
        b'{"traceEvents": [' + b"[" * 100_000,
        b'{"traceEvents": []}',
        b'{"traceEvents": [{"ph": "X", "cat": "user_annotation", "name": "a", "ts": 1e400, "dur": 1}]}',
        b"\x1f\x8b" + b"x" * 100,
        gzip.compress(b'{"traceEvents": [{"ph": "X"}')[:-4],
        b"\xff\xfe\x00" * 100,
    ],
    ids=range(11),
)
def test_what_is_no_trace_is_one_sentence(tmp_path, capsys, content):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    assert main(["kineto", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("pyprof: ")
    assert captured.err.count("\n") == 1
    assert "defect" not in captured.err
