"""Sizes of the ViTs of "The Efficiency Misnomer", and their entries. Importing this loads no torch.

Table 2 prints 1,024 as the width of the feedforward part of the D rows; the printed parameters and operations follow
from 1,536, and from a head of 18,291 classes (those of JFT) on patches of 32 x 32 pixels.
"""

from __future__ import annotations

from pyprof.models import work
from pyprof.models.entries import VIT_KINDS, Entry

PATCH_CLASSES = 1000
SCALING_CLASSES = 18291
SCALING_PATCH = 32
# Layers, width of the feedforward part, width, heads.
SIZES = {
    "d6": (6, 1536, 384, 6),
    "d8": (8, 1536, 384, 6),
    "d16": (16, 1536, 384, 6),
    "d24": (24, 1536, 384, 6),
    "d32": (32, 1536, 384, 6),
    "d48": (48, 1536, 384, 6),
    "w768": (12, 768, 192, 3),
    "w1024": (12, 1024, 384, 6),
    "w1536": (12, 1536, 512, 8),
    "w3072": (12, 3072, 768, 12),
    "w4096": (12, 4096, 1024, 16),
}
_SOURCE = "Dehghani et al., The Efficiency Misnomer, ICLR 2022"
_IMAGE = 224


def _entry(name: str, description: str, patch: int, width: int, layers: int) -> Entry:
    exact = _IMAGE % patch == 0

    def forward(length: int) -> float:
        tokens = (length // patch) ** 2 + 1
        return 2.0 * tokens * width * 3 * patch**2 + work.encoder(tokens, tokens, width, layers)

    return Entry(
        name=f"vit-{name}",
        modality="vision",
        vanilla=None,
        family="full attention",
        unit="pixel",
        description=description,
        source=_SOURCE,
        attentions=("sdpa", "eager"),
        then="eager",
        # Of an image that patches do not divide its edge is left out, as in the paper; there is only that one.
        shortest=patch if exact else _IMAGE,
        longest=1024 if exact else _IMAGE,
        multiple=patch if exact else 1,
        loader=f"pyprof.models.scaled_vit:{name}",
        kinds=VIT_KINDS,
        work=forward,
    )


SCALED_VITS = tuple(
    _entry(f"b{patch}", f"ViT base with a head of 1,000 classes, patches of {patch} x {patch} pixels", patch, 768, 12)
    for patch in (8, 16, 32, 64)
) + tuple(
    _entry(name, f"ViT of {layers} layers, {width} wide, with a head of 18,291 classes", SCALING_PATCH, width, layers)
    for name, (layers, _, width, _) in SIZES.items()
)
