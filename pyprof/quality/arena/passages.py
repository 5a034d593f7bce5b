"""Passages of the built-in stand-in for documents: the Python installation's own documentation and source code."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from functools import cache
from typing import Literal

import numpy as np

from pyprof.quality.task import SPLITS, Split

Kind = Literal["prose", "code"]
KINDS: tuple[Kind, ...] = ("prose", "code")
# Modules of the standard library that are whole files of Python.
_MODULES = (
    "argparse",
    "ast",
    "configparser",
    "datetime",
    "dataclasses",
    "difflib",
    "doctest",
    "enum",
    "inspect",
    "ipaddress",
    "logging",
    "mailbox",
    "optparse",
    "pathlib",
    "pdb",
    "pickle",
    "shutil",
    "subprocess",
    "tarfile",
    "tempfile",
    "threading",
    "traceback",
    "typing",
    "zipfile",
)
# Of every ten blocks of a text seven are for training, one for validation and two for the test.
_BLOCKS: dict[Split, range] = {"train": range(7), "validation": range(7, 8), "test": range(8, 10)}
_BLOCK = 2048
# How many examples the tasks make of passages.
COUNTS: dict[Split, int] = {"train": 2_000, "validation": 300, "test": 300}


def passages(kind: Kind, split: Split, length: int, count: int, seed: int) -> list[bytes]:
    """`count` pieces of `length` bytes of one kind; those of two splits are of different parts of the text."""
    text = _text(kind)
    block = max(_BLOCK, 2 * length)
    own = [number for number in range(len(text) // block) if number % 10 in _BLOCKS[split]]
    rng = np.random.default_rng([seed, 0x7E87, KINDS.index(kind), SPLITS.index(split)])
    begins = rng.choice(own, count) * block + rng.integers(0, block - length + 1, count)
    return [text[at : at + length] for at in begins]


@cache
def _text(kind: Kind) -> bytes:
    parts = "\n\n".join(_prose() if kind == "prose" else _code()).split("\n\n")
    # Some chapters repeat parts of others, which would stand in two splits.
    return "\n\n".join(dict.fromkeys(parts)).encode()


def _prose() -> Iterator[str]:
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield topics[name]


def _code() -> Iterator[str]:
    for name in _MODULES:
        yield inspect.getsource(importlib.import_module(name))
