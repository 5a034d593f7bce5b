from __future__ import annotations

import pytest
import torch

from pyprof.models import families

# Parameters without the head, as the papers print them with it: less the 1,000 classes on the last width.
PUBLISHED = {
    "vit_tiny": (5.7, 192),
    "vit_small": (22.1, 384),
    "swin_tiny": (28.3, 768),
    "swin_small": (49.6, 768),
    "resnet_18": (11.7, 512),
    "resnet_50": (25.6, 2048),
    "regnet_y_800m": (6.3, 768),
    "regnet_y_4g": (20.6, 1088),
    "efficientnet_b0": (5.3, 1280),
    "efficientnet_b2": (9.1, 1408),
    "convnext_tiny": (28.6, 768),
    "convnext_small": (50.2, 768),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_has_the_parameters_of_its_paper(name: str) -> None:
    millions, width = PUBLISHED[name]
    with torch.device("meta"):
        module = getattr(families, name)()
    counted = sum(parameter.numel() for parameter in module.parameters()) + 1000 * (width + 1)
    # ViT has a pooler of its own here, which the papers' models have not.
    counted -= width * (width + 1) if name.startswith("vit") else 0
    assert counted / 1e6 == pytest.approx(millions, abs=0.06)
