"""Generation of a text: the prompt that fills a cache of keys and values, and one more token that reads it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyprof.device.memory import CACHE_NAMES, cache_in, tensors_in
from pyprof.errors import UsageError

Inputs = tuple[tuple[Any, ...], dict[str, Any]]
PREFILL, GENERATE = "prefill", "generate"
MODES = (PREFILL, GENERATE)
_IDS = ("decoder_input_ids", "input_ids", "inputs_embeds")


def prompt(module: nn.Module, inputs: Inputs, name: str) -> Inputs:
    """The arguments of a forward over a whole prompt that fills a cache.

    A head of a language model computes the logits of the last token only, as when it generates. Raises UsageError for a
    module that takes no cache: it is no decoder.
    """
    args, kwargs = inputs
    if _argument(module) is None:
        raise UsageError(_no_decoder(name))
    return args, {**kwargs, **_settings(module)}


def one_more_token(module: nn.Module, filling: Inputs, run: Callable[..., Any], name: str) -> Inputs:
    """The arguments of a forward over one more token, with the cache that the prompt `filling` fills.

    `run` calls the module without recording gradients. Beside an encoder the token comes with what the encoder gave.
    Raises UsageError where the module keeps nothing: it is no decoder.
    """
    args, kwargs = filling
    named = _named(module, filling)
    output = run(*args, **kwargs)
    cache = filled(output, name)
    _drop_the_unseen(cache)
    tokens = next((each for each in _IDS if isinstance(named.get(each), Tensor)), None)
    argument = _argument(module)
    if tokens is None or argument is None:
        raise UsageError(f"{name} takes its tokens under none of {', '.join(_IDS)}: one more cannot be given to it")
    # Any token costs the same; this one is of the vocabulary.
    more: dict[str, Any] = {tokens: named[tokens][:, :1].clone(), argument: cache, **_settings(module)}
    mask = named.get("attention_mask")
    hidden = getattr(output, "encoder_last_hidden_state", None)
    if hidden is not None:
        more["encoder_outputs"] = (hidden,)
    elif isinstance(mask, Tensor) and mask.dim() == 2:
        mask = torch.cat((mask, mask.new_ones(len(mask), 1)), dim=1)
    if isinstance(mask, Tensor):
        more["attention_mask"] = mask
    return (), more


def filled(output: Any, name: str) -> Any:
    """The cache in the output of a forward; raises UsageError where there is none: the module is no decoder."""
    held = output if isinstance(output, Mapping) else {name: getattr(output, name, None) for name in CACHE_NAMES}
    cache = cache_in(held)
    if cache is None or not any(tensor.numel() for tensor in tensors_in(cache)):
        raise UsageError(_no_decoder(name))
    return cache


def unchanged(inputs: Inputs) -> tuple[Tensor, ...]:
    """The keys and values among the arguments that no step writes into, so that every step may be given the same.

    transformers' growing caches put a new tensor in place of the old one; others are written into.
    """
    cache = cache_in(inputs[1])
    if cache is None:
        return ()
    layers = [layer for part in _parts(cache) for layer in getattr(part, "layers", ())]
    kept = (getattr(layer, name, None) for layer in layers if _grows(layer) for name in ("keys", "values"))
    hidden = inputs[1].get("encoder_outputs", ())
    return tuple(each for each in (*kept, *hidden) if isinstance(each, Tensor))


def _parts(cache: Any) -> tuple[Any, ...]:
    """A cache, or the two of an encoder and a decoder."""
    parts = tuple(getattr(cache, each, None) for each in ("self_attention_cache", "cross_attention_cache"))
    return (cache,) if None in parts else parts


def _grows(layer: Any) -> bool:
    bases = [base.__name__ for base in type(layer).__mro__]
    return "DynamicLayer" in bases and "BaseQuantizedLayer" not in bases


def _drop_the_unseen(cache: Any) -> None:
    """Give back what a window has left behind of a long prompt: from the next token on it would be gone anyway."""
    for layer in (layer for part in _parts(cache) for layer in getattr(part, "layers", ())):
        for name in ("keys", "values") if _grows(layer) else ():
            tensor = getattr(layer, name)
            if isinstance(tensor, Tensor) and tensor.untyped_storage().nbytes() > tensor.nbytes:
                setattr(layer, name, tensor.clone(memory_format=torch.contiguous_format))


def _named(module: nn.Module, inputs: Inputs) -> dict[str, Any]:
    """All arguments by the names that the module has for them."""
    signature = inspect.signature(module.forward)
    named = dict(signature.bind(*inputs[0], **inputs[1]).arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            named |= named.pop(parameter.name, {})
    return named


def _settings(module: nn.Module) -> dict[str, Any]:
    """What a module that generates is called with beside its tokens, as far as it takes that."""
    taken = inspect.signature(module.forward).parameters
    return {name: value for name, value in (("use_cache", True), ("logits_to_keep", 1)) if name in taken}


def _argument(module: nn.Module) -> str | None:
    """The name under which a module takes a cache."""
    taken = inspect.signature(module.forward).parameters
    return next((each for each in CACHE_NAMES if each in taken), None)


def _no_decoder(name: str) -> str:
    return f"{name} keeps no keys and values from token to token, so it cannot generate: choose mode infer or train"
