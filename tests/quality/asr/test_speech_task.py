from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from pyprof.errors import UsageError
from pyprof.quality import tasks
from pyprof.quality.asr import recogniser
from pyprof.quality.asr.librispeech import Waveform, write_split
from pyprof.quality.asr.recogniser import Recogniser
from pyprof.quality.asr.task import FrozenSpeech, Speech
from pyprof.quality.asr.tones import tones
from pyprof.quality.outcome import SeedOutcome
from pyprof.quality.plan import Plan
from pyprof.quality.subject import Subject
from pyprof.quality.training import Progress, train_seed

pytest.importorskip("accelerate", reason="the extra quality is not installed")
pytest.importorskip("jiwer", reason="the extra quality is not installed")
soundfile = pytest.importorskip("soundfile", reason="the extra quality is not installed")

SAID = ("SEA", "TEN RATS", "A STAR", "REST")
BY_HEART = Plan(steps=120, batch=4, learning_rate=5e-3, warmup=20, schedule="cosine")
PLANS = {"tones": BY_HEART, "espeak": BY_HEART.but(steps=400)}


def espeak(text: str, voice: str) -> Waveform:
    """A text as espeak-ng says it, at 16,000 samples a second."""
    from scipy.signal import resample_poly

    command = ["espeak-ng", "-v", voice, "-s", "200", "--stdout", text.lower()]
    done = subprocess.run(command, check=True, capture_output=True)
    wave = np.frombuffer(done.stdout[44:], dtype="<i2").astype(np.float32) / 32768
    return resample_poly(wave, 320, 441).astype(np.float32)


needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed (on Debian: apt-get install espeak-ng)"
)


def corpus(root: Path, made: str) -> Path:
    """A directory laid out like LibriSpeech whose one split is said in tones, or by espeak-ng."""
    voices = ("en-us", "en-gb")
    spoken = [
        (f"{number % 2}", text, tones(text) if made == "tones" else espeak(text, voices[number % 2]))
        for number, text in enumerate(SAID)
    ]
    write_split(root, "mine", spoken)
    return root


def speech(directory: Path, **options: Any) -> Speech:
    """The task on the one split that a corpus has."""
    return Speech(directory, splits=("mine",) * 3, **options)


@pytest.mark.slow
@pytest.mark.parametrize("made", ["tones", pytest.param("espeak", marks=needs_espeak)])
@pytest.mark.parametrize("model", ["hubert", "l-hubert"])
def test_a_few_utterances_are_learnt_by_heart(tmp_path: Path, model: str, made: str) -> None:
    losses: list[float] = []
    task = speech(corpus(tmp_path, made), decoding="greedy" if model == "hubert" else "beam:4")
    trained = train_seed(
        task, Subject(model), PLANS[made], 0, tell=lambda progress: losses.append(progress.loss or 0.0)
    )
    assert trained.outcome.quality == 0
    assert losses[-1] < 0.1 * losses[0]
    module = cast(Recogniser, trained.module)
    assert [module.transcribe(each["waveform"]) for each in task.split("test", "tiny")] == [
        one.transcript for one in task.split("test", "tiny").spoken
    ]


class InterruptedTrainingError(Exception):
    """Stands for a killed process."""


def trained_weights(task: Speech, directory: Path | None, stop: int | None = None) -> dict[str, torch.Tensor]:
    def tell(progress: Progress) -> None:
        if stop is not None and progress.step >= stop:
            raise InterruptedTrainingError

    plan = Plan(steps=8, batch=2, learning_rate=1e-3, save_every=2)
    return train_seed(task, Subject("l-hubert"), plan, 0, directory=directory, tell=tell).module.state_dict()


@pytest.mark.slow
def test_a_killed_training_with_masks_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: Any) -> None:
    """What SpecAugment masks is drawn from numpy's generator, whose state is a part of a checkpoint."""
    masked = {"apply_spec_augment": True, "mask_time_prob": 0.5, "mask_time_length": 2, "layerdrop": 0.3}
    monkeypatch.setattr(recogniser, "WITHOUT_NOISE", {**recogniser.WITHOUT_NOISE, **masked})
    monkeypatch.setattr("pyprof.quality.loop._TELL_EVERY", 0.0)
    task = speech(corpus(tmp_path / "data", "tones"))
    whole = trained_weights(task, None)
    with pytest.raises(InterruptedTrainingError):
        trained_weights(task, tmp_path / "run", stop=5)
    continued = trained_weights(task, tmp_path / "run")
    assert whole.keys() == continued.keys()
    assert all(torch.equal(tensor, continued[name]) for name, tensor in whole.items())
    np.random.seed(5)
    monkeypatch.setattr(recogniser, "WITHOUT_NOISE", {**recogniser.WITHOUT_NOISE, **masked, "mask_time_prob": 0.1})
    other = trained_weights(task, None)
    assert any(not torch.equal(tensor, other[name]) for name, tensor in whole.items())


