"""The bars for a GPU as bench/gpu.py tells them, and a whole run of it without a card."""

from __future__ import annotations

import copy
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch.autograd.profiler_util import Kernel

from pyprof.layers.device_time import BusyTime, DeviceTime, LayerWork, Work

ROOT = Path(__file__).parents[2]
MODELS = ("bert", "longformer", "nystromformer", "hubert", "l-hubert", "vit", "swin")
MODES = ("infer", "train")
BOTH = [(model, mode) for model in MODELS for mode in MODES]


def loaded(name, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    spec = importlib.util.spec_from_file_location(name, ROOT / "bench" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def bench(monkeypatch):
    return loaded("gpu", monkeypatch)


def ratio(value, low, high):
    return {"value": value, "low": low, "high": high}


def plain(*figures):
    return {"plain": {"step": {"value": 0.005}, "ratio": ratio(*figures)}}


def documents():
    outside = {"tool": "pyprof", "ratio": ratio(1.05, 1, 1.1)}
    rows = [{"what": "misfortune", "case": str(case), "told": "a sentence", "holds": True} for case in range(3)]
    for model, mode in BOTH:
        rows.append({"what": "step", "model": model, "mode": mode, "ratio": ratio(1.0, 0.99, 1.01)})
    for model, mode in BOTH:
        kernels = {"worst": 0.004, "layer": "x", "ours": 9, "theirs": 9}
        rows.append({"what": "kernels", "model": model, "mode": mode, **kernels})
    device = {"total": {"kernels": 400.0}, "unknown": {"kernels": 2.0}, "unplaced": 1.0}
    return {
        "profile": plain(1.04, 1.03, 1.05),
        "profile, batch 32": plain(1.01, 1.0, 1.02),
        "profile, train": plain(1.015, 1.0, 1.02),
        "profile, graph": {"plain": None, "notes": [], "device_time": device},
        "overhead": {"modes": [{"stated": {"ratio": ratio(1.04, 1.02, 1.06)}, "rows": [outside]}]},
        "callback": {"bars": [{"name": "callbacks of a launch", "value": 45.0, "unit": "ns"}]},
        "models": {"rows": rows},
        "hopper": {"bars": [{"name": "1, 12 forward", "value": 10.5, "unit": "us", "holds": True}]},
    }


def test_every_bar_has_a_row_and_can_be_reached(bench):
    rows = bench.bars(documents())
    assert [row.verdict for row in rows] == ["reached"] * 9, [row for row in rows if not row.reached]
    assert [row.bar for row in rows] == [
        "no difference, at most 3 % wide",
        "at most +5 %",
        "at most +2 %",
        "within its interval",
        "within 1 % over 50 us, all kernels",
        "at least 99 % of its kernels",
        "at most 150 ns",
        "a sentence, and on it goes",
        "right, the same bits, faster than FlashAttention, at most 1.05 times the prototypes",
    ]


@pytest.mark.parametrize(
    ("place", "spoil", "words"),
    [
        (0, lambda all: all["models"]["rows"][3].update(ratio=ratio(1.03, 1.02, 1.04)), "a difference in bert infer"),
        (0, lambda all: all["models"]["rows"][5].update(ratio=ratio(1.0, 0.98, 1.02)), "4.00 % (longformer infer)"),
        (0, lambda all: all["models"]["rows"].pop(3), "13 of 14"),
        (1, lambda all: all.update(profile=plain(1.06, 1.0, 1.1)), "+6.00 %"),
        (2, lambda all: all.update({"profile, train": plain(1.03, 1.0, 1.1)}), "profile, train: +3.00 %"),
        (2, lambda all: all.update({"profile, batch 32": plain(1.03, 1.0, 1.1)}), "profile, batch 32: +3.00 %"),
        (3, lambda all: all["overhead"]["modes"][0]["stated"].update(ratio=ratio(1.0, 0.99, 1.01)), "outside +5.00 %"),
        (4, lambda all: all["models"]["rows"][-1].update(worst=0.02, layer="head"), "2.00 % (swin train, head)"),
        (4, lambda all: all["models"]["rows"][-2].update(theirs=8), "other numbers of kernels in swin infer"),
        (5, lambda all: all["profile, graph"]["device_time"].update(unplaced=4.0), "98.50 % of 400"),
        (6, lambda all: all["callback"]["bars"][0].update(value=151.0), "151 ns"),
        (7, lambda all: all["models"]["rows"][1].update(holds=False, told="it hung"), "it hung"),
        (8, lambda all: all["hopper"]["bars"][0].update(holds=False), "0 of 1; not: 1, 12 forward 10.5 us"),
    ],
)
def test_a_bar_that_is_missed_is_told_and_the_others_stand(bench, place, spoil, words):
    given = copy.deepcopy(documents())
    spoil(given)
    rows = bench.bars(given)
    assert [row.reached for row in rows] == [index != place for index in range(9)]
    assert words in rows[place].figure


@pytest.mark.parametrize("part", list(documents()))
def test_a_part_that_is_lost_costs_its_own_bars_only(bench, part):
    given = {name: document for name, document in documents().items() if name != part}
    lost = [row for row in bench.bars(given) if row.reached is None]
    assert len(lost) == {"models": 3}.get(part, 1)
    assert all(f"the part '{part}' left no document" in row.figure for row in lost)
    for damaged in ({}, {"rows": 3, "plain": 7, "modes": [], "bars": None, "device_time": [], "notes": []}):
        rows = bench.bars({**documents(), part: damaged})
        assert len(rows) == 9
        assert [row.reached for row in rows].count(None) == len(lost)


def test_what_failed_for_all_models_says_why(bench):
    given = documents()
    for row in given["models"]["rows"]:
        if row["what"] == "kernels":
            row["reason"] = "the driver does not permit profiling to this user"
    assert bench.bars(given)[4].figure == "the driver does not permit profiling to this user"
    given["profile, graph"].update(device_time=None, notes=["no kernel times by layer: no library"])
    assert bench.bars(given)[5].figure == "no kernel times: no kernel times by layer: no library"


def test_a_whole_run_without_a_card(bench, monkeypatch, tmp_path):
    """Parts that succeed, fail, print rubbish and cannot start: the table has each of them, and each bar."""
    given = documents()

    def printing(name):
        file = tmp_path / f"{name.replace(', ', '_').replace(' ', '_')}.json"
        file.write_text(json.dumps(given[name]))
        return bench.Part(name, [sys.executable, "-c", f"print(open({str(file)!r}).read())"])

    every = [
        bench.Part("build", [sys.executable, "-c", "raise SystemExit('no compiler')"]),
        *map(printing, ("callback", "profile", "profile, batch 32", "profile, train", "profile, graph", "models")),
        bench.Part("overhead", [sys.executable, "-c", "print('[1, 2'); raise SystemExit(3)"]),
        bench.Part("tests", ["/no/such/program"]),
    ]
    monkeypatch.setattr(bench, "card", lambda: ("Fake Card 1", "9.0"))
    monkeypatch.setattr(bench, "parts", lambda *_: every)
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "in_place", lambda folder: {})
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--results", str(tmp_path / "results"), "--seconds", "400"])
    assert bench.main() == 3
    text = (tmp_path / "results" / "fake-card-1.md").read_text()
    assert "| build | exit code 1 |" in text
    assert "| tests | cannot be started (No such file or directory) |" in text
    assert text.count("| reached |") == 7
    assert "| the stated cost against that from outside | within its interval | not measured | the part 'over" in text
    found = json.loads((tmp_path / "results" / "fake-card-1.json").read_text())
    assert [bar["verdict"] for bar in found["bars"]].count("reached") == 7


@pytest.mark.slow
def test_the_models_are_measured_one_by_one_and_a_failure_is_a_row(monkeypatch):
    """On the host, where a profile has steps and no kernels."""
    models = loaded("gpu_models", monkeypatch)
    monkeypatch.setattr(models, "TYPICAL", {"bert": 16, "no-such-model": 16})
    monkeypatch.setattr(models, "MISFORTUNES", {"fine": "print('a sentence')", "not": "raise SystemExit('it broke')"})
    monkeypatch.setattr(models, "BEGIN", "")
    monkeypatch.setattr(models, "PROFILE_SECONDS", 0.01)
    monkeypatch.setattr(models, "MOST_PLAIN_STEPS", 2)
    rows = list(models.rows("cpu", "tiny", 1, 300))
    assert [row.get("told") for row in rows[:2]] == ["a sentence", "it broke"]
    assert [row["holds"] for row in rows[:2]] == [True, False]
    steps = {(row["model"], row["mode"]): row for row in rows if row["what"] == "step"}
    assert 0.1 < steps["bert", "infer"]["ratio"]["value"] < 10
    assert steps["bert", "train"]["ratio"]["low"] is not None
    assert "no-such-model" in steps["no-such-model", "infer"]["reason"]
    kernels = [row["reason"] for row in rows if row["what"] == "kernels" and row["model"] == "bert"]
    assert kernels == ["the device's work was not recorded"] * 2
    late = list(models.rows("cpu", "tiny", 1, 0))
    assert {row["reason"] for row in late if row["what"] != "misfortune"} == {"no time was left"}
    assert len(late) == len(rows) == 10


@pytest.mark.slow
def test_torch_profiler_comes_after_all_profiles_and_counts_kernels_only(monkeypatch):
    """It keeps CUPTI once it was used, so that no profile after it would have kernels."""
    models = loaded("gpu_models", monkeypatch)
    monkeypatch.setattr(models, "TYPICAL", {"bert": 16, "vit": 32})
    monkeypatch.setattr(models, "MISFORTUNES", {})
    monkeypatch.setattr(models, "PROFILE_SECONDS", 0.01)
    came = []
    profile_model = models.profile_model
    empty = Work()

    def profiled(loaded, *given):
        came.append("ours")
        profile = profile_model(loaded, *given)
        whole = [LayerWork(Work(1e-3, 7), empty, None, None, None, None) for _ in profile.layers]
        total = Work(3e-3, 9)
        busy = (BusyTime(0, 0.0, 0.0, 0.0),)
        return replace(profile, device_time=DeviceTime(tuple(whole), 1, empty, empty, total, busy, (), 1))

    def by_torch_profiler(loaded, *_):
        came.append("theirs")
        paths = [path for path, _ in loaded.step.named_modules()]
        return {**dict.fromkeys(paths, 1.002e-3), paths[1]: 1.004e-3}, 3.002e-3, 9.0

    monkeypatch.setattr(models, "profile_model", profiled)
    monkeypatch.setattr(models, "by_torch_profiler", by_torch_profiler)
    rows = list(models.rows("cpu", "tiny", 1, 300))
    assert came == ["ours"] * 4 * models.ROUNDS + ["theirs"] * 4
    kernels = [row for row in rows if row["what"] == "kernels"]
    assert [(row["model"], row["mode"]) for row in kernels] == [(m, d) for m in ("bert", "vit") for d in MODES]
    assert [row["worst"] for row in kernels] == pytest.approx([0.004] * 4)
    assert all((row["ours"], row["theirs"]) == (9, 9) for row in kernels)


def test_copies_and_memsets_are_no_kernels(monkeypatch):
    models = loaded("gpu_models", monkeypatch)

    def event(*kernels, children=()):
        return SimpleNamespace(kernels=[Kernel(*kernel) for kernel in kernels], cpu_children=list(children))

    inner = event(("gemm", 0, 30.0), ("Memset (Device)", 0, 2.0))
    outer = event(("norm", 0, 4.0), ("Memcpy HtoD (Pageable -> Device)", 0, 9.0), children=[inner, inner])
    assert models.kernel_microseconds(outer) == 64


def test_a_model_that_needs_it_is_taken_under_autocast(monkeypatch):
    models = loaded("gpu_models", monkeypatch)
    monkeypatch.setattr(models.devices, "of", lambda _: SimpleNamespace(usual_dtype="bfloat16"))
    taken = []
    given = models.registry.load
    monkeypatch.setattr(models.registry, "load", lambda *a, device, **k: taken.append(k["dtype"]) or given(*a, **k))
    loaded_under_it = models.load("nystromformer", "infer", "cuda", "tiny")
    assert loaded_under_it.request.dtype == "autocast-bfloat16"
    models.step_of(
        loaded_under_it, models.TYPICAL["nystromformer"], 1
    )()  # which fails where it was not fitted to its length
    assert models.load("vit", "infer", "cuda", "tiny").request.dtype == "bfloat16"
    assert taken == ["autocast-bfloat16", "bfloat16"]
