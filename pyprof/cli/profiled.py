"""What `pyprof profile` says of the model and its setting, whether that runs in one process or in several."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pyprof.models.setup import ModelSetup


class Named(Protocol):
    """What a loaded model is called."""

    @property
    def title(self) -> str: ...
    @property
    def class_name(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def attention(self) -> str: ...


def title(loaded: Named, setup: ModelSetup, mode: str) -> str:
    """The model and its setting in one line."""
    what = f"{setup.length:,} {loaded.unit}s, batch {setup.batch}, {mode}, {loaded.attention}, {setup.dtype}"
    return f"{loaded.title}, {what}"


def about(
    loaded: Named, setup: ModelSetup, mode: str, options: argparse.Namespace, size: str | None, pinned: str | None
) -> dict[str, Any]:
    """The fields of --json before those of the profile; `size` is None for a model that the registry has not."""
    return {
        "model": setup.model,
        "class": loaded.class_name,
        "size": size,
        "length": setup.length,
        "batch": setup.batch,
        "mode": mode,
        "inputs": setup.inputs,
        "attention": loaded.attention,
        "dtype": setup.dtype,
        "launch": options.launch,
        "events": options.events,
        "device": setup.device,
        "pinned": pinned,
    }
