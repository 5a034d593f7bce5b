"""The configuration of L-HuBERT: HuBERT's and the windows of its self-attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers.models.hubert.configuration_hubert import HubertConfig

from pyprof.errors import UsageError
from pyprof.models.windows import window_of_context, windows

# What an L-HuBERT can be run with, today's best first. transformers' own eager and sdpa know no window.
IMPLEMENTATIONS = ("fused", "chunks", "flex", "sdpa-mask")


def checked_implementation(name: str | None) -> str:
    """The name of an implementation that honours the window, `fused` where none is named; raises UsageError."""
    if name is None:
        return IMPLEMENTATIONS[0]
    if name not in known_implementations():
        raise UsageError(
            f"L-HuBERT cannot run on attention implementation {name!r}, which knows no window: "
            f"choose from {', '.join(known_implementations())}"
        )
    return name


def known_implementations() -> tuple[str, ...]:
    """The names that are known to honour a window, those that a user has registered last."""
    from pyprof.ops import interface

    return (*IMPLEMENTATIONS, *(name for name in interface.IMPLEMENTATIONS if name not in IMPLEMENTATIONS))


@strict
class LHubertConfig(HubertConfig):  # type: ignore[misc]
    """HuBERT's configuration, and `window`: how many frames a query sees on each side, itself not counted.

    `window` is one pair (left, right), or one pair for each layer. Raises UsageError for anything else.
    """

    model_type = "l_hubert"

    window: tuple[Any, ...] | list[Any] = (16, 16)

    def __post_init__(self, **kwargs: Any) -> None:
        # A list of lists is what JSON makes of pairs; what is read back has to equal what was saved.
        self.window = windows(self.window, self.num_hidden_layers)
        super().__post_init__(**kwargs)

    @property
    def _attn_implementation(self) -> str | None:
        name: str | None = self._attn_implementation_internal
        return name

    @_attn_implementation.setter
    def _attn_implementation(self, value: Any) -> None:
        name = value.get("") if isinstance(value, dict) else value
        self._attn_implementation_internal = None if name is None else checked_implementation(name)


def l_hubert_config(config: Any, context: int = 32, window: Sequence[Any] | None = None) -> LHubertConfig:
    """The configuration of a HuBERT with windows; its own `context` (a query's neighbours on both sides) is 32.

    `window`, a pair or one pair for each layer, takes the place of `context`. Raises UsageError for an odd context.
    """
    settings = {key: value for key, value in config.to_dict().items() if key not in _NOT_CARRIED}
    return LHubertConfig(**settings, window=window_of_context(context) if window is None else window)


# Names of classes, and what transformers writes beside the settings.
_NOT_CARRIED = ("model_type", "architectures", "transformers_version", "window", "_name_or_path")
