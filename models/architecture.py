"""What pyprof must know of an architecture beside its module: its inputs, and its state that depends on the length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

Inputs = tuple[tuple[Any, ...], dict[str, Any]]


class Architecture:
    """How a model is fed and fitted to a length; one object per loaded model, made from its module and configuration.

    `unit` names what a length counts, `probe` is a short length at which one forward pass is cheap.
    """

    unit: str = "token"
    probe: int = 8

    def __init__(self, module: nn.Module, config: Any) -> None:
        self.module = module
        # What a head of a task stands on; the module itself where it has none.
        self.base: Any = getattr(module, "base_model", module)
        self.config = config

    def check_dtype(self, dtype: torch.dtype) -> None:
        """Raise UsageError for a type of numbers that the model does not compute with."""

    def extend(self, longest: int) -> None:
        """Prepare tables for lengths up to `longest`; raises UsageError where the model cannot go that far."""

    def fit(self, length: int) -> None:
        """Prepare the state that depends on the length; cheap and idempotent."""

    def inputs(self, length: int, batch: int, generator: torch.Generator) -> Inputs:
        """Positional and keyword arguments on the CPU for a batch of examples of exactly that length."""
        raise NotImplementedError

    def notes(self, length: int, mode: str) -> tuple[str, ...]:
        """What a record of this length and mode should say beside its numbers."""
        return ()


def architecture(module: nn.Module, config: Any) -> Architecture:
    """The architecture of a transformers model, by its configuration's model type or by its main input's name."""
    from pyprof.models.speech import Speech
    from pyprof.models.text import Longformer, Nystromformer, Text
    from pyprof.models.vision import Swin, Vision, Vit
    from pyprof.models.zoo.loading import Zoo

    by_type: Mapping[str, type[Architecture]] = {
        "longformer": Longformer,
        "nystromformer": Nystromformer,
        "vit": Vit,
        "swin": Swin,
        "zoo": Zoo,
    }
    by_input: Mapping[str, type[Architecture]] = {
        "input_ids": Text,
        "input_values": Speech,
        "pixel_values": Vision,
    }
    kind = by_type.get(config.model_type) or by_input.get(str(getattr(module, "main_input_name", "")))
    if kind is None:
        raise LookupError(getattr(module, "main_input_name", None))
    return kind(module, config)


def random_tokens(shape: tuple[int, int], config: Any, generator: torch.Generator) -> Tensor:
    """Uniformly random token numbers that are never the padding token."""
    tokens = torch.randint(0, config.vocab_size - 1, shape, generator=generator)
    padding = getattr(config, "pad_token_id", None)
    return tokens if padding is None else tokens + (tokens >= padding)
