"""Characters as the targets of CTC: numbers from 1, the blank is 0, and words are held apart by a character too."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pyprof.errors import UsageError
from pyprof.failures import sentence
from pyprof.plain import printable

# LibriSpeech's transcripts have these and spaces, no others.
ENGLISH = "'ABCDEFGHIJKLMNOPQRSTUVWXYZ"
BLANK, SPACE = "<pad>", "|"


@dataclass(frozen=True)
class Alphabet:
    """The symbols of the output layer by their numbers, as transformers' CTC tokenizers write them in vocab.json.

    `blank` is the number of CTC's blank. Symbols of more than one character (``<unk>``) stand for nothing that is
    said.
    """

    symbols: tuple[str, ...]
    blank: int = 0

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The symbols' numbers."""
        return {symbol: number for number, symbol in enumerate(self.symbols)}

    def encode(self, transcript: str) -> list[int]:
        """The numbers of a transcript's characters, capital or small as the alphabet has them.

        Words are parted by one space each, whatever stands between them. Raises UsageError for a character that the
        alphabet does not have.
        """
        numbers = self.numbers
        found = []
        for character in SPACE.join(transcript.split()):
            number = next(
                (numbers[form] for form in (character, character.upper(), character.lower()) if form in numbers), None
            )
            if number is None:
                raise UsageError(
                    f"the transcript {printable(transcript[:60])!r} has the character {printable(character)!r}, which "
                    "is none of the alphabet: write it in letters, apostrophes and spaces"
                )
            found.append(number)
        return found

    def decode(self, numbers: Iterable[int]) -> str:
        """The transcript of a labelling, its words parted by single spaces."""
        said = (self.symbols[number] for number in numbers)
        return " ".join("".join(" " if symbol == SPACE else symbol for symbol in said if len(symbol) == 1).split())

    def save(self, directory: Path) -> None:
        """Write vocab.json, from which transformers' Wav2Vec2CTCTokenizer reads the same numbers."""
        (directory / "vocab.json").write_text(json.dumps(self.numbers, ensure_ascii=False, indent=1), encoding="utf-8")


def alphabet_of(transcripts: Iterable[str]) -> Alphabet:
    """The alphabet of LibriSpeech, with any other characters of the transcripts added behind."""
    more = {character for transcript in transcripts for character in transcript.upper()} - set(ENGLISH)
    return Alphabet((BLANK, SPACE, *ENGLISH, *sorted(each for each in more if not each.isspace() and each != SPACE)))


def saved_alphabet(directory: Path) -> Alphabet | None:
    """The alphabet of a checkpoint whose head speaks one, None where there is no vocab.json.

    Raises UsageError where the file holds anything but symbols numbered from 0, with a blank (``<pad>``) among them.
    """
    file = directory / "vocab.json"
    if not file.is_file():
        return None
    try:
        numbers = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{file} cannot be read ({sentence(error)}): take it away for a new head") from error
    ordered = _ordered(numbers)
    if ordered is None or BLANK not in ordered or SPACE not in ordered:
        raise UsageError(
            f"{file} is no alphabet of CTC: it has to number symbols from 0, {BLANK} and {SPACE} among them; take it "
            "away for a new head"
        )
    return Alphabet(tuple(ordered), ordered.index(BLANK))


def _ordered(numbers: object) -> Sequence[str] | None:
    if not isinstance(numbers, dict) or not all(isinstance(each, int) for each in numbers.values()):
        return None
    ordered = sorted(numbers, key=lambda symbol: numbers[symbol])
    return ordered if [numbers[symbol] for symbol in ordered] == list(range(len(ordered))) else None
