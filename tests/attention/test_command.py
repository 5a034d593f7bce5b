"""`pyprof attention`: help that teaches, the table, the document, a user's kernel, interruption, errors."""

from __future__ import annotations

import json

import pytest

from pyprof.attention import comparison
from pyprof.cli import attention
from pyprof.cli.main import main

SMALL = ("--lengths", "40", "--windows", "4", "--heads", "2", "--head-dim", "8", "--seconds", "0.02")
PEERS = (*SMALL, "--impls", "sdpa,chunks")
KERNEL = """
import torch

def right(query, key, value, window):
    position = torch.arange(query.shape[2])
    ahead = position - position[:, None]
    mask = (ahead >= -window[0]) & (ahead <= window[1])
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)

def counts_itself(query, key, value, window):
    return right(query, key, value, (window[0] - 1, window[1] - 1))

def with_keys(query, key, value, window, global_keys=0):
    position = torch.arange(query.shape[2])
    ahead = position - position[:, None]
    mask = (ahead >= -window[0]) & (ahead <= window[1]) | (ahead < 0) & (position < global_keys)
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)

def without_keys(query, key, value, window, global_keys=0):
    return right(query, key, value, window)

def forward_only(query, key, value, window):
    with torch.no_grad():
        return right(query, key, value, window)
"""


def run(capsys, *arguments):
    try:
        code = main(["attention", *arguments])
    except SystemExit as stop:  # argparse's own errors
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    """The name of a module with kernels in the current directory, another one for each test."""
    monkeypatch.chdir(tmp_path)
    name = f"kernels_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(KERNEL)
    return name


def test_the_help_teaches(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for words in ("neighbours on each side", "function(query, key, value, window)", "--impl mine:kernel", "--json"):
        assert words in out


def test_the_table_has_all_figures_and_its_reading(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run(capsys, *PEERS)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    for words in ("Forward, float32", "Backward, float32", "GFLOP/s", "40, 4+4", "sdpa", "chunks", "95 % interval"):
        assert words in out
    assert "…" not in out
    assert "[2/2]" in err


def test_json_is_one_document_and_progress_is_elsewhere(capsys):
    code, out, err = run(capsys, *PEERS, "--windows", "4,4:2", "--modes", "forward", "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["schema"], document["complete"]) == (1, True)
    assert [one["problem"]["window"] for one in document["contests"]] == [[4, 4], [4, 2]]
    assert (
        document["contests"][1]["rows"][1]["status"] == "skipped"
    )  # chunks know equal sides only, which is no failure
    assert "[2/2]" in err


def test_global_keys_are_seen_by_those_that_can(capsys, kernels):
    mine = ("--impl", f"{kernels}:right", "--impl", f"{kernels}:with_keys", "--impl", f"{kernels}:without_keys")
    settings = (*SMALL, "--impls", "auto,sdpa,chunks", "--global-keys", "3", "--modes", "forward")
    code, out, _ = run(capsys, *settings, *mine[:4], "--json")
    document = json.loads(out)
    (contest,) = document["contests"]
    assert code == 0
    assert document["plan"]["global_keys"] == contest["problem"]["global_keys"] == 3
    assert [row["status"] for row in contest["rows"]] == ["ok", "ok", "skipped", "skipped", "ok"]
    assert "chunks has no global keys" in contest["rows"][2]["reason"]
    assert "takes no keyword global_keys" in contest["rows"][3]["reason"]
    code, out, err = run(capsys, *settings, *mine[4:])
    assert (code, out) == (2, "")
    assert "without_keys is wrong" in err
    code, out, _ = run(capsys, *SMALL, "--impls", "auto", "--global-keys", "1", "--modes", "forward")
    assert "1 global key" in out
    assert run(capsys, *SMALL, "--global-keys", "-1")[0] == 2


def test_a_kernel_of_the_users_stands_in_the_table(capsys, kernels):
    code, out, _ = run(capsys, *PEERS, "--impl", f"{kernels}:right", "--impl", f"{kernels}:forward_only", "--json")
    rows = json.loads(out)["contests"][1]["rows"]
    assert code == 0
    assert [row["impl"] for row in rows] == ["sdpa", "chunks", f"{kernels}:right", f"{kernels}:forward_only"]
    assert [row["status"] for row in rows] == ["ok", "ok", "ok", "skipped"]
    assert "no backward" in rows[3]["reason"]


def test_a_wrong_kernel_is_refused_in_one_sentence(capsys, kernels):
    code, out, err = run(capsys, *PEERS, "--impl", f"{kernels}:counts_itself")
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert err.startswith(f"pyprof: the kernel {kernels}:counts_itself is wrong: its output is off by ")
    assert "(3, 3)" in err


def test_what_fails_is_said_and_ends_in_3(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "failing_kernel.py").write_text(
        "def attend(query, key, value, window): raise ValueError('no GPU here')\n"
    )
    code, out, err = run(capsys, *PEERS, "--impl", "failing_kernel:attend", "--modes", "forward")
    assert code == 3
    assert "ValueError: no GPU here" in " ".join(out.split())
    assert "measurements that failed: 1" in err


def test_an_interruption_loses_nothing(capsys, monkeypatch):
    measure = comparison.measure
    calls = []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return measure(*arguments, **options)

    monkeypatch.setattr(comparison, "measure", interrupted)
    code, out, err = run(capsys, *PEERS, "--json")
    document = json.loads(out)
    assert code == 130
    assert (document["complete"], len(document["contests"])) == (False, 1)
    assert "interrupted" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--impls", "spda"), ("spda", "sdpa")),
        (("--impl", "missing_module:kernel"), ("missing_module",)),
        (("--impl", "kernel"), ("package.module:function",)),
        (("--lengths", "long"), ("'long'", "whole numbers")),
        (("--lengths", "0"), ("length", "at least 1")),
        (("--windows", "3:x"), ("'x'",)),
        (("--windows", "-3"), ("-3",)),
        (("--dtypes", "int8"), ("int8", "bfloat16")),
        (("--modes", "infer"), ("infer", "forward")),
        (("--threads", "0"), ("threads",)),
        (("--seconds", "0"), ("must be above zero",)),
        (("--device", "tpu"), ("tpu", "cuda")),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(capsys, arguments, words):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("pyprof: ")
    assert len(err.strip().splitlines()) == 1
    assert all(word in err for word in words), err


def test_threads_are_those_that_were_asked_for(capsys, monkeypatch):
    asked = []
    monkeypatch.setattr("torch.set_num_threads", asked.append)
    code, _, _ = run(capsys, *PEERS, "--modes", "forward", "--threads", "3")
    assert (code, asked) == (0, [3])


def test_a_window_is_written_as_one_number_or_two():
    assert [attention._window(text) for text in ("16", "32:0")] == [(16, 16), (32, 0)]
