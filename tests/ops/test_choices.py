"""Which kernel of window attention runs for which problem, as Python and the command line tell it."""

from __future__ import annotations

import json

import pytest
import torch
from rich.console import Console

import pyprof
from pyprof.cli.main import main
from pyprof.errors import UsageError
from pyprof.ops.choices import choices, window_attention_choice
from pyprof.report import attention_choices

HOPPER, AMPERE = (9, 0), (8, 0)


@pytest.fixture(autouse=True)
def _nothing_is_said(monkeypatch):
    monkeypatch.delenv("PYPROF_CUDA_KERNELS", raising=False)


def kernel(*arguments, capability=HOPPER, **options):
    return window_attention_choice(*arguments, capability=capability, **options).kernel


def test_on_hopper_its_kernels_are_taken_where_they_pass_their_trial(monkeypatch):
    choice = pyprof.window_attention_choice("bfloat16", 64, (16, 16), capability=HOPPER)
    assert (choice.impl, choice.kernel, choice.otherwise) == ("cuda", "hopper_narrow", "mma")
    assert window_attention_choice("bfloat16", 64, 128, capability=HOPPER).otherwise == "mma_wide"
    assert window_attention_choice("float32", 64, 16, capability=HOPPER).otherwise is None
    assert window_attention_choice("bfloat16", 64, 16, global_keys=1, capability=HOPPER).otherwise is None
    for said, kernel in (("hopper", "hopper_narrow"), ("mma", "mma"), ("", "hopper_narrow")):
        monkeypatch.setenv("PYPROF_CUDA_KERNELS", said)
        choice = window_attention_choice("bfloat16", 64, 16, capability=HOPPER)
        assert (choice.kernel, choice.otherwise) == (kernel, None if said else "mma")


def test_no_other_card_gets_the_kernels_of_hopper():
    for capability in (AMPERE, (8, 9), (10, 0), (12, 0)):
        choice = window_attention_choice(torch.float16, 64, 16, capability=capability)
        assert (choice.kernel, choice.otherwise) == ("mma", None)
    assert window_attention_choice("float32", 64, 16, capability=HOPPER).kernel == "plain"


@pytest.mark.parametrize(
    ("arguments", "options", "name"),
    [
        (("bfloat16", 64, (16, 16)), {}, "hopper_narrow"),
        (("bfloat16", 64, (17, 16)), {}, "hopper_middle"),
        (("float16", 64, (200, 200)), {}, "hopper_wide"),
        (("float16", 64, (800, 800)), {}, "hopper_widest"),
        (("float16", 64, (800, 800)), {"dropout": True}, "hopper_wide"),
        (("float16", 128, (2**62, 2**62)), {}, "hopper_large"),
        (("bfloat16", 64, (16, 16)), {"direction": "backward"}, "hopper_narrow_96"),
        (("bfloat16", 64, (17, 9)), {"direction": "backward"}, "hopper_narrow_128"),
        (("bfloat16", 64, (16, 16)), {"direction": "backward", "shared_keys": True}, "hopper_narrow_shared_96"),
        (("float16", 64, (32, 32)), {"direction": "backward", "shared_keys": True}, "hopper_narrow_128"),
        (("bfloat16", 64, (33, 32)), {"direction": "backward"}, "hopper_one_pass_64"),
        (("bfloat16", 128, (8, 24)), {"direction": "backward", "shared_keys": True}, "hopper_narrow_large"),
        (("bfloat16", 128, (9, 24)), {"direction": "backward"}, "hopper_one_pass_128"),
        (("bfloat16", 32, (1, 1)), {}, "mma"),
        (("bfloat16", 64, (16, 16)), {"global_keys": 4}, "mma"),
        (("bfloat16", 128, (16, 16)), {"global_keys": 1, "direction": "backward"}, "mma"),
        (("float32", 64, (16, 16)), {"global_keys": 4}, "plain"),
        (("bfloat16", 64, (16, 16)), {"capability": (10, 0)}, "mma"),
        (("bfloat16", 64, (128, 127)), {"capability": AMPERE}, "mma"),
        (("bfloat16", 64, (1, 255)), {"capability": AMPERE, "dropout": True, "shared_keys": True}, "mma_wide"),
        (("float16", 128, (2**62, 2**62)), {"capability": AMPERE}, "mma_wide"),
        (("float16", 32, (128, 128)), {"capability": AMPERE}, "mma"),
        (("float16", 128, (128, 128)), {"capability": AMPERE, "global_keys": 1}, "mma"),
        (("float16", 128, (128, 128)), {"capability": AMPERE, "direction": "backward"}, "mma"),
    ],
)
def test_the_first_line_that_fits_is_taken(arguments, options, name):
    assert kernel(*arguments, **options) == name


