"""What noting a launch costs the host."""

from __future__ import annotations

import ctypes
import sys
import tempfile
from pathlib import Path

from harness import Bar, Figures, parser, publish

ROOT = Path(__file__).parents[1]
CALLS, ROUNDS = 50_000, 20
BAR_NS = 150
METHOD = """What noting a launch costs: the callback on the driver's launch calls, over a libcupti without a device.

csrc/cuda is built for the host over the fakes of tests/cuda_on_host. The fake driver calls back at the begin and at the
end of a launch, as CUPTI does, while a layer is open on the thread; the least of several rounds counts. Needs no GPU.
"""


def main() -> int:
    options = parser(METHOD).parse_args()
    sys.path.insert(0, str(ROOT / "tests/cuda_on_host"))
    import torch  # noqa: F401 - brings the libraries that the native part needs
    from cuda_part import build_fake_cupti, build_module

    from pyprof import _native

    with tempfile.TemporaryDirectory() as folder:
        library = build_fake_cupti(Path(folder), "-O2")
        module, _ = build_module(Path(folder), "-O3")
        driver = ctypes.CDLL(str(library))
        driver.fake_callback_cost.restype = ctypes.c_double
        driver.fake_callback_cost.argtypes = [ctypes.c_int64]
        rows = []
        for open_layers in (0, 1, 8):
            recorder = _native.Recorder()
            log = module.WorkLog(recorder.places(), _native.clock(), library=str(library))
            log.start()
            opened = [recorder.begin(layer) for layer in range(open_layers)]
            costs = []
            for _ in range(ROUNDS):
                costs.append(driver.fake_callback_cost(CALLS))
                log.drain()
            for token in reversed(opened):
                recorder.end(token)
            log.stop()
            rows.append((open_layers, min(costs), sorted(costs)[len(costs) // 2]))
    figures = Figures("callbacks of a launch", ("open layers", "least (ns)", "median (ns)"), rows)
    bars = [Bar("callbacks of a launch", max(least for _, least, _ in rows), "ns", BAR_NS)]
    return publish(METHOD, [figures], bars, options.json)


if __name__ == "__main__":
    sys.exit(main())