def test_frozen_only_the_projection_comes_out_of_a_training_changed(tmp_path: Path) -> None:
    task = FrozenSpeech(corpus(tmp_path, "tones"), splits=("mine",) * 3)
    before = task.build(Subject("l-hubert"), 0).state_dict()
    plan = Plan(steps=4, batch=4, learning_rate=1e-2, weight_decay=0.1)
    after = train_seed(task, Subject("l-hubert"), plan, 0).module.state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == {"model.lm_head.weight", "model.lm_head.bias"}


def test_utterances_are_judged_by_their_words(tmp_path: Path) -> None:
    task = speech(corpus(tmp_path, "tones"))
    split = task.split("test", "tiny")
    batch = task.collate(split)
    assert {name: tensor.dtype for name, tensor in batch.items()} == {
        "input_values": torch.float32,
        "attention_mask": torch.int64,
        "characters": torch.int64,
    }
    heard = ["SEA", "A STAR", "TENRATS", "REST IN"]
    assert [one.transcript for one in split.spoken] == ["SEA", "A STAR", "TEN RATS", "REST"]
    pad = torch.nn.utils.rnn.pad_sequence
    rows = task.judge({"heard": pad([recogniser.code_points(text) for text in heard], True)}, batch).numpy()
    assert rows[:, :2].tolist() == [[0, 1], [0, 2], [2, 2], [1, 1]]
    assert task.quality(rows) == 0.5
    assert task.baseline(split, split) == 1
    module = task.build(Subject("hubert"), 0).eval()
    torch.use_deterministic_algorithms(True, warn_only=True)
    detail = task.detail(module, split, rows, 4)
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    assert detail["word_error_rate"]["value"] == 0.5
    assert detail["word_error_rate"]["reference"] == 6
    assert detail["character_error_rate"]["insertions"] == 3
    cost = detail["cost"]
    assert cost["real_time_factor"] == cost["latency"] / cost["seconds"]
    assert cost["peak_memory"] > sum(each.nbytes for each in module.parameters())
    outcome = SeedOutcome(seed=0, status="done", quality=0.5, steps=1, examples=4, seconds=1.0, detail=detail)
    (line,) = task.detail_lines([outcome])
    assert line.startswith("seed 0: words 0.500, characters ")


def test_without_a_directory_the_speech_is_of_tones() -> None:
    task = Speech()
    splits = [task.split(name, "tiny") for name in ("train", "validation", "test")]
    assert [len(each) for each in splits] == [96, 16, 32]
    assert len({one.name for each in splits for one in each.spoken}) == 144
    assert [one.name for one in task.split("test", "tiny").spoken] == [one.name for one in splits[2].spoken]
    mean = np.mean([one.samples for one in splits[2].spoken]) / 320
    assert abs(mean - task.length("tiny")) < 10
    assert task.published == {}
    shuffled = task.shuffled(splits[0], 0)
    assert sorted(one.transcript for one in shuffled.spoken) == sorted(one.transcript for one in splits[0].spoken)
    moved = sum(
        one.transcript != other.transcript for one, other in zip(shuffled.spoken, splits[0].spoken, strict=True)
    )
    assert moved > 80


def test_of_a_directory_the_shortest_are_taken_at_tiny(tmp_path: Path) -> None:
    write_split(tmp_path, "mine", [("1", "SEA " * (1 + number % 3), tones("SEA " * 3)) for number in range(70)])
    task = speech(tmp_path)
    assert [len(task.split("train", size)) for size in ("tiny", "small", "base")] == [64, 70, 70]


def test_the_published_rates_stand_beside_those_of_librispeech(tmp_path: Path) -> None:
    (tmp_path / "LibriSpeech").mkdir()
    assert Speech(tmp_path).published == {"hubert": 0.034, "l-hubert": 0.0852, "l-hubert-100": 0.0739}
    assert FrozenSpeech(tmp_path).published == {"hubert": 0.0709, "l-hubert": 0.2106, "l-hubert-100": 0.1448}
    assert speech(tmp_path).published == {}
    assert tasks.find("speech_frozen", tmp_path).published == FrozenSpeech(tmp_path).published


def test_what_cannot_be_learnt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the splits are three"):
        Speech(splits=("a", "b"))
    with pytest.raises(UsageError, match="choose greedy, beam"):
        Speech(decoding="best")
    write_split(tmp_path, "mine", [("1", "TOO MUCH SAID IN SO SHORT A TIME", tones("A"))])
    with pytest.raises(UsageError, match=r"1-1-0000 lasts 0\.10 s, 4 frames, and its transcript needs 3"):
        speech(tmp_path).build(Subject("hubert"), 0)
    with pytest.raises(UsageError, match="bert takes no speech"):
        Speech().build(Subject("bert"), 0)
