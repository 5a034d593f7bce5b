"""The machine and the software that a measurement ran on, as a run records them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from pyprof.records import validate


@dataclass(frozen=True)
class Gpu:
    """One visible CUDA device: `capability` is its compute capability, such as "9.0"."""

    name: str
    uuid: str
    capability: str
    memory_bytes: int


@dataclass(frozen=True)
class Environment:
    """Where a measurement ran.

    `cores` counts the processors that this process may use, `threads` those that torch uses within an operation, and
    `cpu_capability` is the instruction set that torch chose. `pinned` lists the processors that `--pin` keeps the
    measurement on (None without it; an affinity that a container or a batch system sets only shows in `cores`). `cuda`,
    `cudnn`, `driver` are None where there are none. `allocator` is what the user has set of the host's allocator
    (a preloaded one, settings), None for the C library's as it is; what a case asks for comes on top of it.
    """

    hostname: str
    cpu: str
    cores: int
    memory_bytes: int
    threads: int
    system: str
    kernel: str
    architecture: str
    python: str
    torch: str
    transformers: str
    pyprof: str
    blas: str
    onednn: str | None
    cpu_capability: str
    gpus: tuple[Gpu, ...] = ()
    cuda: str | None = None
    cudnn: str | None = None
    driver: str | None = None
    pinned: str | None = None
    allocator: str | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of all that has to be equal where results are merged."""
        values = [value for _, value in _decisive(self)]
        for later in (self.allocator, self.pinned):
            # Environments of before there were these fields keep their fingerprint.
            if later is not None:
                break
            values.pop()
        canonical = json.dumps(values, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields, with the fingerprint."""
        return {**asdict(self), "gpus": [asdict(gpu) for gpu in self.gpus], "fingerprint": self.fingerprint}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Environment:
        """Rebuild an environment; raises UsageError where a field is missing, unknown or damaged."""
        own = {name: value for name, value in data.items() if name != "fingerprint"}
        environment: Environment = validate.checked(ENVIRONMENT, own, "the environment")
        return environment


_words, _maybe = validate.words, validate.optional(validate.words)
GPU = validate.instance(Gpu, name=_words, uuid=_words, capability=_words, memory_bytes=validate.whole(0))
ENVIRONMENT = validate.instance(
    Environment,
    absent=("pinned", "allocator"),
    cores=validate.whole(1, validate.LARGE),
    threads=validate.whole(1, validate.LARGE),
    memory_bytes=validate.whole(0),
    gpus=validate.listing(GPU),
    **dict.fromkeys(("hostname", "cpu", "system", "kernel", "architecture", "python", "torch"), _words),
    **dict.fromkeys(("transformers", "pyprof", "blas", "cpu_capability"), _words),
    **dict.fromkeys(("onednn", "cuda", "cudnn", "driver", "pinned", "allocator"), _maybe),
)


def differences(first: Environment, second: Environment) -> list[str]:
    """What keeps results of two environments apart, in words; empty where the fingerprints are equal."""
    return [
        f"{words}: {_spoken(ours)} against {_spoken(theirs)}"
        for (words, ours), (_, theirs) in zip(_decisive(first), _decisive(second), strict=True)
        if ours != theirs
    ]


def _decisive(environment: Environment) -> list[tuple[str, str | int | None]]:
    """What results depend on, with a name for each.

    Left out are the host's name and the cards' identities, so that equal machines of a cluster can share a run, and the
    size of the memory, which shifts a little with each kernel and decides no time.
    """
    cards = ", ".join(f"{gpu.name} ({gpu.capability})" for gpu in environment.gpus)
    return [
        ("processor", environment.cpu),
        ("cores", environment.cores),
        ("threads", environment.threads),
        ("architecture", environment.architecture),
        ("operating system", environment.system),
        ("kernel", environment.kernel),
        ("Python", environment.python),
        ("torch", environment.torch),
        ("transformers", environment.transformers),
        ("pyprof", environment.pyprof),
        ("BLAS", environment.blas),
        ("oneDNN", environment.onednn),
        ("instruction set", environment.cpu_capability),
        ("GPUs", cards or None),
        ("CUDA", environment.cuda),
        ("cuDNN", environment.cudnn),
        ("GPU driver", environment.driver),
        ("pinned to", environment.pinned),
        ("allocator", environment.allocator),
    ]


def _spoken(value: str | int | None) -> str:
    return "none" if value is None else str(value)
