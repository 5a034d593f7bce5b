"""The models that can be measured, by name; importing this loads neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pyprof.errors import UsageError
from pyprof.models.decoder_entries import DECODERS
from pyprof.models.entries import ENTRIES as ENTRIES
from pyprof.models.entries import SIZES as SIZES
from pyprof.models.entries import Entry as Entry
from pyprof.models.entries import Rules as Rules
from pyprof.models.scaled_vit_sizes import SCALED_VITS
from pyprof.models.zoo.entries import entries as zoo_entries
from pyprof.names import is_reference, nearest

if TYPE_CHECKING:
    from pyprof.models.loaded import LoadedModel


# The models that studies bring along: known by name, and not in the list of the registry.
STUDY_ENTRIES = (*SCALED_VITS, *DECODERS)


def entries() -> tuple[Entry, ...]:
    """All models: those of the studies, `ENTRIES`, and the zoo's."""
    return (*ENTRIES, *zoo_entries())


def entry(name: str) -> Entry:
    """The model of that name; raises UsageError that suggests the nearest name."""
    for candidate in (*entries(), *STUDY_ENTRIES):
        if candidate.name == name:
            return candidate
    names = [candidate.name for candidate in (*entries(), *STUDY_ENTRIES)]
    known = f"choose from {', '.join(candidate.name for candidate in ENTRIES)} or the zoo's, which pyprof models lists"
    raise UsageError(
        f"there is no model {name!r}: {nearest(name, names, known)} "
        "(a package.module:function or the path of a checkpoint works too)"
    )


def find(model: str) -> Entry | None:
    """The entry that `model` names, None for a factory or a checkpoint; raises UsageError otherwise."""
    if any(candidate.name == model for candidate in (*entries(), *STUDY_ENTRIES)):
        return entry(model)
    if is_reference(model) or (model.strip() and Path(model).exists()):
        return None
    return entry(model)


def usual_dtype(models: Iterable[str], usual: str) -> str:
    """The dtype that all of these models can be in on a device where `usual` is in use: of bfloat16 they may need the
    autocast.
    """
    registered = (find(model) for model in models)
    needed = usual == "bfloat16" and any(each is not None and each.needs_autocast for each in registered)
    return "autocast-bfloat16" if needed else usual


def resolve(model: str, alias: str) -> str:
    """The attention implementation that an alias or a name stands for, in factories and checkpoints too."""
    registered = find(model)
    if registered is not None:
        return registered.resolve(alias)
    if is_reference(model):
        if alias not in ("own", "best", "then"):
            raise UsageError(f"{model} is a factory and has no attention implementation {alias!r}: choose own")
        return "own"
    from pyprof.models import checkpoint

    choices = checkpoint.attentions(model)
    name = {"best": choices[0], "then": checkpoint.then(model)}.get(alias, alias)
    if name not in choices:
        raise UsageError(
            f"{model} has no attention implementation {alias!r}: choose from {', '.join(choices)}, best or then"
        )
    return name


@dataclass(frozen=True)
class Request:
    """The arguments of `load`, with the attention implementation resolved."""

    model: str
    size: str
    attention: str
    mode: str
    longest: int
    dtype: str
    device: str
    compiled: bool
    weights: str | None
    seed: int
    base_model: bool = False
    inputs: str | None = None


def load(
    model: str,
    *,
    size: str = "base",
    attention: str,
    mode: str,
    longest: int,
    dtype: str = "float32",
    device: str = "cpu",
    compiled: bool = False,
    weights: str | None = None,
    seed: int = 0,
    base_model: bool = False,
    inputs: str | None = None,
) -> LoadedModel:
    """Build a model that is ready to be measured at lengths up to `longest`.

    `model` is a registry name, an importable ``package.module:function`` or the directory of a local transformers
    checkpoint. `attention` is a concrete implementation, or one of the aliases best and then. `weights` is the
    directory of a checkpoint whose weights replace a registry model's random ones, which `seed` fixes. A directory as
    the model is of the class that its checkpoint names, with that class's own loss in train mode; `base_model` leaves
    the head out. `inputs` names the function of (length, batch) that makes the inputs of a factory's module, in place
    of what the factory says of them.

    Raises UsageError for anything that does not exist or does not fit, an attention implementation that the model
    ignores included.
    """
    from pyprof.models.loaded import load_model

    name = resolve(model, attention)
    return load_model(
        Request(model, size, name, mode, longest, dtype, device, compiled, weights, seed, base_model, inputs)
    )


@dataclass(frozen=True)
class Description:
    """What a list of models shows of one entry; `parameters` are those of the base size, tied ones once."""

    entry: Entry
    parameters: int


def describe() -> tuple[Description, ...]:
    """Every entry with its number of parameters, counted on the meta device; this loads torch and transformers."""
    from pyprof.models.blueprint import blueprint, meta_parameters

    return tuple(Description(each, meta_parameters(blueprint(each, "base"))) for each in entries())
