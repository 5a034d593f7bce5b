"""A model that is to be trained: an encoder with the vocabulary of a task, fitted to its length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyprof.errors import UsageError
from pyprof.models import registry
from pyprof.names import is_reference

if TYPE_CHECKING:
    from torch import Tensor

    from pyprof.models.architecture import Architecture


@dataclass(frozen=True)
class Subject:
    """Which model is trained, and where.

    `model` is a registry name, an importable ``package.module:function`` or the directory of a local checkpoint;
    `attention` an implementation of it or an alias; `weights` a checkpoint that a registry model starts from.
    """

    model: str
    size: str = "tiny"
    attention: str = "best"
    device: str = "cpu"
    weights: str | None = None

    @property
    def resolved(self) -> str:
        """The implementation of attention that really runs; raises UsageError where the model has none such."""
        return registry.resolve(self.model, self.attention)


class Encoder:
    """Token numbers to hidden states of `width`; made by `encoder`.

    `module` is the bare model. `hidden` takes token numbers (batch, length) and a mask, 1 for tokens and 0 for the
    padding on the right, and gives (batch, length, width).
    """

    def __init__(self, architecture: Architecture, width: int) -> None:
        self._architecture = architecture
        self.module = architecture.module
        self.width = width

    def hidden(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """The hidden states of all tokens."""
        self._architecture.fit(input_ids.shape[1])
        output = self.module(input_ids=input_ids, attention_mask=attention_mask)
        states: Tensor = output if not hasattr(output, "last_hidden_state") else output.last_hidden_state
        return states[:, : input_ids.shape[1]]


def encoder(subject: Subject, *, vocabulary: int, longest: int, seed: int, causal: bool = False) -> Encoder:
    """The subject's encoder over `vocabulary` token numbers, for inputs up to `longest`, on the CPU.

    Raises UsageError for a model that takes no token numbers, one with fewer of them, and one that has no causal form
    where that is asked for.
    """
    architecture = _architecture(subject, vocabulary, longest, seed, causal)
    if architecture.unit != "token":
        raise UsageError(f"{subject.model} takes no token numbers: train a model of text or one of the zoo")
    architecture.extend(longest)
    architecture.fit(longest)
    return Encoder(architecture, _width(architecture, subject))


def _architecture(subject: Subject, vocabulary: int, longest: int, seed: int, causal: bool) -> Architecture:
    from pyprof.models.architecture import architecture
    from pyprof.models.blueprint import blueprint, preserved_random

    entry = registry.find(subject.model)
    if entry is None or subject.weights is not None:
        return _loaded(subject, vocabulary, longest, seed, causal)
    if entry.unit != "token":
        raise UsageError(f"{subject.model} takes no token numbers: train a model of text or one of the zoo")
    plan = blueprint(entry, subject.size)
    plan.config.vocab_size = vocabulary
    if causal:
        _make_causal(plan.config, subject)
    plan.config._attn_implementation = subject.resolved
    # Weights as the model's own code initialises them: those of a measured model are random, but not to be trained.
    with preserved_random(seed):
        return architecture(plan.model(plan.config), plan.config)


def _make_causal(config: Any, subject: Subject) -> None:
    """Let no position see a later one: zoo models and decoders of transformers have a switch for it."""
    switch = next((name for name in ("causal", "is_decoder") if hasattr(config, name)), None)
    if switch is None:
        raise UsageError(f"{subject.model} has no causal form that is known here: train one of the zoo")
    setattr(config, switch, True)


def _loaded(subject: Subject, vocabulary: int, longest: int, seed: int, causal: bool) -> Architecture:
    """A factory's model, or one with the weights of a checkpoint: with the vocabulary that it has."""
    if causal and not is_reference(subject.model):
        raise UsageError(f"{subject.model} cannot be made causal: give a factory whose model is")
    loaded = registry.load(
        subject.model,
        size=subject.size,
        attention=subject.attention,
        mode="infer",
        longest=longest,
        weights=subject.weights,
        seed=seed,
        base_model=True,
    )
    known = getattr(loaded.architecture.config, "vocab_size", None)
    if known is not None and known < vocabulary:
        raise UsageError(f"{subject.model} knows {known} tokens and the task has {vocabulary}: train another model")
    return loaded.architecture


def _width(architecture: Architecture, subject: Subject) -> int:
    width = getattr(architecture.config, "hidden_size", None)
    if not isinstance(width, int):
        raise UsageError(f"the configuration of {subject.model} has no hidden_size: name the width of its states so")
    return width
