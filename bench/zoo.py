"""Does every mechanism of the zoo run in inference and in training, on short and on long inputs; in which memory?"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Sequence

import torch
from harness import Bar, Figures, note, parser, publish

from pyprof.device.host import HostDevice
from pyprof.failures import Failure, attempt
from pyprof.models.zoo.loading import Zoo, blueprint
from pyprof.models.zoo.mechanisms import MECHANISMS, Mechanism

METHOD = """\
Every mechanism on the zoo's encoder, best attention, one sequence, float32. A step is a forward, in training with
dropout and a backward from the mean square of the hidden states. One step is timed after another one, in which
PyTorch's allocations are counted: the peak is what a step holds beside parameters and inputs. Hidden states and, in
training, all gradients have to be finite.
"""


def ready(mechanism: Mechanism, size: str, layers: int | None, longest: int, train: bool) -> Zoo:
    """An encoder that takes up to `longest` tokens."""
    plan = blueprint(mechanism.name, size)
    if layers is not None:
        plan.config.num_hidden_layers = layers
    encoder = Zoo(plan.build(mechanism.attentions[0], seed=0).train(train), plan.config)
    encoder.extend(longest)
    return encoder


def step(encoder: Zoo, length: int, train: bool) -> Callable[[], None]:
    """A step that raises ArithmeticError where something is not finite."""
    encoder.fit(length)
    args, kwargs = encoder.inputs(length, 1, torch.Generator().manual_seed(length))

    def call() -> None:
        encoder.module.zero_grad(set_to_none=True)
        with torch.set_grad_enabled(train):
            hidden = encoder.module(*args, **kwargs).last_hidden_state
        if train:
            hidden.square().mean().backward()
        found = [hidden, *(each.grad for each in encoder.module.parameters() if each.grad is not None)]
        if not all(tensor.isfinite().all() for tensor in found):
            raise ArithmeticError("what it gives is not finite")

    return call


def measured(encoder: Zoo, length: int, train: bool) -> tuple[float, float]:
    """Milliseconds of a step, and the peak of the one before it in MiB."""
    call = step(encoder, length, train)
    peak = HostDevice().peak_memory(call).peak
    begin = time.perf_counter()
    call()
    return (time.perf_counter() - begin) * 1e3, peak / 2**20


def row(mechanism: Mechanism, size: str, layers: int | None, lengths: Sequence[int], train: bool) -> list[object]:
    """The figures of one mechanism in one mode; None and a reason where it fails."""
    encoder = attempt(lambda: ready(mechanism, size, layers, max(lengths), train))
    cells: list[object] = []
    for length in lengths:
        if isinstance(encoder, Failure):
            found: tuple[float, float] | Failure = encoder
        else:
            found = attempt(lambda encoder=encoder, length=length: measured(encoder, length, train))
        cells += [None, None] if isinstance(found, Failure) else list(found)
        if isinstance(found, Failure):
            note(f"{mechanism.name} {'train' if train else 'infer'} at {length}: {found.reason}")
    del encoder
    gc.collect()
    return cells


def main() -> int:
    options = parser(METHOD)
    options.add_argument("--size", default="tiny", choices=("tiny", "small", "base"), help="default: tiny")
    options.add_argument("--layers", type=int, help="layers of the encoder (default: those of the size)")
    options.add_argument("--lengths", default="64,4096", help="tokens (default: 64,4096)")
    options.add_argument("--models", default="", help="mechanisms (default: all)")
    options.add_argument("--modes", default="infer,train", help="default: infer,train")
    chosen = options.parse_args()
    lengths = [int(length) for length in chosen.lengths.split(",")]
    names = chosen.models.split(",") if chosen.models else [each.name for each in MECHANISMS]
    rows, failed = [], 0
    for mechanism in (each for each in MECHANISMS if each.name in names):
        for mode in chosen.modes.split(","):
            note(f"{mechanism.name}, {mode} ...")
            cells = row(mechanism, chosen.size, chosen.layers, lengths, mode == "train")
            failed += sum(cell is None for cell in cells) // 2
            rows.append((mechanism.name, mechanism.facts.family, mode, *cells))
    columns = ["mechanism", "family", "mode"]
    for length in lengths:
        columns += [f"{length:,}: ms", f"{length:,}: MiB"]
    layers = "" if chosen.layers is None else f", {chosen.layers} layer{'s' * (chosen.layers != 1)}"
    bars = [Bar("steps that failed", failed, "steps", 0)]
    return publish(METHOD, [Figures(f"size {chosen.size}{layers}", columns, rows)], bars, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
