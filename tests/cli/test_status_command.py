"""What `pyprof status` says of a run: while it goes on, and afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from simulated_worker import SleepingWorker, seated
from sleeping_run import sleeping_study

from pyprof.cli.main import main
from pyprof.study.run import Event, StudyInterrupted, run_study


def asked(capsys: pytest.CaptureFixture[str], directory: Path) -> dict:
    capsys.readouterr()
    assert main(["status", str(directory), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_run_is_seen_from_elsewhere_while_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyprof.study.news._SELDOM", 0.0)
    seen: list[dict] = []
    printed: list[str] = []

    def look(event: Event) -> None:
        if event.kind == "finished" and event.done == 5:
            seen.append(asked(capsys, tmp_path / "run"))
            assert main(["status", str(tmp_path / "run")]) == 0
            printed.append(capsys.readouterr().out)

    executor = seated(SleepingWorker(0.05), SleepingWorker(0.05))
    run_study(sleeping_study(6), tmp_path / "run", executor=executor, progress=look)
    (status,), (text,) = seen, printed
    assert status["state"] == "running"
    assert status["counts"]["ok"] == 6
    progress = status["progress"]
    assert (progress["executor"], progress["total"]) == ("devices", 12)
    assert 1 <= len(progress["busy"]) <= 2
    assert {busy["device"] for busy in progress["busy"]} <= {"0", "1"}
    assert "is being measured" in text
    assert "measures" in text
    after = asked(capsys, tmp_path / "run")
    assert (after["state"], after["counts"]["ok"]) == ("done", 12)
    assert after["progress"]["busy"] == []


def test_an_interrupted_run_and_one_that_was_killed_say_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(event: Event) -> None:
        if event.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(StudyInterrupted):
        run_study(sleeping_study(3), tmp_path / "run", executor=SleepingWorker(), progress=interrupt)
    assert asked(capsys, tmp_path / "run")["state"] == "interrupted"
    path = tmp_path / "run" / "progress.json"
    path.write_text(path.read_text().replace('"interrupted"', '"running"'))
    assert asked(capsys, tmp_path / "run")["state"] == "stopped"
    assert main(["status", str(tmp_path / "run")]) == 0
    assert "was stopped without an end: go on with --resume" in capsys.readouterr().out


def test_a_run_without_progress_is_told_by_its_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_study(sleeping_study(2), tmp_path / "run", executor=SleepingWorker())
    (tmp_path / "run" / "progress.json").unlink()
    status = asked(capsys, tmp_path / "run")
    assert (status["state"], status["progress"], status["counts"]["ok"]) == ("done", None, 4)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"study": 3}'])
def test_damaged_progress_is_a_sentence(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_study(sleeping_study(1), tmp_path / "run", executor=SleepingWorker())
    (tmp_path / "run" / "progress.json").write_text(content)
    assert main(["status", str(tmp_path / "run")]) == 2
    assert "progress.json is" in capsys.readouterr().err


def test_no_run_is_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err
