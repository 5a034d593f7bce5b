"""`pyprof kineto` on a generated trace of many events: time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import Bar, Figures, note, parser, publish

METHOD = """\
A trace as torch.profiler writes it, an event over several lines, is generated: steps of 100 modules, each with a frame
of Python around it, four operators, and two launches with their kernels. It is read by `pyprof kineto --json` in a
process of its own, whose peak memory is its largest resident set.
"""
MODULES = 100
READ = """
import resource, sys
from pyprof.cli.main import main
code = main(["kineto", sys.argv[1], "--json"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def generate(path: Path, events: int) -> tuple[int, int]:
    """Returns how many events and how many kernels were written."""
    written = kernels = 0
    with path.open("w") as file:
        file.write('{\n  "schemaVersion": 1,\n  "traceEvents": [\n')

        def write(category: str, name: str, begin: float, took: float, thread: int, **args: object) -> None:
            nonlocal written
            row = {
                "ph": "X",
                "cat": category,
                "name": name,
                "pid": 1,
                "tid": thread,
                "ts": begin,
                "dur": took,
                "args": args,
            }
            file.write(("  " if written == 0 else ",\n  ") + json.dumps(row, indent=2))
            written += 1

        at = 4.0e9
        while written < events:
            write("user_annotation", f"ProfilerStep#{int(at)}", at, MODULES * 100.0, 10)
            for module in range(MODULES):
                begin = at + 100.0 * module
                write("python_function", f"model.py({module}): forward", begin + 0.5, 98, 10, **{"Python id": written})
                write("python_function", f"nn.Module: Linear_{module}", begin + 1, 97, 10, **{"Python id": written})
                for place in range(4):
                    where = {"External id": written, "Sequence number": written, "Fwd thread id": 0}
                    write("cpu_op", "aten::addmm", begin + 2 + 20 * place, 15, 10, **where)
                for place in range(2):
                    kernels += 1
                    write("cuda_runtime", "cudaLaunchKernel", begin + 10 + 20 * place, 4, 10, correlation=kernels)
                    about = {"device": 0, "stream": 7, "correlation": kernels, "grid": [1, 1, 1], "block": [128, 1, 1]}
                    write("kernel", f"void gemm<{module}>(float*)", begin + 30 + 20 * place, 12.5, 7, **about)
            at += MODULES * 100.0 + 50
        file.write("\n  ]\n}\n")
    return written, kernels


def main() -> int:
    options = parser(METHOD)
    options.add_argument("--events", type=int, default=1_000_000, help="default: 1,000,000")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        note(f"generating {chosen.events:,} events")
        events, kernels = generate(path, chosen.events)
        begin = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True)
        took = time.perf_counter() - begin
        document = json.loads(done.stdout)
        if round(document["device_time"]["total"]["kernels"] * document["steps"]) != kernels:
            raise RuntimeError("not all kernels were found")
        memory = int(done.stderr.split()[-1]) / 1024
        size = path.stat().st_size / 2**20
    bars = [
        Bar("pyprof kineto, 1 million events", took * 1e6 / events, "s", 30),
        Bar("its peak memory", memory, "MiB", 2048),
    ]
    figures = Figures("reading", ("events", "MiB", "seconds", "peak memory, MiB"), [(events, size, took, memory)])
    return publish(METHOD, [figures], bars, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
