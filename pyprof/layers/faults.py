"""Page faults by kind of layer: where a step asks the system for memory.

Counted in a step of its own, which nobody times: the counters of the process are read in module hooks, which cost more
than probes but see the faults of all threads. What a layer's backward faults in is the whole step's less the forward's,
and is told as of no layer.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from torch import nn

from pyprof.layers.kinds import classify

# The kind of what lies outside of every layer's forward: the loss, the backward, an optimizer.
OUTSIDE = "outside"


def faults_by_kind(
    module: nn.Module, call: Callable[[], object], rules: Sequence[tuple[str, str]] = ()
) -> Mapping[str, int]:
    """The minor page faults of one call, by the kind of the innermost layer whose forward ran; see `classify`."""
    kinds = classify(module, rules)
    counts: Counter[str] = Counter()
    around = [OUTSIDE]
    last = _faults()

    def note() -> None:
        """What has come since the last note belongs to the innermost layer that is open."""
        nonlocal last
        now = _faults()
        counts[around[-1]] += now - last
        last = now

    def entering(kind: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            note()
            around.append(kind)

        return hook

    def leaving(*_: Any) -> None:
        note()
        around.pop()

    with ExitStack() as hooks:
        for path, layer in module.named_modules():
            if isinstance(layer, nn.Module) and hasattr(layer, "register_forward_pre_hook"):
                hooks.callback(layer.register_forward_pre_hook(entering(kinds[path])).remove)
                hooks.callback(layer.register_forward_hook(leaving, always_call=True).remove)
        last = _faults()
        call()
        note()
    return {kind: count for kind, count in counts.items() if count > 0}


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
