"""Is the peak memory exact: a known program, whose live tensors can be summed by hand, against the counter."""

from __future__ import annotations

import random
import sys

import torch
from harness import Bar, Figures, parser, publish

from pyprof.device.host import HostDevice

METHOD = """\
Each program allocates and frees tensors of random sizes in random order, keeping book of the bytes that are live; the
peak of the book is compared with the counter's. The last one adds what a matrix product returns.
"""


def program(seed: int) -> tuple[int, int]:
    """The peak by the book, and by the counter, in bytes."""
    source = random.Random(seed)
    book: dict[int, torch.Tensor] = {}
    highest = 0

    def run() -> None:
        nonlocal highest
        for index in range(400):
            if book and source.random() < 0.45:
                del book[source.choice(list(book))]
            else:
                dtype = source.choice([torch.float32, torch.float16, torch.int64, torch.uint8])
                book[index] = torch.empty(source.randint(1, 100_000), dtype=dtype)
            highest = max(highest, sum(tensor.nbytes for tensor in book.values()))
        book.clear()

    return (lambda reading: (highest, reading.peak))(HostDevice().peak_memory(run))


def product() -> tuple[int, int]:
    left, right = torch.ones(64, 96), torch.ones(96, 32)
    return 64 * 32 * 4, HostDevice().peak_memory(lambda: left @ right).peak


def main() -> int:
    options = parser(METHOD).parse_args()
    found = {f"random program {seed}": program(seed) for seed in range(8)} | {"matrix product": product()}
    rows = [(name, book, counter, counter - book) for name, (book, counter) in found.items()]
    worst = max(abs(row[3]) for row in rows)
    columns = ("program", "live tensors, B", "counter, B", "difference, B")
    bars = [Bar("difference from the sum of live tensors", worst, "B", 0)]
    return publish(METHOD, [Figures("peak memory", columns, rows)], bars, options.json)


if __name__ == "__main__":
    sys.exit(main())
