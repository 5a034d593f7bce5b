"""Measuring one case in this process, on tiny models."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from simulated_machine import make_study

from pyprof.errors import UsageError
from pyprof.failures import is_out_of_memory
from pyprof.records.case import Case
from pyprof.records.executor import Outcome
from pyprof.records.record import Record
from pyprof.records.study import Study
from pyprof.worker import bench as bench_module
from pyprof.worker import largest_batch
from pyprof.worker import step as steps
from pyprof.worker.bench import Bench
from pyprof.worker.limits import settle

METRICS = ["latency", "peak_memory", "parameters"]
QUICKLY = {"min_samples": 6, "max_samples": 6, "max_seconds": 2.0}


@pytest.fixture(autouse=True)
def workload_is_importable(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.syspath_prepend(request.path.parent)


def a_study(model: str, **changes: Any) -> Study:
    block = {"vanilla": model, "lengths": [4, 16], "implementations": ["now"]}
    table: dict[str, Any] = {"comparison": [block], "metrics": METRICS, "measure": QUICKLY, "memory_budget": "1 GiB"}
    return dataclasses.replace(make_study(**{**table, **changes}), device="cpu")


def a_case(name: str, length: int = 16, **changes: Any) -> Case:
    return Case(f"workload:{name}", length, **{"attention": "own", **changes})


def measure(case: Case, **changes: Any) -> Outcome:
    return Bench(a_study(case.model, **changes), "here").measure(case)


@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("name", ["caching", "listing"])
def test_a_cache_does_not_grow_from_step_to_step(name: str, mode: str) -> None:
    import workload

    workload.HELD.clear()
    record = measure(a_case(name, mode=mode)).record
    assert (record.status, record.notes) == ("ok", ())
    assert len(workload.HELD) > 20
    assert set(workload.HELD) == {1}


def test_a_cache_that_cannot_be_copied_is_noted() -> None:
    [note] = measure(a_case("clinging")).record.notes
    assert note.startswith("an input of type Uncopyable cannot be copied (there is one of it)")


def test_a_case_gives_its_indicators_layers_and_kinds() -> None:
    outcome = measure(a_case("quiet"))
    record = outcome.record
    assert (record.status, record.reason, record.attention, record.environment) == ("ok", None, "own", "here")
    latency = record.indicators["latency"]
    assert latency.value is not None
    assert latency.low is not None
    assert latency.high is not None
    assert 0 < latency.low <= latency.value <= latency.high
    assert len(latency.samples) == 6
    assert latency.warmup
    assert record.indicators["parameters"].value == 2 * (8 * 8 + 8)
    assert set(record.indicators) == set(METRICS)
    assert outcome.layers is not None
    assert outcome.layers["path"] == ["", "first", "second"]
    assert outcome.layers["calls"] == [1, 1, 1]
    assert Record.from_json(record.to_json()) == record


def test_a_checkpoint_directory_is_measured_as_the_class_that_it_names(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    directory = str(tmp_path)
    model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=64, n_positions=16))
    model.save_pretrained(directory)
    outcome = measure(Case(directory, 16, "train", attention="sdpa"))
    record = outcome.record
    assert (record.status, record.reason) == ("ok", None)
    loss = "the loss is that of GPT2LMHeadModel itself, on random labels"
    assert record.notes == ("measured as GPT2LMHeadModel", loss)
    assert record.indicators["parameters"].value == sum(parameter.numel() for parameter in model.parameters())
    assert outcome.layers is not None
    assert "model.lm_head" in outcome.layers["path"]
    assert record.kinds["head"].forward_seconds > 0
    assert Record.from_json(record.to_json()) == record


def test_kinds_and_outside_sum_to_the_step() -> None:
    for mode in ("infer", "train"):
        record = measure(a_case("quiet", mode=mode)).record
        assert record.step_seconds is not None
        assert record.outside_seconds is not None
        layers = sum(cost.forward_seconds + (cost.backward_seconds or 0.0) for cost in record.kinds.values())
        assert layers + record.outside_seconds == pytest.approx(record.step_seconds, rel=0.01, abs=1e-6)
        has_backward = any(cost.backward_seconds is not None for cost in record.kinds.values())
        assert has_backward == (mode == "train")


def test_peak_memory_is_exact() -> None:
    # Inference holds parameters, the input, both layers' outputs at once, and nothing else.
    tensor = 16 * 8 * 4
    parameters = 2 * (8 * 8 + 8) * 4
    reading = measure(a_case("quiet")).record.indicators["peak_memory"]
    assert reading.value == parameters + tensor + 2 * tensor
    assert reading.detail["resident"] == parameters + tensor


@pytest.mark.parametrize("optimizer", ["none", "sgd", "adamw"])
def test_training_counts_gradients_and_the_optimizer(optimizer: str) -> None:
    bench = Bench(a_study("workload:quiet", optimizer=optimizer), "here")
    case = a_case("quiet", mode="train")
    record = bench.measure(case).record
    assert record.status == "ok"
    peak, infer = record.indicators["peak_memory"], measure(a_case("quiet")).record.indicators["peak_memory"]
    assert peak.value is not None
    assert infer.value is not None
    assert peak.value > infer.value
    model = bench.models.get(case)
    assert all(parameter.grad is None for parameter in model.step.parameters())
    head = 2 * 8 + 2
    state = 2 * (2 * (8 * 8 + 8) + head) * 4 if optimizer == "adamw" else 0
    resident = peak.detail["resident"]
    assert isinstance(resident, int)
    without = (2 * (8 * 8 + 8) + head + 16 * 8) * 4
    # AdamW keeps a step counter for each tensor besides.
    assert without + state <= resident <= without + state + (64 if state else 0)


def test_the_layers_steps_are_taken_in_turn_with_some_that_nobody_looks_at() -> None:
    record = measure(a_case("quiet")).record
    assert record.overhead is not None
    assert record.overhead.low is not None
    assert record.overhead.high is not None
    assert record.overhead.low <= record.overhead.value <= record.overhead.high
    assert Record.from_json(record.to_json()).overhead == record.overhead


def test_looking_comes_after_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    """No probe is attached while latency is sampled."""
    from pyprof.worker import bench

    seen: list[bool] = []
    original = bench.time_together

    def watched(timed: list[steps.Step], *rest: Any) -> Any:
        seen.extend(any("forward" in module.__dict__ for module in step.model.step.modules()) for step in timed)
        return original(timed, *rest)

    monkeypatch.setattr(bench, "time_together", watched)
    outcome = measure(a_case("quiet"))
    assert seen == [False]
    assert outcome.layers is not None


def test_only_what_is_asked_for_is_measured() -> None:
    outcome = measure(a_case("quiet"), metrics=["parameters"])
    assert set(outcome.record.indicators) == {"parameters"}
    assert outcome.layers is None
    assert set(measure(a_case("quiet"), metrics=["peak_memory"]).record.indicators) == {"peak_memory"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("raising", "ValueError: a first line"),
        ("failing_to_build", "the factory workload:failing_to_build failed: KeyError: 'weights'"),
        ("missing", "workload has no function 'missing': check the factory workload:missing"),
    ],
)
def test_exceptions_are_errors_in_one_sentence(name: str, reason: str) -> None:
    record = measure(a_case(name)).record
    assert (record.status, record.reason) == ("error", reason)
    assert record.indicators == {}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_memory_that_other_models_hold_is_given_back_before_a_case_is_out_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(a_study("workload:quiet"), "here")
    assert bench.measure(a_case("quiet")).record.status == "ok"
    tried = []
    original = steps.Step.__call__

    def scarce(step: steps.Step) -> None:
        tried.append(len(bench.models))
        if len(bench.models) > 1:
            raise MemoryError
        original(step)

    monkeypatch.setattr(steps.Step, "__call__", scarce)
    assert bench.measure(a_case("quiet", mode="train")).record.status == "ok"
    assert tried[:2] == [2, 1]
    assert set(tried[1:]) == {1}


def test_models_are_kept_for_the_next_length() -> None:
    bench = Bench(a_study("workload:quiet"), "here")
    first = bench.models.get(a_case("quiet", 4))
    assert bench.models.get(a_case("quiet", 16)) is first
    assert bench.models.get(a_case("quiet", 16, mode="train")) is not first


def test_few_models_are_kept_where_memory_is_scarce() -> None:
    study = dataclasses.replace(a_study("workload:quiet"), memory_budget=1000)
    bench = Bench(study, "here")
    first = bench.models.get(a_case("quiet", 4))
    bench.models.get(a_case("quiet", 4, mode="train"))
    assert len(bench.models) == 1
    assert bench.models.get(a_case("quiet", 4)) is not first


def test_throughput_at_the_largest_batch_that_fits() -> None:
    # Each example takes 16 MiB and more for each of its 4 tokens, and the budget has room for a little over three.
    case = a_case("hungry", 4, batch="largest")
    outcome = measure(case, metrics=["throughput"], memory_budget="205 MiB")
    reading = outcome.record.indicators["throughput"]
    assert outcome.record.status == "ok"
    assert reading.detail["batch"] == 3
    assert reading.value is not None
    seconds = sorted(reading.samples)
    assert reading.value == pytest.approx(3 / ((seconds[2] + seconds[3]) / 2 * 1e-9), rel=1e-3)
    best = reading.detail["best"]
    assert isinstance(best, float)
    assert best >= reading.value


def test_the_largest_batch_is_that_of_the_throughput_and_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    searches = []
    search = largest_batch.find_largest_batch
    monkeypatch.setattr(largest_batch, "find_largest_batch", lambda *a, **k: searches.append(1) or search(*a, **k))
    case = a_case("hungry", 4, batch="largest")
    for metrics in (["largest_batch"], ["throughput", "largest_batch"]):
        searches.clear()
        readings = measure(case, metrics=metrics, memory_budget="205 MiB").record.indicators
        assert list(readings) == metrics
        assert (readings["largest_batch"].value, readings["largest_batch"].samples) == (3, (3,))
        assert readings["largest_batch"].detail["peak"] <= 205 * 2**20
        assert searches == [1]
    capped = measure(a_case("quiet", 4, batch="largest"), metrics=["largest_batch"], batch_limit=4).record
    assert capped.indicators["largest_batch"].detail["limited_by"] == "batch_limit"


def test_throughput_where_not_even_one_example_fits() -> None:
    outcome = measure(a_case("hungry", 4, batch="largest"), metrics=["throughput"], memory_budget="20 MiB")
    assert outcome.record.status == "oom"
    assert str(outcome.record.reason).startswith("one example needs ")
    assert str(outcome.record.reason).endswith(", and the budget is 20.0 MiB")


def test_the_batch_limit_is_kept_and_said() -> None:
    outcome = measure(a_case("quiet", 4, batch="largest"), metrics=["throughput"], batch_limit=4)
    assert outcome.record.indicators["throughput"].detail["batch"] == 4
    assert outcome.record.indicators["throughput"].detail["limited_by"] == "batch_limit"


def test_a_batch_that_was_confirmed_is_timed_once_and_without_its_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = []

    def watched(call: Any, **care: Any) -> Any:
        timed.append(call)
        return measure_alone(call, **care)

    measure_alone = largest_batch.measure
    monkeypatch.setattr(largest_batch, "measure", watched)
    monkeypatch.setattr(bench_module, "instrument", None)
    outcome = measure(a_case("quiet", 4, batch="largest"), metrics=["throughput"], batch_limit=4)
    assert (outcome.record.status, outcome.record.reason) == ("ok", None)
    detail = outcome.record.indicators["throughput"].detail
    assert detail["batch"] == 4
    assert detail["best_batch"] in (1, 2, 4)
    # The batches of 1 and 2, as that of 4 was timed when it was confirmed.
    assert len(timed) == 2


def test_a_batch_that_cannot_be_confirmed_is_tried_smaller_and_errors_are_told() -> None:
    case = a_case("quiet", 4, batch="largest")
    study = a_study(case.model, metrics=["throughput"], batch_limit=8, memory_budget="8 kB")
    local = Bench(study, "here")
    asked: list[int] = []

    def confirm(one: Case) -> Record:
        assert isinstance(one.batch, int)
        asked.append(one.batch)
        if one.batch > 4:
            return Record(one, "oom", "here", "", 0.0, "too much")
        return local._confirm_here(one)

    found = Bench(study, "here", confirm).measure(case).record.indicators["throughput"]
    assert asked[0] == 8
    assert found.detail["batch"] == 4

    broken = Bench(study, "here", lambda one: Record(one, "error", "here", "", 0.0, "it broke"))
    record = broken.measure(case).record
    assert (record.status, record.reason) == ("error", "batch 8 could not be confirmed: it broke")


def test_far_below_the_budget_no_fresh_process_is_asked() -> None:
    case = a_case("quiet", 4, batch="largest")
    asked: list[int] = []

    def confirm(one: Case) -> Record:
        assert isinstance(one.batch, int)
        asked.append(one.batch)
        return Record(one, "error", "here", "", 0.0, "not here")

    for budget, status in (("1 GiB", "ok"), ("8 kB", "error")):
        study = a_study(case.model, metrics=["throughput"], batch_limit=8, memory_budget=budget)
        record = Bench(study, "here", confirm).measure(case).record
        assert record.status == status, record.reason
    assert asked == [8]


def test_settling_fills_in_what_the_machine_decides() -> None:
    ready = settle(make_study())
    assert ready.study.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert ready.study.threads == torch.get_num_threads()
    assert ready.study.memory_budget is not None
    assert ready.study.memory_budget > 2**20
    with pytest.raises(UsageError, match="there is no device 'cuda:99'"):
        settle(make_study(device="cuda:99"))


def test_a_tiny_registry_model_in_both_modes() -> None:
    block = {"vanilla": "bert", "variants": ["nystromformer"], "lengths": [64], "implementations": ["then"]}
    study = dataclasses.replace(a_study("bert", comparison=[block], size="tiny"), device="cpu")
    bench = Bench(study, "here")
    for mode in ("infer", "train"):
        record = bench.measure(Case("bert", 64, mode=mode, size="tiny")).record  # type: ignore[arg-type]
        assert (record.status, record.reason, record.attention) == ("ok", None, "eager")
        assert {"embedding", "self-attention", "feedforward", "normalisation"} <= set(record.kinds)
        parameters, head = record.indicators["parameters"].value, 32 * 2 + 2 if mode == "train" else 0
        assert parameters is not None
        assert parameters + head == sum(cost.parameters for cost in record.kinds.values())


@pytest.mark.parametrize("ill", ["uninitialised", "sparse", "raising", "leaving", "leaving_late", "failing_to_build"])
@pytest.mark.parametrize("mode", ["infer", "train"])
def test_one_models_fault_is_not_its_neighbours(ill: str, mode: Any) -> None:
    """Before, beside and after a model that is ill, its neighbours are measured; also where no memory is to spare."""
    names = ["workload:wide", f"workload:{ill}"]
    block = {"vanilla": "workload:quiet", "variants": names, "lengths": [4, 16], "implementations": ["now"]}
    study = a_study("workload:quiet", comparison=[block])
    bench = Bench(dataclasses.replace(study, memory_budget=100_000), "here")
    healthy, other, sick = a_case("quiet", mode=mode), a_case("wide", mode=mode), a_case(ill, mode=mode)
    bench.measure(sick)
    together = {outcome.record.case: outcome.record for outcome in bench.measure_together((sick, healthy))}
    assert (together[healthy].status, together[healthy].reason) == ("ok", None)
    assert set(together[healthy].indicators) == set(METRICS)
    after = bench.measure(other).record
    assert (after.status, after.reason) == ("ok", None)


@pytest.mark.parametrize(
    ("name", "mode", "reason"),
    [
        ("leaving", "infer", "the factory workload:leaving failed: sys.exit(0) was called"),
        ("leaving_late", "infer", "sys.exit(0) was called"),
        ("leaving_late", "train", "sys.exit(0) was called"),
        ("failing_in_backward", "train", "ValueError: no way back"),
        ("failing_later", "infer", "ValueError: enough"),
    ],
)
def test_whatever_a_model_does_to_end_is_the_error_of_its_case(name: str, mode: Any, reason: str) -> None:
    record = measure(a_case(name, mode=mode)).record
    assert (record.status, record.reason) == ("error", reason)


def test_an_interruption_is_no_status() -> None:
    with pytest.raises(KeyboardInterrupt):
        measure(a_case("interrupting"))


@pytest.mark.parametrize("optimizer", ["none", "sgd"])
@pytest.mark.parametrize(
    ("name", "paths", "parameters"), [("adaptive", ["built"], 9 * 16), ("uninitialised", ["used"], 9 * 8)]
)
def test_what_the_first_forward_builds_is_listed_and_sized(
    name: str, paths: list[str], parameters: int, optimizer: str
) -> None:
    for mode in ("infer", "train"):
        outcome = measure(
            a_case(name, mode=mode),
            metrics=["latency", "peak_memory"],
            optimizer=optimizer if name == "adaptive" else "none",
        )
        assert (outcome.record.status, outcome.record.reason) == ("ok", None)
        assert outcome.layers is not None
        prefix = "model." if mode == "train" else ""
        rows = dict(zip(outcome.layers["path"], outcome.layers["parameters"], strict=True))
        calls = dict(zip(outcome.layers["path"], outcome.layers["calls"], strict=True))
        for path in paths:
            assert (calls[prefix + path], rows[prefix + path]) == (1, parameters)
        resident = outcome.record.indicators["peak_memory"].detail["resident"]
        assert isinstance(resident, int)
        assert resident >= 4 * parameters + 16 * 8 * 4


def test_a_gradient_inside_the_forward_is_measured_without_inference_mode_and_that_is_noted() -> None:
    record = measure(a_case("energy")).record
    assert (record.status, record.reason) == ("ok", None)
    (note,) = record.notes
    assert note.startswith("run under no_grad, since the forward fails under inference_mode (RuntimeError: ")
    trained = measure(a_case("energy", mode="train")).record
    assert (trained.status, trained.reason, trained.notes) == ("ok", None, ())
    assert measure(a_case("quiet")).record.notes == ()


def test_a_model_that_compiles_a_part_by_itself_is_timed_without_its_layers() -> None:
    outcome = measure(a_case("compiled_inside"))
    record = outcome.record
    assert (record.status, record.reason) == ("ok", None)
    assert set(record.indicators) == set(METRICS)
    (note,) = record.notes
    assert note.startswith("the layers' times are left out: a module with probes is called inside of a function that")
    assert outcome.layers is None


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_a_study_has_rules_for_the_kinds_of_its_layers(mode: str) -> None:
    case = a_case("quiet", mode=mode)
    record = measure(case, kinds={case.model: [["second", "last block"]]}).record
    assert record.kinds["last block"].parameters == 8 * 8 + 8
    assert "last block" not in measure(case).record.kinds
