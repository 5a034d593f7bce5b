"""The error of the tensor-core kernels: at most twice that of eager PyTorch in the same type, against float64."""

from __future__ import annotations

import struct
import subprocess
from dataclasses import dataclass, replace

import pytest
import torch
from building import COMPILER, HERE, NO_COMPILER, PLAIN

pytestmark = [pytest.mark.slow, pytest.mark.skipif(COMPILER is None, reason=NO_COMPILER)]

NAMES = ("output", "grad_query", "grad_key", "grad_value")
HEAD_DIM = 64


@dataclass(frozen=True)
class Setting:
    """What to compute; `size` makes scores large."""

    dtype: torch.dtype
    left: int
    right: int
    size: float = 1.0
    heads: int = 2
    key_heads: int = 2
    length: int = 150

    def tensors(self):
        generator = torch.Generator().manual_seed(1)

        def normal(heads):
            return torch.randn(1, heads, self.length, HEAD_DIM, generator=generator)

        query, key, value, grad = (normal(h) for h in (self.heads, self.key_heads, self.key_heads, self.heads))
        return [tensor.to(self.dtype) for tensor in (query * self.size, key, value, grad)]


SETTINGS = [
    Setting(dtype, left, right, size, 2, key_heads)
    for dtype in (torch.float16, torch.bfloat16)
    for left, right, size, key_heads in (
        (16, 16, 1.0, 2),
        (50, 0, 1.0, 1),
        (200, 200, 1.0, 2),
        (30, 40, 12.0, 2),
        (40, 220, 12.0, 1),
    )
]


def eager(setting: Setting, dtype: torch.dtype) -> list[torch.Tensor]:
    """Scores, mask, softmax, product, one after another in `dtype`, and PyTorch's own gradients."""
    *inputs, grad = (tensor.to(dtype) for tensor in setting.tensors())
    query, key, value = (tensor.requires_grad_() for tensor in inputs)
    key_of_query, value_of_query = (
        tensor.repeat_interleave(setting.heads // setting.key_heads, dim=1) for tensor in (key, value)
    )
    scores = query @ key_of_query.transpose(-1, -2) * HEAD_DIM**-0.5
    place = torch.arange(setting.length)
    ahead = place[None, :] - place[:, None]
    outside = (ahead > setting.right) | (ahead < -setting.left)
    output = scores.masked_fill(outside, float("-inf")).softmax(-1) @ value_of_query
    output.backward(grad)
    return [output.detach(), query.grad, key.grad, value.grad]


def on_tensor_cores(program, setting: Setting) -> list[torch.Tensor]:
    tensors = setting.tensors()
    numbers = (setting.dtype == torch.bfloat16, 1, setting.heads, setting.key_heads, setting.length)
    head = struct.pack("<7qd", *numbers, setting.left, setting.right, HEAD_DIM**-0.5)
    sent = head + b"".join(tensor.view(torch.uint8).numpy().tobytes() for tensor in tensors)
    got = subprocess.run([program], input=sent, capture_output=True, check=True, timeout=120).stdout
    results, at = [], 0
    for like in (tensors[0], *tensors[:3]):
        size = like.numel() * like.element_size()
        results.append(torch.frombuffer(bytearray(got[at : at + size]), dtype=setting.dtype).view(like.shape))
        at += size
    assert at == len(got)
    return results


def share_of_budget(got: list[torch.Tensor], setting: Setting) -> dict[str, float]:
    """The largest and the mean square error, of each result, over twice eager's."""
    shares = {}
    compared = zip(NAMES, got, eager(setting, setting.dtype), eager(setting, torch.float64), strict=True)
    for name, ours, theirs, exact in compared:
        errors = [(tensor.double() - exact).abs() for tensor in (ours, theirs)]
        for measure in (torch.max, lambda error: error.square().mean().sqrt()):
            mine, peer = (float(measure(error)) for error in errors)
            shares[name] = max(shares.get(name, 0.0), mine / (2 * peer))
    return shares


@pytest.fixture(scope="module")
def program(workshop):
    return workshop.emulation_program(HERE / "accuracy_program.cpp", PLAIN)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_the_error_is_at_most_twice_eagers(program, setting):
    shares = share_of_budget(on_tensor_cores(program, setting), setting)
    assert all(share <= 1 for share in shares.values()), shares


@pytest.mark.parametrize("wrong", [{"left": 17}, {"right": 15}], ids=str)
def test_a_wrong_window_is_not_accurate(program, wrong):
    setting = SETTINGS[0]
    shares = share_of_budget(on_tensor_cores(program, replace(setting, **wrong)), setting)
    assert all(share > 1 for share in shares.values()), shares
