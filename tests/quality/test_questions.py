"""Questions to trained models: the whole way from training to an answer."""

from __future__ import annotations

import json
from io import StringIO

import numpy as np
import pytest

from pyprof.cli.main import main
from pyprof.errors import IncompleteError, UsageError
from pyprof.quality.judge import judged
from pyprof.quality.language import Language, bits_per_byte
from pyprof.quality.paired import Paired
from pyprof.quality.questions import Setting, SpanAnswer, UseAnswer, WindowQuality, ask_memory, ask_span, ask_use
from pyprof.quality.region import parse_region
from pyprof.quality.subject import Subject
from pyprof.quality.training import train_seed
from pyprof.quality.use import Use
from pyprof.report.console import Console
from pyprof.report.quality_questions import use_blocks
from pyprof.report.style import Glyphs
from pyprof.statistics.estimate import Estimate

pytest.importorskip("accelerate", reason="training needs the extra quality")
FIRST = parse_region("first:0.75")


def setting(model: str, steps: int, task: Language | None = None, **changes) -> Setting:
    task = task or Language()
    return Setting(task, Subject(model), task.plan("tiny").but(steps=steps, warmup=4, check_every=0), **changes)


@pytest.mark.slow
def test_a_language_model_beats_bytes_alone_within_seconds():
    task = Language()
    asked = setting("zoo-dense", 120)
    module = train_seed(task, asked.subject, asked.plan, 0).module
    found = bits_per_byte(judged(task, module, task.split("test", "tiny"), 16))
    alone = np.log2(task.baseline(task.split("train", "tiny"), task.split("test", "tiny")))
    assert found.bits.high < alone - 0.3
    assert found.bits.low > 1.5


@pytest.mark.slow
def test_local_blocks_ignore_what_lies_before_them_to_the_last_bit():
    found = ask_use(setting("zoo-local", 20), ["shuffle", "replace", "drop"], [FIRST])
    assert [each.verdict for each in found.uses] == ["ignored"] * 3
    assert all((each.paired.changed, each.paired.change.value) == (0, 0) for each in found.uses)


@pytest.mark.slow
def test_dense_attention_that_has_learned_uses_what_is_near_before_the_region_ends():
    found = ask_use(setting("zoo-dense", 60), ["replace"], [FIRST])
    assert found.uses[0].paired.changed == found.uses[0].paired.examples


@pytest.mark.training
def test_dense_attention_is_told_what_is_far_and_local_blocks_are_not(tmp_path):
    """Every eighth byte of a window is its letter, among digits: far ones tell it as well as near ones."""
    random = np.random.default_rng(0)
    groups = "{}" + "".join(["{:d}"] * 7)
    windows = [
        "".join(groups.format(letter, *random.integers(0, 2, 7)) for _ in range(16))
        for letter in random.choice(list("abcdefgh"), 1600)
    ]
    (tmp_path / "letters.txt").write_text("".join(windows))
    task = Language(tmp_path / "letters.txt")
    dense = ask_use(setting("zoo-dense", 400, task), ["replace", "drop"], [FIRST])
    assert [each.verdict for each in dense.uses] == ["used"] * 2
    assert all(each.paired.change.low > 0.1 for each in dense.uses)
    local = ask_use(setting("zoo-local", 30, task), ["replace", "drop"], [FIRST])
    assert [(each.verdict, each.paired.changed) for each in local.uses] == [("ignored", 0)] * 2


@pytest.mark.slow
def test_a_training_that_diverges_is_asked_nothing():
    lost = setting("zoo-dense", 30)
    with pytest.raises(IncompleteError, match="diverged"):
        ask_use(Setting(lost.task, lost.subject, lost.plan.but(learning_rate=1e30, clip=0.0)), ["shuffle"], [FIRST])


def test_what_cannot_be_asked_is_told_before_anything_is_trained():
    never = setting("zoo-dense", 10_000_000)
    with pytest.raises(UsageError, match="let it end earlier"):
        ask_use(never, ["shuffle"], [parse_region("last:0.5")])
    with pytest.raises(UsageError, match="at least one neighbour"):
        ask_span(never, [0])
    with pytest.raises(UsageError, match="remembers nothing"):
        ask_memory(never)


