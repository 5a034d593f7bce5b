"""A synthetic run on disk whose cases have layers, as a study leaves it behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import synthetic_run as synthetic
from simulated_machine import make_environment, make_study

from pyprof.records.record import Record
from pyprof.records.run_directory import Run, read
from pyprof.records.store import Store

PATHS = ("", "embeddings", "encoder", "encoder.0", "encoder.0.attention", "encoder.0.ffn", "head")
PARENTS = (None, 0, 0, 2, 3, 3, 0)
KINDS = ("other", "embedding", "other", "other", "self-attention", "feedforward", "head")


def layers(record: Record) -> dict[str, list[Any]]:
    """A small tree whose layers have the times of their kinds; a device worked for a quarter of HuBERT's."""
    own = [record.kinds[kind].forward_seconds if kind != "other" else 0.0 for kind in KINDS]
    whole = list(own)
    for index in range(len(own) - 1, 0, -1):
        whole[PARENTS[index] or 0] += whole[index]
    back = [2 * each if record.case.mode == "train" else None for each in own]
    device = {"own_device_seconds": [each / 4 for each in own]} if record.case.model == "hubert" else {}
    return {
        "parent": list(PARENTS), "path": list(PATHS), "type": ["Module"] * len(own), "kind": list(KINDS),
        "calls": [1] * len(own), "parameters": [1000] * len(own), "forward_seconds": whole, "own_forward_seconds": own,
        "backward_seconds": [2 * each if record.case.mode == "train" else None for each in whole],
        "own_backward_seconds": back, **device,
    }  # fmt: skip


def write_run(directory: Path) -> Run:
    """The run of ``synthetic_run.quick``, each measured latency with layers."""
    study = make_study(comparison=[{"vanilla": "vit", "variants": ["swin"], "lengths": [224, 384]}] * 3)
    with Store(directory) as store:
        store.begin(study, synthetic.RESOLVED, make_environment())
        for record in synthetic.quick():
            store.append(record, layers(record) if record.kinds else None)
    return read(directory)