def test_the_host_has_global_keys_in_the_same_kernels():
    assert window_attention_choice("float32", 64, 16, global_keys=4) == window_attention_choice("float32", 64, 16)


def test_the_backward_in_one_pass_is_taken_where_it_is_asked_for_alone(monkeypatch):
    lines = [line for line in choices() if line.asked_for]
    assert [line.head_dim for line in lines] == [64, 128]
    assert "not measured" in lines[0].why
    for said in (None, "mma_one_pass", "hopper", "mma"):
        if said:
            monkeypatch.setenv("PYPROF_CUDA_KERNELS", said)
        for capability in (HOPPER, AMPERE):
            choice = window_attention_choice("bfloat16", 128, 16, direction="backward", capability=capability)
            assert (choice.kernel == "mma_one_pass") == (said == "mma_one_pass")
    monkeypatch.setenv("PYPROF_CUDA_KERNELS", "mma_one_pass")
    for head_dim, global_keys in ((64, 1), (32, 0)):
        options = {"direction": "backward", "global_keys": global_keys, "capability": AMPERE}
        assert window_attention_choice("float16", head_dim, 16, **options).kernel == "mma"
    assert window_attention_choice("float16", 64, 16, capability=HOPPER).kernel == "mma"


def test_every_line_is_taken_by_some_problem():
    taken = {
        (kernel(dtype, head_dim, (side, side), **options, direction=direction, dropout=dropout), direction)
        for options in ({"shared_keys": False}, {"shared_keys": True}, {"capability": AMPERE})
        for dtype in ("float32", "bfloat16")
        for head_dim in (32, 64, 128)
        for side in (16, 32, 100, 400, 1000)
        for direction in ("forward", "backward")
        for dropout in (False, True)
    }
    assert taken == {(line.kernel, line.direction) for line in choices() if not line.asked_for}
    assert all(line.why for line in choices())


def test_the_host_tells_its_instruction_set():
    choice = window_attention_choice("float32", 64, 16)
    assert (choice.impl, choice.otherwise) == ("cpu", None)
    assert choice.kernel in ("portable", "avx2", "avx512", "avx512_bf16", "amx")


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (("float64", 64, 16), {}, "float64"),
        (("int", 64, 16), {}, "dtype"),
        (("bfloat16", 48, 16), {}, "head_dim is 48"),
        (("bfloat16", 64, (-1, 2)), {}, "window"),
        (("bfloat16", 64, 16), {"global_keys": -1}, "global_keys is -1"),
        (("bfloat16", 64, 16), {"direction": "sideways"}, "sideways"),
        (("bfloat16", 64, 16), {"capability": (7, 5)}, "7.5 is too old"),
        (("bfloat16", 7, 16), {"capability": None}, "head_dim is 7"),
    ],
)
def test_what_nothing_runs_is_a_sentence(arguments, options, words):
    with pytest.raises(UsageError, match=words):
        kernel(*arguments, **options)


def test_the_table_tells_how_wide_a_window_may_be(capsys):
    attention_choices.write(choices(), (), Console(width=200))
    text = capsys.readouterr().out
    assert all(f" {width} " in text for width in ("any", "from 256", "to 399", "to 64 (8)"))


def test_the_command_line_prints_the_table(capsys):
    assert main(["attention", "--choices"]) == 0
    text = capsys.readouterr().out
    assert main(["attention", "--choices", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [line["kernel"] for line in document["choices"]] == [line.kernel for line in choices()]
    assert all(line["kernel"][:6] in text for line in document["choices"])
    assert "PYPROF_CUDA_KERNELS" in text


def test_kernels_that_nobody_has_are_a_sentence(monkeypatch):
    monkeypatch.setenv("PYPROF_CUDA_KERNELS", "Hopper")
    with pytest.raises(UsageError, match="PYPROF_CUDA_KERNELS is 'Hopper': set it to hopper, mma or mma_one_pass"):
        window_attention_choice("bfloat16", 64, 16, capability=HOPPER)
