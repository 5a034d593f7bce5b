"""Checkpoint files of fairseq, read without running the code that a pickle may hold; fairseq is not needed for it."""

from __future__ import annotations

import argparse
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyprof.errors import UsageError
from pyprof.failures import guarded, sentence
from pyprof.models.fairseq.pickle import load_inert, plain

_ADVICE = "only if you trust where it comes from, pass trust_pickle=True, which runs any code that the file holds"


@dataclass(frozen=True)
class FairseqCheckpoint:
    """What a checkpoint file says of a model.

    `settings` is its configuration as plain values: `model` and `task`, or everything in one dict where the file is
    from before fairseq 0.10.2. `weights` are its tensors by name, on the CPU. `reading` is how the file was read:
    ``weights only`` (by PyTorch's own restricted reader), ``as data`` (classes that the file names stayed names, which
    `not_imported` lists) or ``pickle`` (everything, code included, on the caller's word).
    """

    path: str
    settings: Mapping[str, Any] = field(repr=False)
    weights: Mapping[str, Tensor] = field(repr=False)
    reading: str
    not_imported: tuple[str, ...] = ()


def read_checkpoint(path: str | Path, *, trust_pickle: bool = False) -> FairseqCheckpoint:
    """A fairseq checkpoint as data.

    No code of the file runs: it is read by torch.load with weights_only=True, and where the file holds more than that
    allows (dictionaries, omegaconf containers), by an unpickler that imports no class and calls nothing that the file
    names. With `trust_pickle` it is unpickled in full instead, for which the classes that it names must be importable.

    Raises UsageError where there is no such file, where it is no fairseq checkpoint, and where it cannot be read
    without running its code, which then says what it would take.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"there is no file {path}: give the path of a fairseq checkpoint")
    archive = zipfile.is_zipfile(path)
    if archive and _is_script(path):
        raise UsageError(f"{path} is a TorchScript program, no fairseq checkpoint: give the file that fairseq saved")
    if not archive and tarfile.is_tarfile(path):
        raise UsageError(f"{path} is a tar archive, as PyTorch wrote them before 0.4: save it again with a newer one")
    # Mapped memory leaves what is not used, such as the optimizer's state, on disk.
    options: dict[str, Any] = {"mmap": True} if archive else {}
    content, reading, names = _load_trusted(path, options) if trust_pickle else _load_untrusted(path, options)
    what = f"the settings in {path} cannot be read as data"
    settings = guarded(what, plain, _settings(path, content))
    return FairseqCheckpoint(str(path), settings, _weights(path, content, names), reading, names)


def _is_script(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.rpartition("/")[2] == "constants.pkl" for name in archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} cannot be read ({sentence(error)}): give a checkpoint that fairseq saved") from error


def _load_trusted(path: Path, options: dict[str, Any]) -> tuple[Any, str, tuple[str, ...]]:
    what = f"{path} cannot be unpickled in full, for which its classes must be importable"
    content = guarded(what, torch.load, path, map_location="cpu", weights_only=False, **options)
    return content, "pickle", ()


def _load_untrusted(path: Path, options: dict[str, Any]) -> tuple[Any, str, tuple[str, ...]]:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = guarded("weights only", torch.load, path, map_location="cpu", weights_only=True, **options)
        return content, "weights only", ()
    except UsageError:
        # The file holds more, or it is damaged, which the next attempt will say.
        pass
    what = f"{path} is damaged, or cannot be read without running code that it holds ({_ADVICE})"
    content, names = guarded(what, load_inert, path, **options)
    return content, "as data", names


def _settings(path: Path, content: Any) -> Any:
    if not isinstance(content, Mapping) or "model" not in content:
        raise UsageError(f"{path} is no fairseq checkpoint, it has no entry 'model': give a file that fairseq saved")
    for key in ("cfg", "args"):
        if content.get(key) is not None:
            return content[key]
    raise UsageError(f"{path} has no configuration (cfg or args) beside its weights: give the file that fairseq saved")


def _weights(path: Path, content: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Tensor]:
    weights = content["model"]
    if not isinstance(weights, Mapping):
        raise UsageError(f"the weights in {path} are no dict of tensors but {weights!r}: {_ADVICE}")
    strange = [name for name, tensor in weights.items() if not (isinstance(name, str) and isinstance(tensor, Tensor))]
    if strange:
        raise UsageError(
            f"{len(strange)} weights in {path}, {strange[0]!r} first, are made by code that the file names "
            f"({', '.join(names) or 'unknown'}): {_ADVICE}"
        )
    return {name: tensor.detach() for name, tensor in weights.items()}
