"""Labels for a transformers model of a task, so that it can compute its own loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyprof.models.architecture import Inputs, random_tokens

# Labels for inputs of a length in the model's unit: keyword arguments on the CPU.
Labels = Callable[[Inputs, int, torch.Generator], dict[str, Tensor]]
# The share of tokens that BERT is asked to predict (Devlin et al., NAACL 2019).
_MASKED = 0.15


def has_head(module: nn.Module) -> bool:
    """Whether a transformers model is a base model with a head of a task on it."""
    return getattr(module, "base_model", module) is not module


def labels_for(module: nn.Module, config: Any) -> Labels | None:
    """What makes random labels for the task of the module's class; None for a task that is not known here.

    Known are language modelling, causal and masked, classification of sequences, tokens, images and audio, question
    answering, and CTC.
    """
    from transformers.models.auto import modeling_auto as auto

    tasks: tuple[tuple[Mapping[str, Any], Callable[..., dict[str, Tensor]]], ...] = (
        (auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, _next_tokens),
        (auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, _masked_tokens),
        (auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES, _token_classes),
        (auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES, _spans),
        (auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, _classes),
        (auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES, _classes),
        (auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES, _classes),
        (auto.MODEL_FOR_CTC_MAPPING_NAMES, _characters),
    )
    taken = inspect.signature(module.forward).parameters
    wanted = {_spans: "start_positions"}
    for cls in type(module).__mro__:
        for names, make in tasks:
            if cls.__name__ in _flat(names) and wanted.get(make, "labels") in taken:
                return lambda inputs, length, generator: make(config, inputs[1], length, generator)
    return None


def _flat(names: Mapping[str, Any]) -> set[str]:
    """The names of classes; an architecture may have several."""
    return {name for value in names.values() for name in ((value,) if isinstance(value, str) else value)}


def _next_tokens(
    config: Any, inputs: Mapping[str, Tensor], length: int, generator: torch.Generator
) -> dict[str, Tensor]:
    return {"labels": inputs["input_ids"].clone()}


def _masked_tokens(
    config: Any, inputs: Mapping[str, Tensor], length: int, generator: torch.Generator
) -> dict[str, Tensor]:
    batch, tokens = inputs["input_ids"].shape
    labels = random_tokens((batch, tokens), config, generator)
    asked = torch.rand(batch, tokens, generator=generator) < _MASKED
    asked[:, 0] = True
    return {"labels": labels.masked_fill(~asked, -100)}


def _token_classes(
    config: Any, inputs: Mapping[str, Tensor], length: int, generator: torch.Generator
) -> dict[str, Tensor]:
    return {"labels": torch.randint(0, config.num_labels, tuple(inputs["input_ids"].shape), generator=generator)}


def _spans(config: Any, inputs: Mapping[str, Tensor], length: int, generator: torch.Generator) -> dict[str, Tensor]:
    begins, ends = torch.randint(0, length, (2, _batch(inputs)), generator=generator).sort(dim=0).values
    return {"start_positions": begins, "end_positions": ends}


def _classes(config: Any, inputs: Mapping[str, Tensor], length: int, generator: torch.Generator) -> dict[str, Tensor]:
    """One class of each example; a number where there is only one (regression), a yes or no of each for several."""
    batch, classes = _batch(inputs), config.num_labels
    kind = getattr(config, "problem_type", None)
    if kind == "multi_label_classification":
        return {"labels": torch.randint(0, 2, (batch, classes), generator=generator).float()}
    if kind == "regression" or (kind is None and classes == 1):
        shape = (batch,) if classes == 1 else (batch, classes)
        return {"labels": torch.randn(shape, generator=generator)}
    return {"labels": torch.randint(0, classes, (batch,), generator=generator)}


def _characters(
    config: Any, inputs: Mapping[str, Tensor], length: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Half as many characters as frames, so that equal neighbours find room for the blank between them."""
    return {"labels": random_tokens((_batch(inputs), max(length // 2, 1)), config, generator)}


def _batch(inputs: Mapping[str, Tensor]) -> int:
    return len(next(iter(inputs.values())))
