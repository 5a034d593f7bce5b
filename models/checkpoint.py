"""Local transformers checkpoints: as the weights of a registry model, or as models of their own.

Only safetensors files are read, and the file of a HuBERT that fairseq saved in place of a directory, as data; no code
that comes with a checkpoint is ever run.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pyprof.errors import UsageError
from pyprof.failures import blamed, sentence
from pyprof.models.blueprint import Blueprint

# What a checkpoint may lack, because its task did not need it: random weights do for a layer that nothing depends on.
_OPTIONAL = ("pooler.",)
L_HUBERT = "l_hubert"
_OFFLINE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def load_weights(plan: Blueprint, directory: str, attention: str) -> tuple[nn.Module, tuple[str, ...]]:
    """A registry model with a checkpoint's weights, and notes on what the checkpoint lacks.

    Tables whose size depends on the length (positions, image size) keep the checkpoint's size. Raises UsageError where
    the checkpoint is not one of this architecture, or its tensors have other sizes.
    """
    if Path(directory).is_file():
        from pyprof.models.fairseq.weights import load_weights_file

        return load_weights_file(plan, directory, attention), ()
    settings = _settings(directory)
    wanted, given = plan.config.model_type, settings.get("model_type")
    # A window has no weights, so an L-HuBERT takes a HuBERT's.
    if given != wanted and (wanted, given) != (L_HUBERT, "hubert"):
        raise UsageError(f"the checkpoint in {directory} is of the architecture {given!r}: give one of {wanted!r}")
    for name in ("max_position_embeddings", "image_size"):
        if name in settings and hasattr(plan.config, name):
            setattr(plan.config, name, settings[name])
    return _from_pretrained(plan.model, directory, plan.config, attention)


def load_directory(
    directory: str, attention: str, *, base_model: bool = False
) -> tuple[nn.Module, Any, tuple[str, ...]]:
    """The model of a local checkpoint, its configuration, and notes on what is measured and what the checkpoint lacks.

    It is of the class that the checkpoint names, with its head; its base model where `base_model` is set, or where
    there is no name. Raises UsageError for a class that transformers does not have.
    """
    from transformers import AutoModel

    if Path(directory).is_file():
        from pyprof.models.fairseq.weights import load_file

        module: Any = load_file(directory, attention, base_model=base_model)
        return module, module.config, () if module.base_model is module else (_measured(module),)
    config = _config(directory)
    wanted = None if base_model else _named_class(directory, config)
    model, notes = _from_pretrained(wanted or AutoModel, directory, config, attention)
    return model, model.config, (_measured(model), *notes)


def _measured(model: nn.Module) -> str:
    return f"measured as {type(model).__name__}"


def _named_class(directory: str, config: Any) -> Any:
    """The class of transformers (or of pyprof's L-HuBERT) that a checkpoint names first, None where it names none."""
    import transformers

    names = getattr(config, "architectures", None)
    if not names:
        return None
    modeling = type(config).__module__.replace(".configuration_", ".modeling_")
    homes = ("pyprof.models.l_hubert",) if config.model_type == L_HUBERT else ("transformers", modeling)
    for home in map(importlib.import_module, homes):
        cls: Any = getattr(home, names[0], None)
        fits = isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)
        if fits and isinstance(config, cls.config_class):
            return cls
    raise UsageError(
        f"the checkpoint in {directory} names the class {names[0]!r}, which transformers does not have for the "
        f"architecture {config.model_type!r}: measure its base model (--base-model), or write a factory for it"
    )


def load_hubert(directory: str) -> nn.Module:
    """The HubertModel or HubertForCTC of a local checkpoint, with its weights; raises UsageError for all others."""
    from transformers import HubertForCTC, HubertModel

    if Path(directory).is_file():
        from pyprof.models.fairseq.hubert import from_fairseq

        converted: nn.Module = from_fairseq(directory, None)
        return converted
    settings = _settings(directory)
    architecture = settings.get("model_type")
    if architecture == L_HUBERT:
        raise UsageError(f"the checkpoint in {directory} is an L-HuBERT already: load it with from_pretrained")
    if architecture != "hubert":
        raise UsageError(f"the checkpoint in {directory} is of the architecture {architecture!r}: give one of 'hubert'")
    model = HubertForCTC if "HubertForCTC" in (settings.get("architectures") or ()) else HubertModel
    return _from_pretrained(model, directory, _config(directory), "eager")[0]


def attentions(directory: str) -> tuple[str, ...]:
    """The implementations that the checkpoint's architecture can run, today's best first."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    if Path(directory).is_file():
        return ("sdpa", "eager")
    config = _config(directory)
    if config.model_type == L_HUBERT:
        from pyprof.models.l_hubert_config import IMPLEMENTATIONS

        return IMPLEMENTATIONS
    model = MODEL_MAPPING.get(type(config), None)
    return ("sdpa", "eager") if getattr(model, "_supports_sdpa", False) else ("eager",)


def then(directory: str) -> str:
    """The implementation that is comparable with the 2023 study: the chunks of an L-HuBERT, eager of all else."""
    architecture = "hubert" if Path(directory).is_file() else _settings(directory).get("model_type")
    return "chunks" if architecture == L_HUBERT else "eager"


def _settings(directory: str) -> dict[str, Any]:
    try:
        settings = json.loads(Path(directory, "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{directory} is no local transformers checkpoint, its config.json cannot be read ({sentence(error)}): "
            "give a directory with config.json and *.safetensors"
        ) from error
    if not isinstance(settings, dict):
        raise UsageError(f"config.json in {directory} holds no object: give a transformers checkpoint")
    if not any(Path(directory).glob("*.safetensors")):
        raise UsageError(f"{directory} has no *.safetensors file, the only format that is read: convert its weights")
    return settings


def _config(directory: str) -> Any:
    from transformers import AutoConfig

    if _settings(directory).get("model_type") == L_HUBERT:
        # transformers learns of it here, and loads it without any code of the checkpoint's.
        importlib.import_module("pyprof.models.l_hubert")
    # Each class of a configuration checks its own fields, and raises what it likes.
    with blamed(f"the configuration in {directory} is not one that transformers knows", UsageError):
        return AutoConfig.from_pretrained(directory, **_OFFLINE)


def _from_pretrained(model: Any, directory: str, config: Any, attention: str) -> tuple[nn.Module, tuple[str, ...]]:
    from safetensors import SafetensorError

    try:
        with _quiet():
            module, report = model.from_pretrained(
                directory,
                config=config,
                attn_implementation=attention,
                dtype=torch.float32,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **_OFFLINE,
            )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise UsageError(f"the checkpoint in {directory} cannot be loaded: {sentence(error)}") from error
    if report["mismatched_keys"]:
        name, stored, built = sorted(report["mismatched_keys"])[0]
        raise UsageError(
            f"the checkpoint in {directory} does not fit: its {name} has shape {tuple(stored)} and the model's has "
            f"{tuple(built)}; give a checkpoint of the same size"
        )
    missing = sorted(report["missing_keys"])
    required = [name for name in missing if not name.startswith(_OPTIONAL)]
    if required:
        raise UsageError(
            f"the checkpoint in {directory} lacks {len(required)} of the model's tensors, {required[0]} first"
        )
    return module, ("the checkpoint has no pooler: its weights are random",) if missing else ()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bar and its report of unused tensors off standard error."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