def test_the_table_of_uses_is_whole_in_80_columns():
    def paired(change: float, changed: int) -> Paired:
        return Paired("bits", 7.9539, 7.9539 + change, Estimate(change, change - 0.25, change + 0.25), changed, 1028)

    uses = tuple(
        Use(how, "first:6144", 0.75, paired(change, changed))
        for how, change, changed in (("shuffle", -0.5, 1028), ("replace", 0.125, 1028), ("drop", 0.0, 0))
    )
    file = StringIO()
    for block in use_blocks(UseAnswer(setting("zoo-window", 1), (), uses), Glyphs()):
        Console(file=file, width=80).print(block)
    rows = [line.split() for line in file.getvalue().splitlines() if line.startswith("first:6144")]
    assert [(row[1], row[2], row[6]) for row in rows] == [
        ("shuffle", "-0.5000", "1,028"), ("replace", "+0.1250", "1,028"), ("drop", "+0.0000", "0")
    ]  # fmt: skip
    assert rows[0][7:9] == ["better", "without"]
    assert rows[1][7:] == ["no", "use", "shown", Glyphs().filling("self-attention") * 8]
    assert rows[2][7:] == ["ignored"]


@pytest.mark.slow
def test_a_span_and_the_windows_that_do():
    found = ask_span(setting("zoo-dense", 30), [2, 64], margin=1.0)
    assert 0 < found.span.mean.value < 128
    assert len(found.span.heads) == 2
    assert [each.window for each in found.windows] == [2, 64]
    assert found.to_json()["windows"][0]["paired"]["figure"] == "bits"


def test_the_needed_window_is_the_smallest_from_which_on_all_do():
    def quality(window: int, high: float) -> WindowQuality:
        return WindowQuality(window, Paired("bits", 2.0, 2.0, Estimate(high - 0.02, high - 0.04, high), 9, 9), 0.05)

    def needed(*highs: float) -> int | None:
        windows = tuple(quality(2**number, high) for number, high in enumerate(highs))
        return SpanAnswer(setting("zoo-dense", 1), (), None, windows).needed  # type: ignore[arg-type]

    assert needed(0.2, 0.04, 0.01) == 2
    assert needed(0.01, 0.2, 0.01) == 4
    assert needed(0.01, 0.01, 0.2) is None
    assert needed() is None


@pytest.mark.slow
def test_memory_is_told_apart_and_a_seed_fixes_it():
    found, again = (ask_memory(setting("zoo-transformer-xl", 40)) for _ in range(2))
    assert found.to_json() == {**again.to_json(), "seeds": found.to_json()["seeds"]}
    assert found.paired.changed == found.paired.examples
    assert found.without.windows == found.within.windows == found.paired.examples


@pytest.mark.slow
def test_a_training_that_was_interrupted_goes_on_to_the_same_bits(tmp_path):
    task, subject = Language(), Subject("zoo-block-recurrent")
    plan = task.plan("tiny").but(steps=12, warmup=2, check_every=0, save_every=4)
    whole = train_seed(task, subject, plan, 3).module.state_dict()

    def stop(progress):
        if progress.step >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_seed(task, subject, plan.but(), 3, directory=tmp_path, tell=stop)
    resumed = train_seed(task, subject, plan, 3, directory=tmp_path).module.state_dict()
    assert all((whole[name] == each).all() for name, each in resumed.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "key", "said"),
    [
        (["zoo-local", "--perturb", "shuffle,drop", "--region", "first:0.5,first:0.75"], "uses", "ignored"),
        (["zoo-dense", "--span", "--windows", "4"], "span", "A query looks"),
        (["zoo-compressive", "--memory"], "memory", "remembers"),
    ],
)
def test_the_command_answers_in_words_in_json_and_on_a_page(asked, key, said, capsys, tmp_path, monkeypatch):
    short = ["quality", *asked, "--steps", "6", "--seeds", "1", "-o", str(tmp_path / "kept")]
    page = tmp_path / "page.html"
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*short, "--html", str(page)]) == 0
    printed = capsys.readouterr().out
    assert said in printed
    assert "…" not in printed
    assert "<title>pyprof: " in page.read_text()
    assert main([*short, "--resume", "--json"]) == 0
    assert key in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--region", "first:0.5"], "--region belongs to --perturb"),
        (["--windows", "4"], "--windows belongs to --span"),
        (["--margin", "0.1", "--span"], "--margin belongs to --windows"),
        (["--span", "--perturb", "drop"], "one at a time"),
        (["--perturb", "swap"], "there is no perturbation 'swap'"),
        (["--perturb", "drop", "--region", "middle"], "not a region"),
        (["--span", "--windows", "0"], "--windows"),
        (["--perturb", "drop", "--data", "/nowhere"], "there is no '/nowhere'"),
    ],
)
def test_wrong_use_is_one_sentence(asked, said, capsys):
    assert main(["quality", "zoo-dense", *asked]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
