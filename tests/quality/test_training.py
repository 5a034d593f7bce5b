"""Training: deterministic, resumed to the same bits, ended by a budget, and diverged as a status and never a number."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import Toy

from pyprof.errors import UsageError
from pyprof.quality import checkpoints
from pyprof.quality.judge import judged
from pyprof.quality.subject import Subject, encoder
from pyprof.quality.training import OUTCOME, WEIGHTS, train, train_seed

pytest.importorskip("accelerate", reason="training needs the extra quality")

MODEL = Subject("zoo-dense")
PLAN = Toy().plan("tiny").but(save_every=4)


class StoppedError(Exception):
    pass


def bits(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def stop_at(step, monkeypatch):
    """Let a training die after a step, as a kill would: nothing of it is written any more."""
    from pyprof.quality.loop import Loop

    after = Loop.on_step_end

    def dying(self, args, state, control, **more):
        after(self, args, state, control, **more)
        if state.global_step == step:
            raise StoppedError

    monkeypatch.setattr(Loop, "on_step_end", dying)


@pytest.fixture(scope="module")
def uninterrupted():
    trained = train_seed(Toy(), MODEL, PLAN, 3)
    return bits(trained.module), trained.outcome


def test_a_model_learns_and_its_outcome_says_how(uninterrupted):
    _, outcome = uninterrupted
    assert outcome.status == "done"
    assert outcome.reason is None
    assert outcome.quality > 0.9
    assert (outcome.steps, outcome.examples) == (12, 96)
    assert outcome.loss < 0.5
    assert outcome.seconds > 0
    assert (outcome.joules is None) == (outcome.joules_reason is not None)


@pytest.mark.parametrize(
    "step", [2, 8, pytest.param(6, marks=pytest.mark.slow), pytest.param(11, marks=pytest.mark.slow)]
)
def test_a_training_that_was_killed_goes_on_to_the_same_bits(uninterrupted, tmp_path, monkeypatch, step):
    with monkeypatch.context() as patched:
        stop_at(step, patched)
        with pytest.raises(StoppedError):
            train_seed(Toy(), MODEL, PLAN, 3, directory=tmp_path)
    # What a kill leaves while a checkpoint is being written: a directory without its marker.
    (tmp_path / "checkpoint-9").mkdir()
    (tmp_path / "checkpoint-9" / WEIGHTS).write_bytes(b"torn")
    again = train_seed(Toy(), MODEL, PLAN, 3, directory=tmp_path)
    assert same(bits(again.module), uninterrupted[0])
    assert again.outcome.quality == uninterrupted[1].quality
    assert again.outcome.steps == 12
    assert not list(tmp_path.glob("checkpoint-*"))


def test_a_finished_training_is_read_back(uninterrupted, tmp_path, monkeypatch):
    first = train_seed(Toy(), MODEL, PLAN, 3, directory=tmp_path)
    stop_at(1, monkeypatch)
    again = train_seed(Toy(), MODEL, PLAN, 3, directory=tmp_path)
    assert again.outcome == first.outcome
    assert same(bits(again.module), uninterrupted[0])
    with pytest.raises(UsageError, match="another training"):
        train_seed(Toy(), MODEL, PLAN.but(steps=13), 3, directory=tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"torn")
    with pytest.raises(UsageError, match="damaged"):
        train_seed(Toy(), MODEL, PLAN, 3, directory=tmp_path)
    (tmp_path / OUTCOME).write_text("[")
    with pytest.raises(UsageError, match="cannot be read as JSON"):
        train_seed(Toy(), MODEL, PLAN, 3, directory=tmp_path)


def test_of_a_checkpoint_the_marker_goes_first(tmp_path, monkeypatch):
    """A kill while an old checkpoint is being removed leaves a part of it, which must not count."""

    def written(step):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / WEIGHTS).write_bytes(b"weights")

    def killed(path, **_):
        raise StoppedError

    written(4)
    checkpoints.mark(tmp_path, 4, {"seconds": 1.0})
    written(8)
    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", killed)
        with pytest.raises(StoppedError):
            checkpoints.mark(tmp_path, 8, {"seconds": 2.0})
    assert not (tmp_path / "checkpoint-4" / checkpoints.MARKER).exists()
    assert checkpoints.newest(tmp_path) == (tmp_path / "checkpoint-8", {"seconds": 2.0})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-8"]


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
place, rng = Path(sys.argv[1]), random.Random(0)
sys.path.insert(0, sys.argv[2])
from toy import Toy
from pyprof.quality import loop
from pyprof.quality.subject import Subject
from pyprof.quality.training import train_seed

def newest():
    return max((int(mark.parent.name.split("-")[1]) for mark in place.glob("checkpoint-*/pyprof.json")), default=0)

plan = Toy().plan("tiny").but(steps=300, save_every=3)
for _ in range(6):
    before, child = newest(), os.fork()
    if not child:
        train_seed(Toy(), Subject("zoo-dense"), plan, 3, directory=place)
        os._exit(0)
    while newest() <= before and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.2))
    os.kill(child, signal.SIGKILL)
    print(newest(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_training_that_goes_on_to_the_same_bits(tmp_path):
    """A process that writes checkpoints without a pause is killed six times, at moments that nobody chooses."""
    place = tmp_path / "run"
    command = [sys.executable, "-c", KILLED, str(place), str(Path(__file__).parent)]
    # As many threads as here: with others sums are taken in another order.
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    killed = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert [code for _, code in killed] == [-signal.SIGKILL] * 6
    steps = [step for step, _ in killed]
    assert 0 < steps[0] < steps[-1] < 300
    plan = Toy().plan("tiny").but(steps=300, save_every=3)
    resumed = train_seed(Toy(), MODEL, plan, 3, directory=place)
    assert same(bits(resumed.module), bits(train_seed(Toy(), MODEL, plan, 3).module))


def test_a_diverged_training_is_a_status_and_no_number():
    wild = PLAN.but(optimizer="sgd", learning_rate=1e30, clip=0.0, steps=6)
    outcome = train(Toy(), MODEL, wild, seeds=range(2))
    assert {each.status for each in outcome.seeds} == {"diverged"}
    assert all(each.quality is None and each.reason for each in outcome.seeds)
    assert outcome.value is None
    assert outcome.interval is None
    assert outcome.diverged == 2
    assert json.loads(json.dumps(outcome.to_json(), allow_nan=False))["value"] is None


def test_a_budget_ends_a_training_early():
    outcome = train_seed(Toy(), MODEL, PLAN.but(steps=10_000), 0, budget=0.05).outcome
    assert outcome.status == "out of budget"
    assert 0 < outcome.steps < 10_000
    assert 0 <= outcome.quality <= 1
    assert f"{outcome.steps:,} of 10,000 steps" in outcome.reason


@pytest.mark.slow
def test_seeds_differ_and_five_give_an_interval(uninterrupted):
    outcome = train(Toy(), MODEL, PLAN, seeds=range(5), control=True)
    assert outcome.seeds[3].quality == uninterrupted[1].quality
    assert outcome.seeds[3].loss == uninterrupted[1].loss
    assert len({each.loss for each in outcome.seeds}) == 5
    low, high = outcome.interval
    assert low <= outcome.value <= high
    assert low > outcome.baseline
    assert len(outcome.control) == 5
    assert max(each.quality for each in outcome.control) < low


def test_training_leaves_the_generators_of_random_numbers_alone():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()
    train_seed(Toy(), MODEL, PLAN, 0)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()) == before
    assert not torch.are_deterministic_algorithms_enabled()


def test_mixed_precision_learns_too_and_leaves_a_plain_module():
    trained = train_seed(Toy(), MODEL, PLAN.but(dtype="autocast-bfloat16"), 0)
    assert trained.outcome.quality > 0.9
    assert "forward" not in vars(trained.module)
    batch = Toy().collate(Toy().split("test", "tiny")[:4])
    assert trained.module(**batch)["logits"].dtype == torch.float32
    # The next one in the same process computes in float32 again.
    assert train_seed(Toy(), MODEL, PLAN, 3).outcome.status == "done"


@pytest.mark.slow
def test_accumulated_parts_of_a_batch_give_nearly_the_same(uninterrupted):
    parts = train_seed(Toy(), MODEL, PLAN.but(accumulate=2), 3).outcome
    assert parts.steps == 12
    assert parts.quality == pytest.approx(uninterrupted[1].quality, abs=0.1)


def test_progress_tells_what_is_left():
    told = []
    train_seed(Toy(), MODEL, PLAN, 7, tell=told.append)
    assert told[-1].step == told[-1].steps == 12
    assert told[-1].left == 0
    assert all(each.seed == 7 and each.left >= 0 and each.elapsed > 0 for each in told)


@pytest.mark.slow
def test_looks_at_the_validation_examples_do_not_change_a_training(uninterrupted):
    trained = train_seed(Toy(), MODEL, PLAN.but(check_every=5), 3)
    assert [step for step, _ in trained.outcome.curve] == [5, 10]
    assert same(bits(trained.module), uninterrupted[0])


@pytest.mark.slow
def test_shared_parameters_are_saved_and_read_back(tmp_path):
    class Tied(Toy):
        def build(self, subject, seed):
            module = super().build(subject, seed)
            module.again = module.head
            return module

    first = train_seed(Tied(), MODEL, PLAN.but(save_every=5), 0, directory=tmp_path)
    again = train_seed(Tied(), MODEL, PLAN.but(save_every=5), 0, directory=tmp_path)
    assert same(bits(first.module), bits(again.module))


def test_judging_leaves_the_mode_and_pads_without_a_trace():
    task = Toy()
    module = task.build(MODEL, 0).train()
    examples = task.split("test", "tiny")
    rows = judged(task, module, examples, 7)
    assert module.training
    assert rows.shape == (32, 2)
    assert (rows == judged(task, module, examples, 32)).all()


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        (Subject("vit"), "takes no token numbers"),
        (Subject("l-hubert"), "takes no token numbers"),
        (Subject("zoo-dense", device="cuda:1"), "CUDA_VISIBLE_DEVICES"),
        (Subject("zoo-dens"), "did you mean 'zoo-dense'"),
    ],
)
def test_what_cannot_be_trained_is_told(subject, said):
    with pytest.raises(UsageError, match=said):
        train(Toy(), subject, PLAN, seeds=[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", ["bert", "longformer", "nystromformer", "lra-local", "zoo-reformer", "zoo-universal", "zoo-charformer"]
)
def test_models_of_text_are_trained(model):
    assert train_seed(Toy(), Subject(model), PLAN.but(steps=2), 0).outcome.status == "done"


@pytest.mark.parametrize("model", ["nystromformer", "zoo-charformer", "zoo-funnel"])
def test_every_token_has_a_state_and_padding_on_the_right_changes_none(model):
    made = encoder(Subject(model), vocabulary=20, longest=48, seed=0, dropout=0.0)
    made.module.eval()
    tokens = torch.randint(1, 20, (2, 33), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(tokens)
    mask[1, 20:] = 0
    changed = torch.where(mask.bool(), tokens, (tokens + 7) % 20)
    with torch.no_grad():
        states, others = made.hidden(tokens, mask), made.hidden(changed, mask)
        alone = made.hidden(tokens[1:, :20])
    assert states.shape == (2, 33, made.width)
    assert alone.shape == (1, 20, made.width)
    assert states.isfinite().all()
    torch.testing.assert_close(states[0], others[0])
    if model != "nystromformer":  # its landmarks are means over the padding too, as in transformers
        torch.testing.assert_close(states[1, :20], others[1, :20])
