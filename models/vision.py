"""Vision models: square images in, one hidden state per patch out."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.models.swin.configuration_swin import SwinConfig
from transformers.models.swin.modeling_swin import SwinModel
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTModel

from pyprof.errors import UsageError
from pyprof.models.architecture import Architecture, Inputs
from pyprof.models.blueprint import Blueprint
from pyprof.models.work import padded


class Vision(Architecture):
    """Any encoder of square images; the length is the side in pixels."""

    unit = "pixel"
    probe = 32

    def __init__(self, module: nn.Module, config: Any) -> None:
        super().__init__(module, config)
        self.probe = side_of(getattr(config, "image_size", self.probe))

    def inputs(self, length: int, batch: int, generator: torch.Generator) -> Inputs:
        channels = getattr(self.config, "num_channels", 3)
        return (), {"pixel_values": torch.randn(batch, channels, length, length, generator=generator)}


class Vit(Vision):
    """ViT, whose learned position embeddings are interpolated once for each image size, outside of what is timed."""

    def __init__(self, module: nn.Module, config: Any) -> None:
        super().__init__(module, config)
        self.probe = config.patch_size
        embeddings: Any = self.base.embeddings
        self._table: torch.Tensor = embeddings.position_embeddings.detach()
        self._published = side_of(config.image_size)

    def fit(self, length: int) -> None:
        """Interpolate the published table of positions (Dosovitskiy et al. 2021, section 3.2) to this image size.

        Raises UsageError unless the length is a multiple of the patch or the published size.
        """
        embeddings: Any = self.base.embeddings
        if embeddings.image_size == (length, length):
            return
        patch = int(self.config.patch_size)
        if length % patch:
            raise UsageError(f"the image's side must be a multiple of the patch of {patch} pixels, not {length}")
        current = embeddings.position_embeddings
        table = self._table.to(current.device, current.dtype)
        side, published = length // patch, self._published // patch
        if side != published:
            grid = table[:, 1:].float().reshape(1, published, published, -1).permute(0, 3, 1, 2)
            grid = nn.functional.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
            patches = grid.permute(0, 2, 3, 1).reshape(1, side * side, -1).to(table.dtype)
            table = torch.cat((table[:, :1], patches), dim=1)
        embeddings.position_embeddings = nn.Parameter(table.clone())
        embeddings.image_size = embeddings.patch_embeddings.image_size = (length, length)
        embeddings.patch_embeddings.num_patches = side * side

    def notes(self, length: int, mode: str) -> tuple[str, ...]:
        if length == self._published:
            return ()
        return (f"position embeddings interpolated from {self._published} x {self._published} pixels beforehand",)


class Swin(Vision):
    """Swin at any size: where a feature map is smaller than the window, the layer pads the map.

    transformers shrinks the window of such a layer for good, and the position bias, which keeps its size, no longer
    fits. Asking the encoder to always partition keeps the window. As in the published model, windows are shifted only
    where the map is larger than one window.
    """

    def __init__(self, module: nn.Module, config: Any) -> None:
        super().__init__(module, config)
        self.probe = 32

    def fit(self, length: int) -> None:
        """Set which layers shift their windows; raises UsageError unless the length is a multiple of the patch."""
        patch, window = int(self.config.patch_size), int(self.config.window_size)
        if length % patch:
            raise UsageError(f"the image's side must be a multiple of the patch of {patch} pixels, not {length}")
        encoder: Any = self.base.encoder
        for stage, side in zip(encoder.layers, self._sides(length), strict=True):
            for index, block in enumerate(stage.blocks):
                block.window_size = window
                block.shift_size = window // 2 if index % 2 and side > window else 0

    def inputs(self, length: int, batch: int, generator: torch.Generator) -> Inputs:
        args, kwargs = super().inputs(length, batch, generator)
        return args, {**kwargs, "always_partition": True}

    def notes(self, length: int, mode: str) -> tuple[str, ...]:
        window = int(self.config.window_size)
        maps = [f"{side} to {padded(side, window)}" for side in self._sides(length) if side % window]
        if not maps:
            return ()
        return (f"sides of feature maps padded to multiples of the window {window}: {', '.join(maps)}",)

    def _sides(self, length: int) -> list[int]:
        """The side of the feature map in each stage; merging 2 x 2 patches rounds up."""
        sides = [length // int(self.config.patch_size)]
        for _ in self.config.depths[1:]:
            sides.append(-(-sides[-1] // 2))
        return sides


def side_of(image_size: Any) -> int:
    """The side in pixels of a square image whose size is a number or a pair."""
    return int(image_size if isinstance(image_size, int) else image_size[0])


def vit(size: str) -> Blueprint:
    """vit-base-patch16-224."""
    published: dict[str, Any] = {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": 1e-12,
        "image_size": 224,
        "patch_size": 16,
        "num_channels": 3,
        "qkv_bias": True,
    }
    tiny = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return Blueprint(ViTModel, ViTConfig(**(published | tiny if size == "tiny" else published)))


def swin(size: str) -> Blueprint:
    """swin-base-patch4-window7-224."""
    published: dict[str, Any] = {
        "image_size": 224,
        "patch_size": 4,
        "num_channels": 3,
        "embed_dim": 128,
        "depths": (2, 2, 18, 2),
        "num_heads": (4, 8, 16, 32),
        "window_size": 7,
        "mlp_ratio": 4.0,
        "qkv_bias": True,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "drop_path_rate": 0.1,
        "hidden_act": "gelu",
        "use_absolute_embeddings": False,
        "layer_norm_eps": 1e-5,
    }
    tiny = {"embed_dim": 16, "depths": (2, 2), "num_heads": (1, 2)}
    return Blueprint(SwinModel, SwinConfig(**(published | tiny if size == "tiny" else published)))
