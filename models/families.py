"""Published sizes of vision models that transformers ships, to be compared within and between families.

Each function is a factory: it returns the model with random weights and without a head, and its configuration tells
what it takes.
"""

from __future__ import annotations

from typing import Any

from torch import nn


def _made(name: str, **settings: Any) -> nn.Module:
    import transformers

    config = getattr(transformers, f"{name}Config")(**settings)
    module: nn.Module = getattr(transformers, f"{name}Model")(config)
    return module


def _vit(width: int, heads: int) -> nn.Module:
    return _made(
        "ViT",
        hidden_size=width,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def vit_tiny() -> nn.Module:
    """ViT Ti/16 (Touvron et al., DeiT, ICML 2021)."""
    return _vit(192, 3)


def vit_small() -> nn.Module:
    """ViT S/16 (Touvron et al., DeiT, ICML 2021)."""
    return _vit(384, 6)


def swin_tiny() -> nn.Module:
    """Swin-T (Liu et al., ICCV 2021)."""
    return _made("Swin", embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24])


def swin_small() -> nn.Module:
    """Swin-S (Liu et al., ICCV 2021)."""
    return _made("Swin", embed_dim=96, depths=[2, 2, 18, 2], num_heads=[3, 6, 12, 24])


def _resnet(kind: str, depths: list[int], sizes: list[int]) -> nn.Module:
    return _made("ResNet", layer_type=kind, depths=depths, hidden_sizes=sizes, embedding_size=64)


def resnet_18() -> nn.Module:
    """ResNet-18 (He et al., CVPR 2016)."""
    return _resnet("basic", [2, 2, 2, 2], [64, 128, 256, 512])


def resnet_50() -> nn.Module:
    """ResNet-50 (He et al., CVPR 2016)."""
    return _resnet("bottleneck", [3, 4, 6, 3], [256, 512, 1024, 2048])


def _regnet(depths: list[int], sizes: list[int], group: int) -> nn.Module:
    return _made("RegNet", layer_type="y", depths=depths, hidden_sizes=sizes, groups_width=group, embedding_size=32)


def regnet_y_800m() -> nn.Module:
    """RegNetY-800MF (Radosavovic et al., CVPR 2020)."""
    return _regnet([1, 3, 8, 2], [64, 128, 320, 768], 16)


def regnet_y_4g() -> nn.Module:
    """RegNetY-4.0GF (Radosavovic et al., CVPR 2020)."""
    return _regnet([2, 6, 12, 2], [128, 192, 512, 1088], 64)


def efficientnet_b0() -> nn.Module:
    """EfficientNet-B0 (Tan and Le, ICML 2019)."""
    return _made("EfficientNet", width_coefficient=1.0, depth_coefficient=1.0, image_size=224, hidden_dim=1280)


def efficientnet_b2() -> nn.Module:
    """EfficientNet-B2 (Tan and Le, ICML 2019)."""
    return _made("EfficientNet", width_coefficient=1.1, depth_coefficient=1.2, image_size=260, hidden_dim=1408)


def convnext_tiny() -> nn.Module:
    """ConvNeXt-T (Liu et al., CVPR 2022)."""
    return _made("ConvNext", depths=[3, 3, 9, 3], hidden_sizes=[96, 192, 384, 768])


def convnext_small() -> nn.Module:
    """ConvNeXt-S (Liu et al., CVPR 2022)."""
    return _made("ConvNext", depths=[3, 3, 27, 3], hidden_sizes=[96, 192, 384, 768])
