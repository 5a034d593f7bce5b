"""Factories of models that are sharded already: tensor parallel, FSDP2, a pipeline; in some a rank is slow or at fault.

In one process, without ranks, `plain` is the same model unsharded.
"""

from __future__ import annotations

import os
import signal
import time

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn import functional

WIDTH, HEAD, LAYERS = 32, 8, 2
# What the slow rank sleeps in each feed-forward layer.
PLANTED_SECONDS = 0.1


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = [each(x).unflatten(-1, (-1, HEAD)).transpose(1, 2) for each in (self.query, self.key, self.value)]
        return self.out(functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(-2))


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.fault = ""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.fault:
            commit(self.fault)
        return self.down(functional.gelu(self.up(x)))


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.mlp = Attention(), FeedForward()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.first(x))
        return x + self.mlp(self.second(x))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def inputs(length: int, batch: int) -> tuple[torch.Tensor, ...]:
    return (torch.randn(batch, length, WIDTH),)


def plain():
    return Model(), inputs


def tensor_parallel(fault: str = ""):
    model = Model()
    mesh = init_device_mesh("cpu", (distributed.get_world_size(),))
    plan = {
        **{f"attention.{name}": ColwiseParallel() for name in ("query", "key", "value")},
        "attention.out": RowwiseParallel(),
        "mlp.up": ColwiseParallel(),
        "mlp.down": RowwiseParallel(),
    }
    for layer in model.layers:
        parallelize_module(layer, mesh, plan)
        if distributed.get_rank() == 1:
            layer.mlp.fault = fault
    return model, inputs


def fsdp():
    model = Model()
    mesh = init_device_mesh("cpu", (distributed.get_world_size(),))
    for layer in model.layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh), inputs


class Stage(nn.Module):
    """One layer of the model in each rank, which hands on what it has made."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Layer()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rank, count = distributed.get_rank(), distributed.get_world_size()
        if rank:
            x = torch.empty_like(x)
            distributed.recv(x, rank - 1)
        x = self.layer(x)
        if rank < count - 1:
            distributed.send(x, rank + 1)
        return x


def pipeline():
    return Stage(), inputs


def slow():
    return tensor_parallel("slow")


def dies():
    return tensor_parallel("dies")


def raises():
    return tensor_parallel("raises")


def hangs():
    return tensor_parallel("hangs")


def does_not_load():
    if distributed.get_rank() == 1:
        raise ValueError("planted in the factory of a rank")
    return tensor_parallel()


def commit(fault: str) -> None:
    if fault == "slow":
        time.sleep(PLANTED_SECONDS)
    elif fault == "raises":
        raise ValueError("planted in a rank")
    elif fault == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "hangs":
        time.sleep(3600)
