from __future__ import annotations

import resource

from pyprof.records.noise import SystemTime
from pyprof.timing.interleave import RoundLimits, interleave
from pyprof.timing.page_faults import PAGES, PageFaults
from pyprof.timing.watch import Watch


def test_it_faults_in_each_of_its_pages_once() -> None:
    work = PageFaults()
    work()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    assert PAGES <= resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 1.2 * PAGES


def test_a_watch_tells_the_faults_and_the_systems_time_of_each_reading() -> None:
    with Watch() as watch:
        taken = interleave(
            {"faults": PageFaults(), "none": lambda: None},
            RoundLimits(5.0, most_rounds=6, warmup_seconds=0.0),
            watch=watch,
        )
    assert all(PAGES <= reading.faults < 1.5 * PAGES for reading in taken.system["faults"])
    assert sum(reading.faults for reading in taken.system["none"]) < PAGES
    assert all(0 <= reading.system_ns <= reading.processor_ns for some in taken.system.values() for reading in some)
    assert sum(reading.system_ns for reading in taken.system["faults"]) > 0


def test_differences_of_counters() -> None:
    assert SystemTime(5, 30, 70) - SystemTime(2, 10, 20) == SystemTime(3, 20, 50)
