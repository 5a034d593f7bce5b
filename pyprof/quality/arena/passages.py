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
_MODULES: tuple[str, ...] = (
    "argparse",
    "ast",
    "configparser",
    "datetime",
    "dataclasses",
    "difflib",
    "doctest",
    "enum",
    "inspect",
)
_MODULES += (
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
)
_MODULES += ("tempfile", "threading", "traceback", "typing", "zipfile")
_SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


def passages(kind: Kind, split: Split, length: int, count: int, seed: int) -> list[bytes]:
    """`count` pieces of `length` bytes of one kind; the splits are cut from different parts of it."""
    text = _text(kind)
    begin = sum(_SHARES[name] for name in SPLITS[: SPLITS.index(split)])
    low, high = int(begin * len(text)), int((begin + _SHARES[split]) * len(text)) - length
    rng = np.random.default_rng([seed, 0x7E87, KINDS.index(kind), SPLITS.index(split)])
    return [text[at : at + length] for at in rng.integers(low, high, count)]


@cache
def _text(kind: Kind) -> bytes:
    return " ".join("\n".join(_prose() if kind == "prose" else _code()).split()).encode()


def _prose() -> Iterator[str]:
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield topics[name]


def _code() -> Iterator[str]:
    for name in _MODULES:
        yield inspect.getsource(importlib.import_module(name))
