"""What a recogniser costs beside its error rate: the time of one utterance, its share of real time, and the memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch

from pyprof import device as devices
from pyprof.device.memory import resident_bytes
from pyprof.quality.asr.librispeech import SAMPLE_RATE, Waveform
from pyprof.quality.asr.recogniser import Recogniser
from pyprof.timing.sampling import measure
from pyprof.timing.warmup import Warmup


@dataclass(frozen=True)
class Cost:
    """The cost of one utterance of `seconds`, alone in its batch.

    `latency` is the median time of a forward pass in seconds, between `low` and `high` (None for too few samples), and
    `real_time_factor` that time by the utterance's; `decoding` is the time from logits to a transcript, which is not in
    there. `peak_memory` are the most bytes that PyTorch held, the weights and the waveform included.
    """

    seconds: float
    frames: int
    latency: float
    low: float | None
    high: float | None
    real_time_factor: float
    decoding: float
    peak_memory: int

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return asdict(self)


def cost(recogniser: Recogniser, waveform: Waveform, seconds: float = 1.0) -> Cost:
    """Measure what an utterance costs, for about `seconds` each; the module has to be in eval mode."""
    device = devices.of_module(recogniser)
    sound = recogniser.prepared(torch.from_numpy(waveform).to(device.torch_name))[None]
    limits: dict[str, Any] = {"max_seconds": seconds, "warmup": Warmup(max_seconds=seconds)}

    def forward() -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = recogniser.model(input_values=sound).logits
        return logits

    with _usual_algorithms():
        logits = forward()[0]
        passes = measure(forward, stopwatch=device.stopwatch(), **limits)
        decodings = measure(lambda: recogniser.decoded(logits), **limits)
        peak = device.peak_memory(forward).peak
    lasts = len(waveform) / SAMPLE_RATE
    return Cost(
        seconds=lasts,
        frames=len(logits),
        latency=passes.estimate.value,
        low=passes.estimate.low,
        high=passes.estimate.high,
        real_time_factor=passes.estimate.value / lasts,
        decoding=decodings.estimate.value,
        peak_memory=peak + resident_bytes(recogniser.model, sound),
    )


@contextmanager
def _usual_algorithms() -> Iterator[None]:
    """Those that a user of the model runs: a training asks for deterministic ones, which may take longer."""
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warns)
