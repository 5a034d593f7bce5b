"""Byte-level language modelling: windows of a text, what is judged, and models that learn it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pyprof.errors import UsageError
from pyprof.models.zoo import parts
from pyprof.models.zoo.carried import carrying
from pyprof.quality import tasks
from pyprof.quality.judge import judged
from pyprof.quality.language import VOCABULARY, Language, Windows, bits_per_byte, perplexity
from pyprof.quality.language_model import judged_with_memory, remembers
from pyprof.quality.outcome import SeedOutcome
from pyprof.quality.perturb import IGNORED
from pyprof.quality.subject import Subject, encoder
from pyprof.quality.text_source import built_in_text, text_bytes


def test_windows_follow_one_another_and_each_byte_is_told_what_comes_next():
    windows = Windows(np.arange(50), 8)
    assert len(windows) == 6
    np.testing.assert_array_equal(np.concatenate([each["tokens"] for each in windows]), np.arange(48))
    np.testing.assert_array_equal(windows[2]["labels"], windows[2]["tokens"] + 1)
    assert [each["tokens"][0] for each in windows[1:4]] == [8, 16, 24]
    assert windows[-1]["tokens"][0] == 40
    with pytest.raises(IndexError):
        windows[6]


def test_the_splits_of_a_text_share_nothing(tmp_path):
    text = np.random.default_rng(0).integers(0, 256, 40_000, dtype=np.uint8)
    (tmp_path / "noise.bin").write_bytes(text.tobytes())
    task = Language(tmp_path / "noise.bin")
    splits = [
        np.concatenate([each["tokens"] for each in task.split(name, "tiny")])
        for name in ("train", "validation", "test")
    ]
    held = 2_000
    np.testing.assert_array_equal(splits[0], text[: len(splits[0])].astype(int) + 1)
    assert len(splits[0]) > 35_800
    np.testing.assert_array_equal(splits[1], text[-2 * held :][: len(splits[1])].astype(int) + 1)
    np.testing.assert_array_equal(splits[2], text[-held:][: len(splits[2])].astype(int) + 1)


def test_a_text_is_a_file_a_directory_of_files_or_the_built_in_one(tmp_path):
    (tmp_path / "below").mkdir()
    for name in ("b.txt", "a.txt", "below/c.txt", "d.md"):
        (tmp_path / name).write_text(name)
    assert text_bytes(tmp_path) == b"a.txt\nb.txt\nbelow/c.txt"
    assert text_bytes(tmp_path / "d.md") == b"d.md"
    assert text_bytes(None) == built_in_text()
    assert len(built_in_text()) > 300_000


@pytest.mark.parametrize("name", ["none", "empty", "short.txt", "nothing.txt"])
def test_a_text_that_is_missing_or_too_short_is_told(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "short.txt").write_text("not much")
    (tmp_path / "nothing.txt").touch()
    with pytest.raises(UsageError, match=r"there is no|needs"):
        Language(tmp_path / name).split("train", "tiny")


def test_a_batch_is_padded_only_where_lengths_differ():
    task = Language()
    even = task.collate(task.split("test", "tiny")[:3])
    assert even["input_ids"].shape == even["labels"].shape == (3, 128)
    assert "attention_mask" not in even
    uneven = task.collate([{"tokens": np.arange(1, 4), "labels": np.arange(2, 5)}, task.split("test", "tiny")[0]])
    assert uneven["attention_mask"].sum(-1).tolist() == [3, 128]
    assert (uneven["labels"][0, 3:] == IGNORED).all()


def test_perplexity_is_that_of_all_bytes_together_and_its_interval_that_of_the_windows():
    task = Language()
    random = np.random.default_rng(0)
    rows = np.stack((random.normal(300, 20, 50), np.full(50, 128.0)), axis=1)
    assert task.quality(rows) == pytest.approx(math.exp(rows[:, 0].sum() / (50 * 128)))
    found = bits_per_byte(rows)
    assert found.perplexity.value == pytest.approx(task.quality(rows))
    assert found.perplexity.low < found.perplexity.value < found.perplexity.high
    assert found.bits.high == pytest.approx(math.log2(found.perplexity.high))
    assert perplexity(1e9) == math.inf


def test_a_training_tells_its_perplexity_with_the_interval_of_the_windows():
    task = Language()
    rows = np.stack((np.tile([300.0, 310.0, 320.0], 17)[:50], np.full(50, 128.0)), axis=1)
    found = bits_per_byte(rows)
    seed = SeedOutcome(
        seed=4, status="done", quality=1.0, steps=1, examples=1, seconds=1.0, detail=task.detail(module(), [], rows, 1)
    )
    text, line = task.detail_lines([seed])
    assert text.startswith("the text: ")
    value, low, high = (f"{each:.2f}" for each in (found.perplexity.value, *found.perplexity.interval))
    assert line.startswith(f"seed 4: perplexity {value} [{low} to {high}], {found.bits.value:.3f} [")
    assert line.endswith("] bits a byte over 50 windows")


def test_the_baseline_is_the_entropy_of_bytes_alone():
    task = Language()
    train, test = task.split("train", "tiny"), task.split("test", "tiny")
    joined = np.concatenate([each["labels"] for each in test])
    shares = np.bincount(joined) / len(joined)
    entropy = -sum(share * math.log2(share) for share in shares if share)
    baseline = math.log2(task.baseline(train, test))
    assert entropy < baseline < entropy + 0.3


def module(model: str = "zoo-dense", seed: int = 0) -> torch.nn.Module:
    return Language().build(Subject(model), seed).eval()


def test_a_model_that_knows_nothing_is_near_even_odds_and_its_seed_fixes_it():
    task = Language()
    rows = [judged(task, module(seed=seed), task.split("test", "tiny")[:4], 2) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(rows[0], rows[1])
    assert (rows[0] != rows[2]).any()
    assert task.quality(rows[0]) == pytest.approx(VOCABULARY, rel=0.2)
    assert rows[0][:, 1].tolist() == [128] * 4


@pytest.mark.parametrize(
    "model", ["zoo-dense", "zoo-local", "zoo-window", "zoo-transformer-xl", "zoo-block-recurrent", "bert"]
)
def test_no_byte_is_told_what_comes_after_it(model):
    task, built = Language(), module(model)
    batch = task.collate(task.split("test", "tiny")[:1])
    before = built(**batch)["nll"]
    batch["input_ids"][:, 70] = 5
    after = built(**batch)["nll"]
    torch.testing.assert_close(before[:, :70], after[:, :70])
    assert not torch.equal(before[:, 70:], after[:, 70:])


@pytest.mark.parametrize("model", ["longformer", "nystromformer", "zoo-linformer", "vit"])
def test_a_model_without_a_causal_form_is_told(model):
    with pytest.raises(UsageError, match=r"causal|no token numbers"):
        module(model)


@pytest.mark.parametrize("model", ["zoo-transformer-xl", "zoo-compressive", "zoo-block-recurrent"])
def test_windows_read_with_memory_are_one_long_document(model, monkeypatch):
    """With positions that begin anew in each window a document at once gives what its windows give one by one."""
    task, built = Language(), module(model)
    windows = task.split("test", "tiny")[:3]
    without, remembered = judged_with_memory(task, built, windows, streams=1)
    plain = parts.positions
    monkeypatch.setattr(parts, "positions", lambda length, like, start=0: plain(128, like).repeat(length // 128, 1))
    whole = task.collate([{name: np.concatenate([each[name] for each in windows]) for name in ("tokens", "labels")}])
    with torch.no_grad():
        nll = built(**whole)["nll"].view(3, 128).sum(-1).double()
    np.testing.assert_allclose(remembered[:, 0], nll[1:], rtol=1e-5)
    assert (np.abs(without[:, 0] - remembered[:, 0]) > 1e-3).all()
    np.testing.assert_allclose(without, judged(task, built, windows[1:], 1), rtol=1e-5)


def test_streams_are_documents_of_their_own():
    task, built = Language(), module("zoo-transformer-xl")
    windows = task.split("test", "tiny")[:6]
    _, together = judged_with_memory(task, built, windows, streams=2)
    alone = [judged_with_memory(task, built, windows[first : first + 3], streams=1)[1] for first in (0, 3)]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-5)


def test_nothing_is_remembered_after_carrying():
    built, task = module("zoo-compressive"), Language()
    batch = task.collate(task.split("test", "tiny")[:1])
    with torch.no_grad():
        first = built(**batch)["nll"]
        with carrying(built):
            built(**batch)
            assert not torch.equal(built(**batch)["nll"], first)
        assert torch.equal(built(**batch)["nll"], first)
        with pytest.raises(TypeError), carrying(built):
            built(**batch, no_such="argument")
        assert torch.equal(built(**batch)["nll"], first)


def test_only_recurrent_models_remember():
    assert remembers(module("zoo-compressive"))
    assert not remembers(module("zoo-dense"))


def test_a_text_is_named_with_what_identifies_it(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("x" * 1234)
    assert Language(tmp_path / "mine.txt").text.startswith("mine.txt, 1,234 bytes, ")
    assert Language().text != Language(tmp_path / "mine.txt").text


@pytest.mark.parametrize("model", ["zoo-dense", "bert", "longformer"])
def test_tokens_keep_their_places_where_others_are_dropped(model):
    """Told the places that they have anyway, tokens are what they are; told other ones, they are not."""
    built = encoder(Subject(model), vocabulary=50, longest=40, seed=0)
    built.module.eval()
    tokens = torch.randint(4, 50, (2, 12))
    with torch.no_grad():
        plain, told, moved = (
            built.hidden(tokens, None, places)
            for places in (None, torch.arange(12).expand(2, -1), torch.arange(9, 21).expand(2, -1))
        )
    torch.testing.assert_close(plain, told)
    assert (plain - moved).abs().max() > 1e-3


def test_options_replace_those_of_a_mechanism():
    layer = module_of(Subject("zoo-window", settings={"window": 9})).stack.layers[0]
    assert layer.attention.window == 9
    with pytest.raises(UsageError, match="did you mean 'window'"):
        module_of(Subject("zoo-window", settings={"windows": 9}))
    with pytest.raises(UsageError, match="no options"):
        module_of(Subject("bert", settings={"window": 9}))


def module_of(subject: Subject):
    return encoder(subject, vocabulary=50, longest=40, seed=0).module


def test_windows_have_any_length_that_the_text_is_long_enough_for():
    task = tasks.find("language", length=640)
    assert task.length("tiny") == task.length("base") == 640
    assert len(task.split("test", "tiny")[0]["tokens"]) == 640
    assert task.options["length"] == 640
    assert "length" not in tasks.find("language").options
    with pytest.raises(UsageError, match=r"at size tiny it needs 1,310,740 for a test of 8 windows of 8,192"):
        tasks.find("language", length=8192).split("test", "tiny")
    with pytest.raises(UsageError, match="the task listops has no length: leave it out"):
        tasks.find("listops", length=640)
