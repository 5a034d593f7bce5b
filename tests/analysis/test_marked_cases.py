from __future__ import annotations

import synthetic_run as synthetic

from pyprof.analysis.curves import Curves
from pyprof.analysis.marked import marked_cases

LENGTHS = (10, 20, 40, 80, 160, 320, 640)


def test_the_middle_the_ends_and_the_marks_come_before_the_rest() -> None:
    records = {record.case.key: record for record in (synthetic.record("bert", "eager", n, "infer") for n in LENGTHS)}
    keys = marked_cases(Curves.of(records.values()), {"text": [300.0, 5000.0]}, {"bert": "text"})
    lengths = [records[key].case.length for key in keys]
    assert lengths[:4] == [80, 10, 640, 320]
    assert sorted(lengths) == list(LENGTHS)


def test_every_curve_has_its_turn_and_what_has_no_layers_none() -> None:
    records = [synthetic.record(model, "eager", n, "infer") for model in ("bert", "longformer") for n in LENGTHS]
    records.append(synthetic.throughput("bert", "eager", 20, "infer"))
    known = {record.case.key: record.case for record in records}
    keys = marked_cases(Curves.of(records), {}, {})
    assert [known[key].model for key in keys[:2]] == ["bert", "longformer"]
    assert len(keys) == 2 * len(LENGTHS)
    assert all(known[key].batch == 1 for key in keys)
