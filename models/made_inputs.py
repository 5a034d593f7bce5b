"""Inputs for a transformers model that comes without an input maker: its configuration tells what it takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Maker = Callable[[int, int], dict[str, Any]]
_IMAGE = 224


def maker_for(module: nn.Module) -> tuple[str, Maker] | None:
    """The unit of a length and a function of (length, batch) that makes random inputs; None where nothing tells.

    The main input is the one that the class names. A decoder behind an encoder gets as many tokens as the length says;
    beside tokens, images have the size that the configuration names.
    """
    config: Any = getattr(module, "config", None)
    make = _MAIN.get(str(getattr(module, "main_input_name", "")))
    if make is None or not hasattr(config, "model_type"):
        return None
    taken = inspect.signature(module.forward).parameters

    def inputs(length: int, batch: int) -> dict[str, Any]:
        made = make(config, length, batch)
        if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in taken:
            made["decoder_input_ids"] = _tokens(config, length, batch)["input_ids"]
        vision = getattr(config, "vision_config", None)
        if vision is not None and "pixel_values" in taken and "pixel_values" not in made:
            size = getattr(vision, "image_size", _IMAGE)
            made |= _pixels(vision, size if isinstance(size, int) else size[0], batch)
        return made

    return ("pixel" if make is _pixels else "token"), inputs


def _tokens(config: Any, length: int, batch: int) -> dict[str, Any]:
    from pyprof.models.architecture import random_tokens

    text = config.get_text_config()
    return {"input_ids": random_tokens((batch, length), text, torch.default_generator)}


def _pixels(config: Any, length: int, batch: int) -> dict[str, Any]:
    channels = getattr(config, "num_channels", 3)
    return {"pixel_values": torch.randn(batch, channels, length, length)}


def _waveform(config: Any, length: int, batch: int) -> dict[str, Any]:
    """The smallest number of samples that the convolutions turn into `length` frames."""
    samples = length
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        samples = (samples - 1) * stride + kernel
    return {"input_values": torch.randn(batch, samples)}


def _spectrogram(config: Any, length: int, batch: int) -> dict[str, Any]:
    """Whisper's encoder takes the one length of 30 s, of which its first convolutions halve the frames."""
    return {"input_features": torch.randn(batch, config.num_mel_bins, 2 * config.max_source_positions)}


_MAIN: dict[str, Callable[[Any, int, int], dict[str, Any]]] = {
    "input_ids": _tokens,
    "pixel_values": _pixels,
    "input_values": _waveform,
    "input_features": _spectrogram,
}
