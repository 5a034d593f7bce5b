"""Trainings inside a study: told while they run, gone on with after a kill, and gone when the case is done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from pyprof.records import study as studies
from pyprof.records import trainings
from pyprof.records.run_directory import read
from pyprof.study.run import StudyInterrupted, run_study
from pyprof.worker.executors import InProcessExecutor

pytest.importorskip("accelerate", reason="training needs the extra quality")
pytest.importorskip("sklearn", reason="the built-in images are of the extra quality")

# What differs between two trainings to the same bits.
TIMES = ("seconds", "joules", "joules_reason")


def study(steps, **training):
    table = {
        "name": "scores",
        "metrics": ["image_accuracy"],
        "modes": ["train"],
        "size": "tiny",
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "training": {"seeds": 2, "steps": steps, "checkpoint_every": "1 ms", **training},
        "comparison": [{"vanilla": "lra-linear", "lengths": [64], "implementations": ["then"]}],
    }
    return studies.parse(table, "scores")


def learnt(directory):
    (record,) = read(directory).records.values()
    reading = record.indicators["image_accuracy"]
    assert reading.value is not None, reading.reason
    seeds = [{name: value for name, value in each.items() if name not in TIMES} for each in reading.detail["seeds"]]
    return reading.value, seeds


def test_a_study_that_was_interrupted_goes_on_with_its_trainings(tmp_path, monkeypatch):
    from pyprof.quality.loop import Loop

    after, seen = Loop.on_step_end, []

    def watched(self, args, state, control, **more):
        seen.append((self.seed, state.global_step))
        after(self, args, state, control, **more)
        if seen[-1] == (1, 5) and interrupting:
            raise KeyboardInterrupt

    monkeypatch.setattr(Loop, "on_step_end", watched)
    interrupting = False
    run_study(study(8), tmp_path / "whole", executor=InProcessExecutor())
    assert not (tmp_path / "whole" / trainings.FOLDER).exists()

    for name, value in trainings.variables(tmp_path / "run").items():
        monkeypatch.setenv(name, value)
    interrupting = True
    with pytest.raises(StudyInterrupted):
        run_study(study(8), tmp_path / "run", executor=InProcessExecutor())
    assert list((tmp_path / "run" / trainings.FOLDER).glob("*/image_accuracy/seed-1/checkpoint-*"))
    interrupting, before = False, len(seen)
    run_study(study(8), tmp_path / "run", resume=True, executor=InProcessExecutor())
    # The first training was finished, and the second one goes on behind its last checkpoint.
    seed, step = seen[before]
    assert seed == 1
    assert 1 < step <= 5
    assert learnt(tmp_path / "run") == learnt(tmp_path / "whole")
    assert not (tmp_path / "run" / trainings.FOLDER).exists()


RUN = """
import sys
from pathlib import Path
from pyprof.records import study as studies
from pyprof.study.run import run_study
run_study(studies.read(Path(sys.argv[1])), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_killed_study_goes_on_with_its_trainings_and_tells_how_far_they_are(tmp_path):
    from pyprof.records import toml

    wanted, place, events = study(150), tmp_path / "run", []
    file = tmp_path / "scores.toml"
    file.write_text(toml.dumps(wanted.to_table()))
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", RUN, str(file), str(place)], env=os.environ, **quiet) as process:
        until = time.monotonic() + 120
        while not list(place.glob(f"{trainings.FOLDER}/*/*/seed-1/checkpoint-*/pyprof.json")):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert not read(place).records
    run_study(wanted, place, resume=True, progress=events.append)
    run_study(wanted, tmp_path / "whole", progress=events.append)
    assert learnt(place) == learnt(tmp_path / "whole")
    assert not (place / trainings.FOLDER).exists()
    advances = [event for event in events if event.kind == "advanced"]
    assert {event.what.partition(", step ")[0] for event in advances} == {"Image: seed 1 of 2", "Image: seed 2 of 2"}
    assert all(event.left >= 0 for event in advances)
    assert advances[-1].what == "Image: seed 2 of 2, step 150 of 150"
