from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from pyprof.indicators import active_parameters, parameter_bytes, parameters


def read(indicator: Any, module: nn.Module) -> Any:
    return indicator.count(SimpleNamespace(module=module))


def test_without_a_mixture_all_are_active() -> None:
    reading = read(active_parameters, nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    assert (reading.value, reading.detail) == (30, {})


def mixtral() -> tuple[nn.Module, int, int]:
    from transformers import MixtralConfig, MixtralModel

    config = MixtralConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=4, num_experts_per_tok=2,
    )  # fmt: skip
    return MixtralModel(config), 2 * 4 * 3 * 16 * 24, 2


def switch() -> tuple[nn.Module, int, int]:
    from transformers import SwitchTransformersConfig, SwitchTransformersEncoderModel

    config = SwitchTransformersConfig(
        vocab_size=50, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_sparse_encoder_layers=1, num_heads=2,
        num_experts=4,
    )  # fmt: skip
    model = SwitchTransformersEncoderModel(config)
    sparse = sum("experts" in name and name.endswith("wi.weight") for name, _ in model.named_parameters())
    return model, sparse * 2 * 16 * 24, 1


@pytest.mark.parametrize("made", [mixtral, switch])
def test_of_a_mixture_the_chosen_experts_are_active(made: Any) -> None:
    module, of_experts, chosen = made()
    every = sum(parameter.numel() for parameter in module.parameters())
    reading = read(active_parameters, module)
    assert reading.detail == {"experts": of_experts, "number_of_experts": 4, "chosen": chosen}
    assert reading.value == every - of_experts * (4 - chosen) / 4
    assert read(parameters, module).value == every


def test_a_mixture_that_does_not_tell_gives_a_reason() -> None:
    module = nn.Module()
    module.experts = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
    reading = read(active_parameters, nn.Sequential(module))
    assert reading.value is None
    assert "0.experts does not tell how many of its 3 experts it uses" in str(reading.reason)
    module.top_k = 2
    assert read(active_parameters, nn.Sequential(module)).value == 2 * 20


def test_bytes_are_those_that_are_stored() -> None:
    tied = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    tied[1].weight = tied[0].weight
    assert read(parameter_bytes, tied).value == 4 * 64
    assert read(parameters, tied).detail == {"trainable": 64, "bytes": 4 * 64}
    assert read(parameter_bytes, nn.Linear(8, 8, bias=False).bfloat16()).value == 2 * 64
    sparse = nn.Module()
    sparse.weight = nn.Parameter(torch.eye(100).to_sparse_csr())
    # 100 values, 101 offsets of rows and 100 columns of 8 bytes each.
    assert read(parameter_bytes, sparse).value == 100 * 4 + 201 * 8


def test_quantised_weights_take_their_own_bytes() -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        packed = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(64, 32)), {nn.Linear})
    assert read(parameter_bytes, packed).value == 64 * 32 + 4 * 32  # the bias stays what it was
