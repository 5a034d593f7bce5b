from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pyprof.errors import UsageError
from pyprof.quality.asr.librispeech import read_split, splits, waveform, write_split

soundfile = pytest.importorskip("soundfile", reason="the extra quality is not installed")


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, int(16_000 * seconds)).astype(np.float32)


def flac(path: Path, samples: np.ndarray, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two splits as LibriSpeech has them, written file by file."""
    for split, speaker, chapter, texts in (
        ("test-clean", "61", "70968", ("HE BEGAN A CONFUSED COMPLAINT", "GIVE NOT SO EARNEST A MIND")),
        ("test-clean", "61", "70970", ("YOUNG FITZOOTH",)),
        ("test-clean", "121", "121726", ("HARANGUE",)),
        ("dev-clean", "84", "121123", ("GO DO YOU HEAR",)),
    ):
        folder = tmp_path / split / speaker / chapter
        for number, _ in enumerate(texts):
            flac(folder / f"{speaker}-{chapter}-{number:04d}.flac", sound(0.1 + 0.1 * number, number))
        lines = [f"{speaker}-{chapter}-{number:04d} {text}\n" for number, text in enumerate(texts)]
        (folder / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines))
    (tmp_path / "SPEAKERS.TXT").write_text(";\n")
    return tmp_path


def test_a_split_is_read_from_its_layout(corpus: Path) -> None:
    found = read_split(corpus, "test-clean")
    assert [each.name for each in found] == ["121-121726-0000", "61-70968-0000", "61-70968-0001", "61-70970-0000"]
    assert [each.speaker for each in found] == ["121", "61", "61", "61"]
    assert found[2].transcript == "GIVE NOT SO EARNEST A MIND"
    assert (found[2].samples, found[2].seconds) == (3200, 0.2)
    heard = waveform(found[2])
    assert heard.dtype == np.float32
    np.testing.assert_allclose(heard, sound(0.2, 1), atol=1 / 32768)
    assert splits(corpus) == ("dev-clean", "test-clean")
    assert len(read_split(corpus, "dev-clean+test-clean")) == 5


def test_the_directory_above_does_too(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    above = tmp_path_factory.mktemp("above")
    (above / "LibriSpeech").symlink_to(corpus)
    assert [each.name for each in read_split(above, "dev-clean")] == ["84-121123-0000"]


def test_recordings_of_ones_own_are_written_in_the_same_layout(tmp_path: Path) -> None:
    spoken = [("ann", "one two", sound(0.2)), ("bob", "three", sound(0.3, 1)), ("ann", "four", sound(0.1, 2))]
    write_split(tmp_path, "mine", spoken)
    found = read_split(tmp_path, "mine")
    assert [(each.speaker, each.transcript) for each in found] == [
        ("ann", "ONE TWO"),
        ("ann", "FOUR"),
        ("bob", "THREE"),
    ]
    np.testing.assert_allclose(waveform(found[2]), spoken[1][2], atol=1 / 32768)


def cut(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


CHAPTER = "test-clean/61/70968"
FIRST = f"{CHAPTER}/61-70968-0000.flac"
TEXT = f"{CHAPTER}/61-70968.trans.txt"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / TEXT).unlink(), "0000.flac has no transcript: add a line that begins with 61-70968-0000"),
        (lambda root: (root / FIRST).unlink(), "61-70968-0000.flac is missing, of which there is a transcript"),
        (
            lambda root: (root / TEXT).write_text("61-70968-0000\n"),
            "line 1 of .* has no transcript behind 61-70968-0000",
        ),
        (lambda root: (root / TEXT).write_text("61-70968-0000 A\n" * 2), "has two transcripts of 61-70968-0000"),
        (lambda root: (root / TEXT).write_bytes(b"\xff\xfe\x00"), "trans.txt cannot be read"),
        (lambda root: (root / FIRST).write_bytes(b"no sound at all"), "0000.flac is damaged"),
        (lambda root: (root / FIRST).write_bytes(b""), "0000.flac is damaged"),
        (lambda root: cut(root / FIRST), "0000.flac is damaged"),
        (lambda root: flac(root / FIRST, sound(1), 8000), "has 1 channels at 8000 Hz: LibriSpeech has one at 16000"),
        (lambda root: flac(root / FIRST, np.zeros((800, 2))), "has 2 channels at 16000 Hz"),
    ],
)
def test_what_is_damaged_is_named(corpus: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(corpus)
    with pytest.raises(UsageError, match=message):
        list(map(waveform, read_split(corpus, "test-clean")))


def test_what_is_missing_is_named(corpus: Path) -> None:
    for directory, split, message in (
        (corpus / "nowhere", "test-clean", "there is no directory .*nowhere: unpack LibriSpeech"),
        (corpus, "test-claen", "there is no split 'test-claen' in .*: did you mean 'test-clean'"),
        (corpus, "dev-clean+", "there is no split ''"),
        (corpus, "..", "there is no split '..'"),
        (corpus / "dev-clean" / "84", "test-clean", "no split of LibriSpeech lies there"),
    ):
        with pytest.raises(UsageError, match=message):
            read_split(directory, split)
    (corpus / "train-clean-100").mkdir()
    with pytest.raises(UsageError, match="train-clean-100 holds no utterances"):
        read_split(corpus, "train-clean-100")
