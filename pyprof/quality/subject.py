"""A model that is to be trained: an encoder with the vocabulary of a task, fitted to its length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import TYPE_CHECKING, Any

from pyprof.errors import UsageError
from pyprof.models import registry
from pyprof.names import is_reference, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from pyprof.models.architecture import Architecture
    from pyprof.models.registry import Entry


@dataclass(frozen=True)
class Subject:
    """Which model is trained, and where.

    `model` is a registry name, an importable ``package.module:function`` or the directory of a local checkpoint;
    `attention` an implementation of it or an alias; `weights` a checkpoint that a registry model starts from.
    `settings` replace options of a zoo model's mechanism.
    """

    model: str
    size: str = "tiny"
    attention: str = "best"
    device: str = "cpu"
    weights: str | None = None
    settings: Mapping[str, float] = field(default_factory=dict)

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
        self._taken: dict[int, int] = {}

    def hidden(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None
    ) -> Tensor:
        """The hidden states of all tokens, which stand one after the other unless `position_ids`, from 0, says where.

        Where the model gives one state for several tokens, each of them has it.

        Raises UsageError for positions where the model takes none.
        """
        length = input_ids.shape[1]
        self._architecture.fit(length)
        input_ids, attention_mask = self._padded(input_ids, attention_mask)
        if attention_mask is not None and bool(attention_mask.all()):
            attention_mask = None  # some implementations are faster without one
        if attention_mask is not None and self._has_landmarks:
            attention_mask = _one_row(attention_mask)
        places = {} if position_ids is None else {"position_ids": self._places(position_ids, input_ids.shape[1])}
        output = self.module(input_ids=input_ids, attention_mask=attention_mask, **places)
        states: Tensor = output if not hasattr(output, "last_hidden_state") else output.last_hidden_state
        together = getattr(getattr(self.module, "embeddings", None), "downsampling", 1)
        return (states if together == 1 else states.repeat_interleave(together, dim=1))[:, :length]

    @property
    def _has_landmarks(self) -> bool:
        return getattr(self._architecture.config, "model_type", None) == "nystromformer"

    def _places(self, position_ids: Tensor, length: int) -> Tensor:
        """Positions from 0 as the module counts them: after the row of padding where its table has one."""
        from torch.nn.functional import pad

        if "position_ids" not in signature(self.module.forward).parameters:
            raise UsageError(f"{type(self.module).__name__} cannot be told where its tokens stand: drop none of them")
        table = getattr(getattr(self._architecture.base, "embeddings", None), "position_embeddings", None)
        padding = getattr(table, "padding_idx", None)
        return pad(position_ids, (0, length - position_ids.shape[1])) + (0 if padding is None else padding + 1)

    def _padded(self, input_ids: Tensor, attention_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Padded to the length that the model takes for inputs of this one: some take multiples only."""
        import torch
        from torch.nn.functional import pad

        length = input_ids.shape[1]
        if length not in self._taken:
            _, made = self._architecture.inputs(length, 1, torch.Generator())
            self._taken[length] = max(made["input_ids"].shape[1], length) if "input_ids" in made else length
        more = self._taken[length] - length
        if not more:
            return input_ids, attention_mask
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return pad(input_ids, (0, more)), pad(mask, (0, more))


def _one_row(attention_mask: Tensor) -> Tensor:
    """What is added to scores, (batch, 1, 1, length): it fits any number of queries, landmarks in place of them too.

    transformers makes a row for each token of a mask (batch, length), which fits no smaller number of landmarks.
    """
    import torch

    scores = torch.zeros(attention_mask.shape, device=attention_mask.device)
    return scores.masked_fill(attention_mask == 0, torch.finfo(scores.dtype).min)[:, None, None]


def encoder(
    subject: Subject,
    *,
    vocabulary: int,
    longest: int,
    seed: int,
    causal: bool = False,
    dropout: float | None = None,
) -> Encoder:
    """The subject's encoder over `vocabulary` token numbers, for inputs up to `longest`, on the CPU.

    `dropout` replaces that of a registry model; None leaves it.

    Raises UsageError for a model that takes no token numbers, one with fewer of them, and one that has no causal form
    where that is asked for.
    """
    entry = registry.find(subject.model)
    if entry is None or subject.weights is not None:
        if subject.settings:
            raise UsageError(f"{subject.model} brings its own settings: give none")
        architecture = _loaded(subject, vocabulary, longest, seed, causal)
    else:
        architecture = _initialised(subject, entry, {"vocab_size": vocabulary} | _dropouts(dropout), seed, causal)
    if architecture.unit != "token" or getattr(architecture.module, "main_input_name", "input_ids") != "input_ids":
        raise UsageError(f"{subject.model} takes no token numbers: train a model of text or one of the zoo")
    architecture.extend(longest)
    architecture.fit(longest)
    return Encoder(architecture, _width(architecture, subject))


def _initialised(subject: Subject, entry: Entry, settings: Mapping[str, Any], seed: int, causal: bool) -> Architecture:
    """A registry model with weights as its own code initialises them: those of a measured model are not to train."""
    from pyprof.models.architecture import architecture
    from pyprof.models.blueprint import blueprint, preserved_random

    if entry.unit != "token":
        raise UsageError(f"{subject.model} takes no token numbers: train a model of text or one of the zoo")
    plan = blueprint(entry, subject.size)
    plan.config._attn_implementation = subject.resolved
    for name, value in settings.items():
        if hasattr(plan.config, name):
            setattr(plan.config, name, value)
    if subject.settings:
        _set_options(plan.config, subject)
    if causal:
        _make_causal(plan.config, subject)
    with preserved_random(seed):
        return architecture(plan.model(plan.config), plan.config)


def _dropouts(rate: float | None) -> dict[str, float]:
    """The same rate under every name that a configuration may have for it."""
    names = ("dropout", "hidden_dropout_prob", "attention_probs_dropout_prob")
    return {} if rate is None else dict.fromkeys(names, rate)


def _set_options(config: Any, subject: Subject) -> None:
    known = getattr(config, "options", None)
    if known is None:
        raise UsageError(f"{subject.model} has no options of a mechanism: those of the zoo have")
    for name in subject.settings:
        if name not in known:
            raise UsageError(f"{subject.model} has no option {name!r}: {nearest(name, known, 'it has none')}")
    config.options = {**known, **subject.settings}


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
