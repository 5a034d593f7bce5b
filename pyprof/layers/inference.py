"""Forwards without training: under inference_mode, or under as much of it as a module bears."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from pyprof.failures import sentence

# What is tried, and what is said where it is not the first that works.
_WAYS: tuple[tuple[Callable[[], AbstractContextManager[object]], str], ...] = (
    (torch.inference_mode, ""),
    (torch.no_grad, "run under no_grad, since the forward fails under inference_mode"),
    (torch.enable_grad, "run with gradients recorded, since the forward fails without"),
)


class Inference:
    """How the forwards of one module run where nothing is trained.

    Models that take a gradient inside their forward, energy models say, cannot do so under inference_mode, and some
    need gradients recorded although nothing is trained. Until `settle` is called it is inference_mode. `note` says what
    it is instead, and why; None where it is inference_mode.
    """

    def __init__(self) -> None:
        self._enter = _WAYS[0][0]
        self.settled = False
        self.note: str | None = None

    def __call__(self) -> AbstractContextManager[object]:
        """The context to run a forward in."""
        return self._enter()

    def settle(self, forward: Callable[[], object], *, normal_tensors: bool = False) -> None:
        """Run a forward and find out what it bears; raises what it raised first where nothing works.

        With `normal_tensors` it does not begin with inference_mode, whose tensors cannot be trained later: for a
        forward that builds what stays, which does not settle anything yet.
        """
        first: RuntimeError | None = None
        for enter, instead in _WAYS[normal_tensors:]:
            try:
                with torch.inference_mode(False), enter():
                    forward()
            except RuntimeError as error:
                first = first or error
                if not _is_about_gradients(error):
                    break
                continue
            if not normal_tensors:
                self._enter, self.settled = enter, True
                self.note = f"{instead} ({sentence(first)})" if first is not None else None
            return
        assert first is not None
        raise first


def _is_about_gradients(error: RuntimeError) -> bool:
    """Whether an error may have to do with what is recorded; any other would only be raised once more."""
    said = str(error).lower()
    return any(word in said for word in ("grad", "inference", "differentiat", "version_counter"))
