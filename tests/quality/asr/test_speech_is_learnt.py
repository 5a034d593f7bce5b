from __future__ import annotations

import pytest

from pyprof.quality import tasks
from pyprof.quality.outcome import interval_of
from pyprof.quality.subject import Subject
from pyprof.quality.training import train

for package in ("accelerate", "jiwer"):
    pytest.importorskip(package, reason="the extra quality is not installed")


@pytest.mark.training
@pytest.mark.parametrize("task", ["speech", "speech_frozen"])
def test_unheard_sentences_are_heard_better_than_by_who_never_listens(task: str) -> None:
    """The test's sentences are others than the training's; a control learns from transcripts of other recordings."""
    outcome = train(tasks.find(task), Subject("l-hubert"), control=True)
    interval, control = outcome.interval, interval_of(outcome.control, outcome.metric)
    print(task, outcome.value, interval, [each.quality for each in outcome.control], outcome.baseline)
    assert interval is not None
    assert control is not None
    assert interval[1] < outcome.baseline == 1
    assert interval[1] < control[0]
