"""LibriSpeech as it is unpacked: a directory for each split, in it speakers, in them chapters, in them FLAC files.

    LibriSpeech/test-clean/1089/134686/1089-134686-0000.flac
    LibriSpeech/test-clean/1089/134686/1089-134686.trans.txt      1089-134686-0000 HE HOPED THERE WOULD BE STEW

Panayotov, Chen, Povey, Khudanpur, "LibriSpeech: an ASR corpus based on public domain audio books", ICASSP 2015.
Importing this loads numpy only.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyprof.errors import UsageError
from pyprof.failures import sentence
from pyprof.names import nearest
from pyprof.plain import printable
from pyprof.quality import require_extra

SAMPLE_RATE = 16_000

Waveform = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Utterance:
    """One recording and what is said in it; `samples` is its length at 16,000 a second, as its header says."""

    name: str
    speaker: str
    transcript: str
    path: Path
    samples: int

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE


def read_split(directory: Path, split: str) -> tuple[Utterance, ...]:
    """The utterances of a split, in the order of their names; several splits are joined by ``+``.

    `directory` holds the splits, or a directory LibriSpeech that does. Of a file only its header is read. Raises
    UsageError where a directory is missing, a recording has no transcript or a transcript no recording, a transcript is
    empty or stands there twice, and where a file is no FLAC file of one channel at 16 kHz.
    """
    root = _root(directory)
    found = [utterance for name in split.split("+") for utterance in _read_one(root, name)]
    return tuple(sorted(found, key=lambda utterance: utterance.name))


def splits(directory: Path) -> tuple[str, ...]:
    """The names of the splits that lie in a directory: those of its directories that hold any transcripts."""
    root = _root(directory)
    return tuple(sorted(path.name for path in root.iterdir() if next(path.glob("*/*/*.trans.txt"), None)))


def waveform(utterance: Utterance) -> Waveform:
    """The samples of an utterance, from -1 to 1; raises UsageError where its file is damaged."""
    soundfile = _soundfile()
    try:
        samples, _ = soundfile.read(utterance.path, dtype="float32")
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        raise _damaged(utterance.path, sentence(error)) from error
    if len(samples) != utterance.samples:
        raise _damaged(utterance.path, f"it ends after {len(samples)} of {utterance.samples} samples")
    wave: Waveform = samples
    return wave


def write_split(directory: Path, split: str, spoken: Iterable[tuple[str, str, Waveform]]) -> None:
    """Write recordings of your own in this layout: (speaker, transcript, samples from -1 to 1 at 16,000 a second)."""
    soundfile = _soundfile()
    lines: dict[Path, list[str]] = {}
    for speaker, transcript, samples in spoken:
        folder = directory / split / speaker / "1"
        folder.mkdir(parents=True, exist_ok=True)
        said = lines.setdefault(folder / f"{speaker}-1.trans.txt", [])
        name = f"{speaker}-1-{len(said):04d}"
        soundfile.write(folder / f"{name}.flac", samples, SAMPLE_RATE)
        said.append(f"{name} {transcript.upper()}\n")
    for file, said in lines.items():
        file.write_text("".join(said), encoding="utf-8")


def _root(directory: Path) -> Path:
    if not directory.is_dir():
        raise UsageError(
            f"there is no directory {printable(str(directory))}: unpack LibriSpeech (openslr.org/12) there, or give "
            "the directory that holds its splits"
        )
    inner = directory / "LibriSpeech"
    return inner if inner.is_dir() else directory


def _read_one(root: Path, split: str) -> list[Utterance]:
    folder = root / split
    if not split or split in (".", "..") or "/" in split or not folder.is_dir():
        known = splits(root)
        advice = nearest(split, known) if known else "no split of LibriSpeech lies there"
        raise UsageError(f"there is no split {printable(split)!r} in {printable(str(root))}: {advice}")
    found = [utterance for chapter in sorted(folder.glob("*/*")) for utterance in _chapter(chapter)]
    if not found:
        raise UsageError(
            f"{printable(str(folder))} holds no utterances: it has to have speakers, chapters and in them "
            "*.flac beside a *.trans.txt"
        )
    return found


def _chapter(folder: Path) -> list[Utterance]:
    recordings = {path.stem: path for path in sorted(folder.glob("*.flac"))}
    transcripts: dict[str, str] = {}
    for file in sorted(folder.glob("*.trans.txt")):
        for name, text in _lines(file):
            if name in transcripts:
                raise UsageError(f"{printable(str(file))} has two transcripts of {name}: keep one")
            transcripts[name] = text
    for name in sorted(recordings.keys() - transcripts.keys()):
        raise UsageError(
            f"{printable(str(recordings[name]))} has no transcript: add a line that begins with {name} to the "
            "*.trans.txt beside it, or take the recording away"
        )
    for name in sorted(transcripts.keys() - recordings.keys()):
        raise UsageError(
            f"{printable(str(folder / name))}.flac is missing, of which there is a transcript: unpack the split again"
        )
    speaker = folder.parent.name
    return [
        Utterance(name, speaker, transcripts[name], path, _samples(path)) for name, path in sorted(recordings.items())
    ]


def _lines(file: Path) -> list[tuple[str, str]]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{printable(str(file))} cannot be read ({sentence(error)}): unpack the split again"
        ) from error
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, *words = line.split()
        if not words:
            raise UsageError(
                f"line {number} of {printable(str(file))} has no transcript behind {printable(name)}: write what is "
                "said there"
            )
        found.append((printable(name), " ".join(words)))
    return found


def _samples(path: Path) -> int:
    """How many samples a file holds, by its header."""
    soundfile = _soundfile()
    try:
        header = soundfile.info(path)
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        raise _damaged(path, sentence(error)) from error
    if header.channels != 1 or header.samplerate != SAMPLE_RATE:
        raise UsageError(
            f"{printable(str(path))} has {header.channels} channels at {header.samplerate} Hz: LibriSpeech has one at "
            f"{SAMPLE_RATE}, so convert it (sox or ffmpeg do)"
        )
    return int(header.frames)


def _damaged(path: Path, why: str) -> UsageError:
    return UsageError(f"{printable(str(path))} is damaged ({why}): unpack it again, or take it and its transcript away")


def _soundfile() -> Any:
    require_extra("soundfile")
    return importlib.import_module("soundfile")
