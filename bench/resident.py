"""The memory that one call of the operator really touches: run by attention.py, in a process that does nothing else."""

from __future__ import annotations

import ctypes
import gc
import sys

import torch
from harness import parser

from pyprof.attention import Problem
from pyprof.attention.problem import make_inputs
from pyprof.ops.window_attention import window_attention

METHOD = """\
The rise of the highest resident memory during one call, beyond what it returns, in bytes: after a call on a tiny input
and a matrix product, so that code is loaded and threads are there, and after the allocator has given back what is free.
"""


def resident(name: str) -> int:
    """`VmRSS` (now) or `VmHWM` (highest) of this process, in bytes."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))


def call(problem: Problem, mode: str) -> int:
    """Bytes beyond the results of one call."""
    inputs = make_inputs(problem)
    leaves = [tensor.requires_grad_(mode == "backward") for tensor in (inputs.query, inputs.key, inputs.value)]
    forward_output = window_attention(*leaves, window=problem.window) if mode == "backward" else None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as references:
        references.write("5")  # the highest resident memory starts anew
    before = resident("VmRSS")
    if forward_output is None:
        results: tuple[torch.Tensor, ...] = (window_attention(*leaves, window=problem.window),)
    else:
        results = torch.autograd.grad(forward_output, leaves, inputs.grad_output)
    return resident("VmHWM") - before - sum(tensor.nbytes for tensor in results)


def main() -> int:
    options = parser(METHOD)
    options.add_argument("batch", type=int)
    options.add_argument("length", type=int)
    options.add_argument("window", type=int)
    options.add_argument("mode", choices=("forward", "backward"))
    options.add_argument("--dtype", default="float32")
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    window = (chosen.window, chosen.window)
    torch.mm(torch.ones(512, 512), torch.ones(512, 512))
    call(Problem(128, window, dtype=chosen.dtype), chosen.mode)
    print(call(Problem(chosen.length, window, chosen.batch, dtype=chosen.dtype), chosen.mode))
    return 0


if __name__ == "__main__":
    sys.exit(main())
