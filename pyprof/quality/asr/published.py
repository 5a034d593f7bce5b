"""The word error rates of Diwan, Choi, Harwath (ACL 2023) on LibriSpeech; importing this loads no torch."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files

SOURCE = "Diwan, Choi, Harwath, ACL 2023, on LibriSpeech (Panayotov et al., ICASSP 2015)"
_NAMES = {"hubert_base": "hubert", "l_hubert_32": "l-hubert", "l_hubert_100": "l-hubert-100"}


def published(*, frozen: bool) -> Mapping[str, float]:
    """The published word error rates by the names of our models, of frozen encoders or of finetuned ones."""
    text = files("pyprof.reference").joinpath("diwan2023.toml").read_text(encoding="utf-8")
    printed = tomllib.loads(text)["wer"]["librispeech"]
    how = "frozen" if frozen else "finetune"
    return {name: round(printed[row][how] / 100, 6) for row, name in _NAMES.items()}
