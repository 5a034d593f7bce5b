from __future__ import annotations

import json

import synthetic_run as synthetic

from pyprof.records.resolved import Resolved
from pyprof.report.as_json import document
from pyprof.report.build import About, build_view
from pyprof.report.view import SCHEMA


def test_the_document_holds_everything_in_strict_json() -> None:
    view = build_view(synthetic.quick(), synthetic.RESOLVED, About("quick", "m"))
    data = json.loads(json.dumps(document(view), allow_nan=False))
    assert (data["schema"], data["study"], data["source"]) == (SCHEMA, "quick", "Diwan, Choi, Harwath, ACL 2023")
    text = data["modalities"][0]
    latency = next(one for one in text["tables"] if one["metric"] == "latency" and one["mode"] == "infer")
    assert [row["length"] for row in latency["rows"]] == list(synthetic.LENGTHS["text"])
    missing = latency["rows"][-1]["cells"][0]
    assert (missing["value"], missing["status"]) == (None, "oom")
    line = text["tipping"][0]
    assert (line["comparison"]["variant"], line["tipping"]["status"]) == ("longformer", "point")
    assert line["tipping"]["crossing"]["low"] == 1562
    assert line["published"] == {"low": 1750, "high": 2000, "unit": "token"}
    assert {"data_set": "SST", "length": 23, "side": "below"} in line["data_sets"]
    assert set(line["points"][0]) == {"length", "ratio", "low", "high", "paired"}
    assert text["shares"][0]["rows"][0]["modes"]["infer"]["shares"]["self-attention"] > 0
    assert data["omitted"][0]["reason"] == "needed 3.1 GiB and 2.9 GiB were free"


def test_an_empty_run_is_a_document() -> None:
    data = document(build_view([], Resolved(()), About("quick", "m")))
    assert (data["modalities"], data["omitted"], data["counts"], data["started"]) == ([], [], {}, None)
