"""The key of a case: a hash of exactly its fields, as canonical JSON."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

import pytest

from pyprof.records.case import Case

CASE = Case("bert", 512)
OTHERS = [
    replace(CASE, model='pack.age:f"\\é'),
    replace(CASE, length=513),
    replace(CASE, mode="train"),
    replace(CASE, attention="sdpa"),
    replace(CASE, size="tiny"),
    replace(CASE, batch="largest"),
    replace(CASE, batch=8),
    replace(CASE, dtype="bfloat16"),
    replace(CASE, device="cuda:0"),
    replace(CASE, compiled=True),
    replace(CASE, weights="some/where"),
    replace(CASE, allocator="keep"),
    replace(CASE, launch="graph"),
    replace(CASE, allocator="keep", launch="graph"),
    replace(CASE, optimizer="adamw"),
    replace(CASE, launch="graph", optimizer="sam"),
    replace(CASE, ranks=2),
]


@pytest.mark.parametrize("case", [CASE, *OTHERS], ids=str)
def test_the_key_is_a_hash_of_the_canonical_json(case: Case) -> None:
    values = asdict(case)
    for name, before in (("allocator", "default"), ("launch", "eager"), ("optimizer", "none"), ("ranks", 1)):
        if values[name] == before:
            del values[name]  # so that keys are those of before there was a choice
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    assert case.key == hashlib.sha256(canonical.encode()).hexdigest()[:16]
    assert Case.from_json(json.loads(json.dumps(case.to_json()))) == case


def test_every_field_is_part_of_the_key() -> None:
    assert len({case.key for case in [CASE, *OTHERS]}) == len(OTHERS) + 1
