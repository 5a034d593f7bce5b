"""The ViTs of the Efficiency Misnomer against the printed tables."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pyprof.indicators import macs
from pyprof.models import registry
from pyprof.models.blueprint import blueprint
from pyprof.models.scaled_vit_sizes import SCALED_VITS
from pyprof.records.published import misnomer

PRINTED = {name: figures.values for name, figures in misnomer().figures.items()}
SCALED = [name for name in PRINTED if not name.startswith("vit-b")]


def counted(name: str) -> tuple[int, float]:
    """Parameters and multiply-adds for one image, without a number being computed."""
    plan = blueprint(registry.entry(name), "base")
    plan.config._attn_implementation = "eager"
    with torch.device("meta"):
        module = plan.model(plan.config).eval()
        image = torch.empty(1, 3, 224, 224)

    class Step:
        def __call__(self) -> None:
            with torch.inference_mode():
                module(pixel_values=image)

        def renew(self) -> None:
            pass

        def once(self, look: Any) -> Any:
            return look(self)

    reading = macs.count(Step())  # type: ignore[arg-type]
    assert reading.value is not None
    assert reading.detail["uncounted"] == {}
    return sum(parameter.numel() for parameter in module.parameters()), reading.value


def test_both_tables_are_there() -> None:
    assert len(SCALED) == 11
    assert set(PRINTED) == {entry.name for entry in SCALED_VITS}


@pytest.mark.parametrize("name", SCALED)
def test_table_2_to_the_printed_digit(name: str) -> None:
    parameters, products = counted(name)
    assert f"{parameters / 1e6:.2f}" == f"{PRINTED[name]['parameters'] / 1e6:.2f}"
    assert products == pytest.approx(PRINTED[name]["macs"], rel=0.015)


@pytest.mark.parametrize("name", ["vit-b8", "vit-b16", "vit-b32", "vit-b64"])
def test_table_1_within_one_percent(name: str) -> None:
    parameters, products = counted(name)
    assert parameters == pytest.approx(PRINTED[name]["parameters"], rel=0.01)
    # Of 64 pixels 3 x 3 patches fit into the image, and so 10 tokens; the printed 17 would take 1.60 G.
    assert products == pytest.approx(PRINTED[name]["macs"], rel=0.01)


@pytest.mark.parametrize("name", ["vit-b64", "vit-d6"])
def test_they_can_be_measured(name: str) -> None:
    model = registry.load(name, size="tiny", attention="best", mode="infer", longest=224)
    model.fit(224)
    args, kwargs = model.inputs(224, 1)
    assert model.call(*args, **kwargs).logits.shape == (1, 10)


def test_they_are_known_by_name_and_not_in_the_list() -> None:
    listed = {entry.name for entry in registry.ENTRIES}
    assert not listed & set(PRINTED)
    assert registry.find("vit-w4096") is not None
