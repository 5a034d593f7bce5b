"""`pyprof match`: a model resized until it costs what another one does."""

from __future__ import annotations

import json

import pytest

from pyprof.cli.main import main
from pyprof.report.matching import latency_verdict


def test_matches_lie_within_one_percent_and_all_else_stands_beside(capsys, tmp_path):
    command = "match bert --to vit-unknown --size tiny"
    assert main(command.split()) == 2
    assert "there is no model 'vit-unknown'" in capsys.readouterr().err
    page = tmp_path / "matched.html"
    command = "match bert --to longformer --size tiny --length 64 --by parameters,flops --seconds 0.2 --json"
    assert main([*command.split(), "--html", str(page)]) == 0
    target, *matched = json.loads(capsys.readouterr().out)["columns"]
    assert "bert matched to longformer" in page.read_text()
    assert [each["by"] for each in matched] == ["parameters", "flops"]
    for each in matched:
        assert each[each["by"]] == pytest.approx(target[each["by"]], rel=0.01)
        assert abs(each["off"]) <= 0.01
        assert set(each["dimensions"]) == {"depth", "width", "heads", "ffn"}
        low, high = each["latency_interval"] or (0.01, 100.0)
        assert low <= each["latency_ratio"] <= high
        assert each["peak_memory"] > 0
    # Longformer pads to its window and so does more work with as many parameters.
    assert matched[0]["flops"] != pytest.approx(target["flops"], rel=0.01)


def test_the_table_names_what_is_matched(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    command = "match vit --to vit-d6 --size tiny --length 32 --free ffn --by parameters --seconds 0.2"
    assert main(command.split()) == 0
    out = capsys.readouterr().out
    assert "vit by parameters" in out
    assert "1.00x" in out


def test_a_pyramid_can_be_matched_though_it_has_no_sizes_of_its_own(capsys):
    command = "match vit --to swin --size tiny --length 64 --by parameters --seconds 0.2 --json"
    assert main(command.split()) == 0
    target, found = json.loads(capsys.readouterr().out)["columns"]
    assert found["parameters"] == pytest.approx(target["parameters"], rel=0.01)


def test_a_match_by_latency_says_how_near_it_is_shown_to_be(capsys):
    command = "match vit --to vit-d6 --size tiny --length 32 --by latency --seconds 0.3"
    assert main(command.split()) == 0
    out = capsys.readouterr().out
    assert "vit by latency" in out
    assert "within 1% of" in " ".join(out.split())
    assert main([*command.split(), "--json"]) == 0
    columns = json.loads(capsys.readouterr().out)["columns"]
    _, found = columns
    # On a busy machine there may be too few rounds for one.
    low, high = found["latency_interval"] or (0.0, 100.0)
    assert low <= found["latency_ratio"] <= high
    assert found["off"] == pytest.approx(found["latency_ratio"] - 1)
    assert found["within_tolerance"] == (low >= 0.99 and high <= 1.01)
    verdict = latency_verdict("vit-d6", columns)
    assert ("is shown to lie" in verdict) == found["within_tolerance"]
    assert ("the nearest one is" in verdict) == (abs(found["off"]) > 0.01)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("match swin --to vit --size tiny", "swin is not made of equal layers"),
        ("match bert --to vit --size tiny", "count their lengths in different units"),
        ("match bert --to json:dumps --size tiny", "json:dumps is no model of the registry"),
        ("match bert --to longformer --free deep", "there is no 'deep' to match with: did you mean 'depth'?"),
        ("match bert --to longformer --by flop", "did you mean 'flops'?"),
        ("match bert --to longformer --size tiny --length 64 --free depth --by parameters", "free a finer dimension"),
    ],
)
def test_wrong_use_is_one_sentence(capsys, command, words):
    assert main(command.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert len(err.strip().splitlines()) == 1
