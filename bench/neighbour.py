"""A second process that loads one core for part of the time, as neighbours on a shared machine do."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# Busy for a random time in this range, then idle for another one: half of the time in the mean.
STRETCH_SECONDS = (1.0, 5.0)


@contextmanager
def neighbour(seed: int = 0) -> Iterator[None]:
    """A loading process as long as this is entered; it also ends when this process does, however that happens."""
    command = [sys.executable, __file__, str(os.getpid()), str(seed)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def load(parent: int, seed: int) -> None:
    """Multiply matrices for random stretches of some seconds until the parent is gone."""
    import numpy as np

    matrix = np.ones((256, 256), dtype=np.float32)
    lengths = random.Random(seed)
    busy = True
    while True:
        end = time.monotonic() + lengths.uniform(*STRETCH_SECONDS)
        while time.monotonic() < end:
            if os.getppid() != parent:
                return
            if busy:
                np.matmul(matrix, matrix)
            else:
                time.sleep(0.1)
        busy = not busy


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        load(int(sys.argv[1]), int(sys.argv[2]))
