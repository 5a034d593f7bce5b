"""What is spoiled: small runs of both schemas, and study files, with something of everything that they can hold."""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import synthetic_run as synthetic
from simulated_machine import make_environment, make_study

sys.path.insert(0, str(Path(__file__).parents[1] / "traces"))
from nsys_export import two_steps
from test_kineto import step, write

from pyprof.records.case import MODES, Case
from pyprof.records.noise import Noise
from pyprof.records.record import Record
from pyprof.records.rounds import Rounds
from pyprof.records.store import Store
from pyprof.study.resolve import resolve

STORED = Path(__file__).parents[1] / "stored_runs" / "schema1.tgz"
LENGTHS = (128, 512, 1024, 2048)
FULL = """\
name = "full"
description = "something of everything"
metrics = ["latency", "peak_memory", "throughput", "parameters"]
modes = ["infer", "train"]
seed = 3
dtype = "float32"
device = "cpu"
size = "tiny"
compiled = false
optimizer = "none"
threads = 2
memory_budget = "2 GiB"
batch_limit = 16
time_budget = "2 min"
allocator = "default"
launches = ["eager"]
measure = { precision = 0.02, min_samples = 6, max_samples = 20, max_seconds = "2 s", timeout = "1 min" }
[allocators]
then = "keep"
[dtypes]
now = "usual"
[[comparison]]
vanilla = "bert"
variants = ["longformer", "nystromformer"]
lengths = { start = 128, stop = 1024, step = 128, auto = true, tolerance = 64 }
implementations = ["then", "now", "eager/eager"]
[[comparison]]
vanilla = "vit"
variants = ["swin"]
lengths = [224, 384]
"""


def study_files() -> list[bytes]:
    """Study files that are right."""
    from pyprof.records.study import _studies

    quick = (_studies() / "quick.toml").read_bytes()
    small = b'name = "small"\n[[comparison]]\nvanilla = "bert"\nlengths = [128]\nimplementations = ["now"]\n'
    return [FULL.encode(), FULL.encode(), small, quick]


def make_runs(directory: Path) -> list[Path]:
    """A run of each schema that is right."""
    with tarfile.open(STORED) as archive:
        archive.extractall(directory, filter="data")
    first = directory / "fixed"
    lines = (first / "records.jsonl").read_bytes().splitlines(keepends=True)
    (first / "records.jsonl").write_bytes(b"".join(lines[::6]))
    second = directory / "second"
    block = {"vanilla": "bert", "variants": ["longformer"], "lengths": list(LENGTHS), "implementations": ["then"]}
    study = make_study(
        metrics=["latency", "throughput", "peak_memory", "parameters"], modes=[*MODES], comparison=[block]
    )
    environment = make_environment()
    with Store(second) as store:
        store.begin(study, resolve(study), environment)
        for record in _records():
            kept = replace(record, environment=environment.fingerprint)
            store.append(kept, {"path": ["", "a"], "kind": ["other", "head"], "calls": [1, 2]})
    return [first, second]


def _records() -> Iterator[Record]:
    for model in ("bert", "longformer"):
        for mode in MODES:
            for length in LENGTHS:
                case = Case(model, length, mode, "eager")
                if (model, mode, length) == ("longformer", "train", 2048):
                    yield synthetic.missing(case, "oom", "needed 3.1 GiB and 2.9 GiB were free")
                    continue
                record = synthetic.record(model, "eager", length, mode)
                latency = replace(record.indicators["latency"], rounds=_rounds(length))
                yield replace(record, indicators={**record.indicators, "latency": latency}, notes=("a note",))
            yield synthetic.throughput(model, "eager", 512, mode)


def _rounds(length: int) -> Rounds:
    count = 7
    noise = Noise(1.0, count, {"preempted": 2}, 0.1, 0.2, 0.3, 1, 2, 3, 4, 0.5, (1000.0, 2000.0), False)
    series = {
        "yardstick": (1_000_000,) * count,
        "hits": (0, 1, 0, 2, 0, 0, 4),
        "waits": (0, 1000, 0, 0, 0, 0, 0),
        "faults": (2000,) * count,
        "system": (10_000_000,) * count,
        "processor": (50_000_000,) * count,
        "page_faults": (1000,) * count,
    }
    return Rounds(f"rounds {length}", "precision", noise=noise, **series)  # type: ignore[arg-type]


def copied(run: Path, to: Path) -> Path:
    """A copy of a run that may be spoiled."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(run, to, symlinks=True)
    return to


def make_traces(directory: Path) -> tuple[Path, Path]:
    """A trace of torch.profiler and an export of Nsight Systems that are right."""
    kineto = write(directory / "trace.json", [*step(4_000_000_000.125, 1), *step(4_000_001_000.5, 2)])
    return kineto, two_steps(directory / "export.sqlite").close()


def make_broken(directory: Path) -> Path:
    """A run of which one record is valid JSON that means nothing."""
    path = directory / "records.jsonl"
    lines = path.read_text().splitlines()
    record = json.loads(lines[0])
    record["case"]["length"] = {}
    path.write_text("\n".join([json.dumps(record), *lines[1:], "{"]))
    return directory
