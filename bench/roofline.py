"""The tensor-core kernels of sliding-window attention on paper: what an H100 can do at best, and what limits it."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from harness import Figures, parser, publish

METHOD = """\
No GPU is needed: everything is computed from the kernels' tiles and from NVIDIA's data sheet of the H100 SXM. Bytes are
what must come from or go to memory once for each kernel. Useful FLOPs are those of the keys that queries see, two to a
multiply-add; executed ones are those of the groups of 16 x 16, or 32 x 32, that the kernels compute. A kernel cannot be
faster than its bytes, its matrix products or its exponentials at the card's full rate; "at least" is the sum of those
bounds over a pass's kernels. "Expected" adds the launches and takes the rates that kernels of this kind reach.
"""

BYTES = 2  # of a float16 or bfloat16 element
ROWS, WARP_ROWS, GROUP = 64, 16, 16  # mma_tile.cuh: of a block, of a warp, columns that are computed together
WIDE_ROWS, WIDE_WARP_ROWS, PASS = 128, 32, 32  # the same of mma_wide.cuh
WIDE = 256  # choice.h: neighbours of both sides together from which on it runs


@dataclass(frozen=True)
class Card:
    """Rates in their units per second. Exponentials: 16 a clock and multiprocessor, where 4096 FLOPs go by."""

    multiprocessors: int
    bandwidth: float
    tensor: float
    launch_seconds: float = 3e-6  # from one small kernel's begin to the next one's in a stream: 2 to 4 us
    bandwidth_share: float = 0.8  # of the data sheet's, that a streaming kernel reaches
    tensor_share: float = 0.5  # mma.sync, which is all that one source for sm_80 and newer can use, fed from registers

    @property
    def exponentials(self) -> float:
        return self.tensor / 4096 * 16


H100 = Card(multiprocessors=132, bandwidth=3.35e12, tensor=989e12)


@dataclass(frozen=True)
class Shape:
    length: int
    window: int  # neighbours on each side
    batch: int = 1
    heads: int = 12
    head_dim: int = 64

    def pairs(self) -> int:
        """Queries times the keys that each sees."""
        one = sum(min(self.length, i + self.window + 1) - max(0, i - self.window) for i in range(self.length))
        return self.batch * self.heads * one

    def executed_pairs(self) -> int:
        """The same, of all groups that the warps compute; it is symmetric, so it holds for rows that are keys too."""
        groups = 0
        for first in range(0, self.length, WARP_ROWS):
            last = min(first + WARP_ROWS, self.length) - 1
            begin, end = max(0, first - self.window), min(self.length, last + self.window + 1)
            groups += -(-end // GROUP) - begin // GROUP
        return self.batch * self.heads * groups * WARP_ROWS * GROUP

    def wide_pairs(self) -> int:
        """The same in mma_wide.cuh, where passes are counted from the first group that a block's rows see."""
        passes = 0
        for first in range(0, self.length, WIDE_WARP_ROWS):
            last = min(first + WIDE_WARP_ROWS, self.length) - 1
            begin, end = max(0, first - self.window), min(self.length, last + self.window + 1)
            start = max(0, first // WIDE_ROWS * WIDE_ROWS - self.window) // GROUP * GROUP
            passes += -(-(end - start) // PASS) - (begin - start) // PASS
        return self.batch * self.heads * passes * WIDE_WARP_ROWS * PASS

    def tensor_bytes(self) -> int:
        return self.batch * self.heads * self.length * self.head_dim * BYTES

    def row_bytes(self, numbers: int) -> int:
        return self.batch * self.heads * self.length * 4 * numbers


@dataclass(frozen=True)
class Kernel:
    """One launch: matrix products over the executed pairs, tensors and float32 numbers for each row that it moves."""

    name: str
    products: int
    tensors: int
    row_numbers: int
    may_be_wide: bool = False

    def wide(self, shape: Shape) -> bool:
        return self.may_be_wide and 2 * shape.window >= WIDE

    def pairs(self, shape: Shape) -> int:
        return shape.wide_pairs() if self.wide(shape) else shape.executed_pairs()

    def bytes(self, shape: Shape) -> int:
        return self.tensors * shape.tensor_bytes() + shape.row_bytes(self.row_numbers)

    def flops(self, shape: Shape) -> int:
        return 2 * self.products * shape.head_dim * self.pairs(shape)

    def bounds(self, shape: Shape, card: Card) -> dict[str, float]:
        """Seconds at the card's full rates."""
        exponentials = self.pairs(shape) if self.products else 0
        return {
            "memory": self.bytes(shape) / card.bandwidth,
            "products": self.flops(shape) / card.tensor,
            "exponentials": exponentials / card.exponentials,
        }

    def expected(self, shape: Shape, card: Card) -> float:
        blocks = -(-shape.length // (WIDE_ROWS if self.wide(shape) else ROWS)) * shape.heads * shape.batch
        # The busiest multiprocessor has whole blocks.
        uneven = -(-blocks // card.multiprocessors) * card.multiprocessors / blocks
        bounds = self.bounds(shape, card)
        work = max(bounds["products"] / card.tensor_share, bounds["exponentials"]) * uneven
        return card.launch_seconds + max(bounds["memory"] / card.bandwidth_share, work)


# Forward reads query, key, value and writes output and lse.
FORWARD = (Kernel("forward", products=2, tensors=4, row_numbers=1, may_be_wide=True),)
# The statistics are of output and grad_output, read with lse (and grad_lse) and written as a pair. Both others read
# query, key, value, grad_output and the pair; one writes two gradients, the other one.
BACKWARD = (
    Kernel("statistics", products=0, tensors=2, row_numbers=3),
    Kernel("grad_key", products=4, tensors=6, row_numbers=2),
    Kernel("grad_query", products=3, tensors=5, row_numbers=2),
)
USEFUL_PRODUCTS = {"forward": 2, "backward": 5}
WINDOWS = (16, 50, 128)


def limit(kernels: tuple[Kernel, ...], shape: Shape, card: Card) -> str:
    """What most of the expected time goes to."""
    costs = {"launches": len(kernels) * card.launch_seconds}
    for kernel in kernels:
        bounds = kernel.bounds(shape, card)
        costs["memory"] = costs.get("memory", 0.0) + bounds["memory"] / card.bandwidth_share
        costs["products"] = costs.get("products", 0.0) + bounds["products"] / card.tensor_share
        costs["exponentials"] = costs.get("exponentials", 0.0) + bounds["exponentials"]
    return max(costs, key=lambda name: costs[name])


def table(length: int = 2500, card: Card = H100) -> Figures:
    rows = []
    for name, kernels in (("forward", FORWARD), ("backward", BACKWARD)):
        for window in WINDOWS:
            shape = Shape(length, window)
            least = sum(max(kernel.bounds(shape, card).values()) for kernel in kernels)
            expected = sum(kernel.expected(shape, card) for kernel in kernels)
            useful = 2 * USEFUL_PRODUCTS[name] * shape.head_dim * shape.pairs()
            executed = sum(kernel.flops(shape) for kernel in kernels)
            moved = sum(kernel.bytes(shape) for kernel in kernels)
            figures = (round(moved / 1e6, 1), round(useful / 1e9, 2), round(executed / 1e9, 2))
            times = (round(least * 1e6, 1), round(expected * 1e6, 1), round(useful / expected / 1e12, 1))
            rows.append((name, window, *figures, *times, limit(kernels, shape, card)))
    columns = ("pass", "w", "MB", "useful GFLOP", "executed GFLOP", "at least, us", "expected, us", "useful TFLOP/s")
    return Figures(f"B=1, H=12, L={length}, D=64, bfloat16, H100 SXM", (*columns, "most goes to"), rows)


def markdown(figures: Figures) -> str:
    """The table as it stands in docs/cuda.md."""
    lines = [figures.columns, ["---"] * len(figures.columns), *figures.rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def main() -> int:
    options = parser(METHOD)
    options.add_argument("--length", type=int, default=2500, help="tokens (default: 2500)")
    options.add_argument("--markdown", action="store_true", help="print the table for docs/cuda.md and nothing else")
    chosen = options.parse_args()
    figures = table(chosen.length)
    if chosen.markdown:
        print(markdown(figures))
        return 0
    return publish(METHOD, [figures], [], chosen.json)


if __name__ == "__main__":
    sys.exit(main())
