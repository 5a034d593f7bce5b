"""Run by test_sanitizers.py under AddressSanitizer: the probe through all that Python can do to it."""

import gc
import inspect
import itertools
import threading

import probe_module as native


class Layer:
    def forward(self, value, *more, scale=1, **rest):
        if value is None:
            raise ValueError("planted")
        return value * scale


layer = Layer()
layer.forward = native.probe(layer.forward, 1)
assert layer.forward(2) == 2
assert layer.forward(2, scale=3) == 6
assert layer.forward(*[2, 3], scale=2, other=1) == 4
for _ in range(3):
    try:
        layer.forward(None)
    except ValueError:
        pass
    else:
        raise AssertionError
assert inspect.signature(layer.forward) == inspect.signature(Layer().forward)
outer = native.probe(lambda: layer.forward(1), 2)
assert outer() == 1
drained = native.drain()
assert [layer for layer, _, _ in drained] == [1] * 6 + [2, 1]
assert all(earlier[2] <= later[1] for earlier, later in itertools.pairwise(drained[:7]))
assert drained[6][1] <= drained[7][1] <= drained[7][2] <= drained[6][2]

# A probe that takes itself off while it runs.
holder = {}
holder["probe"] = native.probe(lambda: holder.pop("probe") and 5, 3)
assert holder["probe"]() == 5

threads = [threading.Thread(target=lambda: [layer.forward(1) for _ in range(200)]) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(native.drain()) == 801

native.silence(layer.forward)
assert layer.forward(2) == 2
assert native.drain() == []
for wrong in (lambda: native.probe(3, 0), lambda: native.silence(3)):
    try:
        wrong()
    except TypeError:
        pass
    else:
        raise AssertionError
# Probes and what they call are cycles, which the collector must free.
layer.forward = outer = None
gc.collect()
print("probe: all held")
