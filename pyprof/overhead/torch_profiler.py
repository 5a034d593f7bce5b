"""torch.profiler on the host, with a record_function around each layer, by which it tells layers apart."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch
from torch import nn

from pyprof.overhead.hooks import RecordFunctions, label
from pyprof.overhead.tool import LayerTime, Tool


def hush() -> None:
    """Keep the profiler's library from writing to standard error at each start and stop, which would cost time too.

    It reads the variable when it is first used.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")


class _Profiler(RecordFunctions):
    def __init__(self, module: nn.Module, backward: bool) -> None:
        hush()
        self._paths = [path for path, _ in module.named_modules()]
        self._profile: torch.profiler.profile | None = None
        super().__init__(module, backward)

    def recording(self) -> AbstractContextManager[object]:
        return self._recording()

    @contextmanager
    def _recording(self) -> Iterator[None]:
        self._profile = None  # the last profile is freed before a new one begins
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            yield
        self._profile = profile

    def layers(self) -> Mapping[str, LayerTime]:
        assert self._profile is not None
        events = {event.key: event for event in self._profile.key_averages()}
        times = {}
        for path in self._paths:
            if (event := events.get(label(path))) is not None:
                times[path] = LayerTime(1e3 * event.cpu_time_total)
        return times

    def kept_bytes(self) -> int:
        assert self._profile is not None
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "trace.json")
            self._profile.export_chrome_trace(str(file))
            return file.stat().st_size


TORCH_PROFILER = Tool(
    "torch.profiler",
    _Profiler,
    timed="its start and stop, but not reading its events or exporting them",
    bytes_by="exported Chrome trace",
    keeps_cupti=True,
)
