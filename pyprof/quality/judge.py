"""Judging a trained model on examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyprof.models.blueprint import preserved_random
from pyprof.quality.task import Example, Rows, Task

if TYPE_CHECKING:
    from torch import Tensor, nn

# What a mechanism draws while it judges (hashes, say) is the same each time.
_SEED = 0


def judged(task: Task, module: nn.Module, examples: Sequence[Example], batch: int) -> Rows:
    """The rows of the examples, (n, k), as ``Task.judge`` gives them for the module's answers.

    The module is judged in eval mode on the device where it lies, and left in the mode that it was in; the generators
    of random numbers are left as they were.
    """
    device = next((each.device for each in module.parameters()), torch.device("cpu"))
    training = module.training
    module.eval()
    rows = []
    try:
        with torch.no_grad(), preserved_random(_SEED):
            for begin in range(0, len(examples), batch):
                made = moved(task.collate(examples[begin : begin + batch]), device)
                rows.append(task.judge(module(**made), made).double().cpu().numpy())
    finally:
        module.train(training)
    return np.concatenate(rows)


def moved(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Any]:
    """A batch on a device."""
    return {name: value.to(device) for name, value in batch.items()}
