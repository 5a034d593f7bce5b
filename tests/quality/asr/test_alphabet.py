from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyprof.errors import UsageError
from pyprof.quality.asr.alphabet import Alphabet, alphabet_of, saved_alphabet

LOWER = Alphabet(("<s>", "<pad>", "<unk>", "|", "a", "b"), blank=1)


def test_librispeech_has_letters_an_apostrophe_and_a_space() -> None:
    alphabet = alphabet_of(["IT'S  ALL", "so"])
    assert len(alphabet) == 29
    assert alphabet.symbols[alphabet.blank] == "<pad>"
    numbers = alphabet.encode(" IT'S\tall ")
    assert alphabet.blank not in numbers
    assert alphabet.decode(numbers) == "IT'S ALL"


def test_other_characters_of_the_training_are_added_and_those_of_the_test_refused() -> None:
    alphabet = alphabet_of(["ÜBER 9 a|b"])
    assert alphabet.symbols[-2:] == ("9", "Ü")
    assert alphabet.decode(alphabet.encode("über 9")) == "ÜBER 9"
    with pytest.raises(UsageError, match="has the character 'É', which is none of the alphabet"):
        alphabet.encode("CAFÉ")


def test_symbols_of_several_characters_are_not_said() -> None:
    assert LOWER.encode("AB a") == [4, 5, 3, 4]
    assert LOWER.decode([0, 4, 2, 3, 3, 5, 3]) == "a b"


def test_an_alphabet_is_saved_as_transformers_reads_it(tmp_path: Path) -> None:
    from transformers import Wav2Vec2CTCTokenizer

    assert saved_alphabet(tmp_path) is None
    alphabet = alphabet_of(["ÜBER"])
    alphabet.save(tmp_path)
    assert saved_alphabet(tmp_path) == alphabet
    tokenizer = Wav2Vec2CTCTokenizer(tmp_path / "vocab.json")
    assert tokenizer("IT ÜBER").input_ids == alphabet.encode("IT ÜBER")


@pytest.mark.parametrize(
    "written", ["[]", "{", '{"a": 0}', '{"<pad>": 0, "|": 2}', '{"<pad>": 0, "|": "1"}', '{"<pad>": 1, "a": 0}']
)
def test_what_is_no_alphabet_is_refused(tmp_path: Path, written: str) -> None:
    (tmp_path / "vocab.json").write_text(written)
    with pytest.raises(UsageError, match=r"vocab\.json (cannot be read|is no alphabet)"):
        saved_alphabet(tmp_path)


def test_the_order_of_a_vocabulary_is_that_of_its_numbers(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({"|": 3, "<pad>": 1, "<s>": 0, "b": 5, "a": 4, "<unk>": 2}))
    assert saved_alphabet(tmp_path) == LOWER
