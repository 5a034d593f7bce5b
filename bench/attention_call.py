"""What one call of window attention costs the host, beside one of PyTorch's scaled_dot_product_attention."""

from __future__ import annotations

import sys

import torch
from harness import Bar, Figures, note, parser, publish
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from pyprof.ops.window_attention import window_attention
from pyprof.timing.interleave import RoundLimits, interleave

METHOD = """\
float32, head_dim 64, window 16 on each side, one thread of PyTorch. In every round there is one reading of each
operator, in random order, in one process; calls are repeated within a reading until it takes 0.2 ms. On the host the
first row has a single query and key, so that its time is that of the call; the others say what remains of that where
the kernels work too. On a CUDA device the time is the host's alone: nothing waits for the device. With gradients means
that query, key and value require them, and that the call makes its node for the backward. Times are medians, ratios
medians over the rounds, which pair the two operators, with a 95 % interval.

Promised for the first row: at most 1.5 times PyTorch's operator, with and without gradients.
"""
ROWS = ((1, 1, 1), (1, 12, 64), (1, 12, 512))  # batch, heads, length
MOST = 1.5
MODES = {"without gradients": False, "with gradients": True}


def inputs(row: tuple[int, int, int], gradients: bool, device: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = (torch.randn(*row, 64, generator=generator).to(device) for _ in range(3))
    return [tensor.requires_grad_(gradients) for tensor in made]


def main() -> int:
    options = parser(METHOD)
    options.add_argument("--seconds", type=float, default=5.0, help="rounds for each row and mode (default: 5)")
    options.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    bars, found = [], []
    for row in ROWS:
        for mode, gradients in MODES.items():
            name = f"{', '.join(map(str, row))}: {mode}"
            note(f"{name} ...")
            given = inputs(row, gradients, chosen.device)
            calls = {
                "sdpa": lambda given=given: scaled_dot_product_attention(*given),
                "window": lambda given=given: window_attention(*given, (16, 16)),
            }
            taken = interleave(calls, RoundLimits(chosen.seconds, 20_000, shortest_ns=2e5))
            times = [taken.seconds(operator).value * 1e6 for operator in calls]
            ratio = taken.ratio("window", "sdpa")
            found.append((name, len(taken.samples["sdpa"]), *times, ratio.value, ratio.low, ratio.high))
            if row == ROWS[0]:
                bars.append(Bar(f"{name}, window over sdpa", ratio.value, "x", MOST))
    columns = ("batch, heads, length", "rounds", "sdpa, us", "window, us", "window/sdpa", "from", "to")
    return publish(METHOD, [Figures(f"host time of a call ({chosen.device})", columns, found)], bars, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
