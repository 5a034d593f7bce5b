"""The process that measures: requests on standard input, replies on a pipe of their own, both as lines of JSON.

It is started by ``pyprof.worker.executors`` as ``python -m pyprof.worker DESCRIPTOR``. It ends at once when its
standard input ends, so that it never outlives the process that asked.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import queue
import sys
import threading
from collections.abc import Mapping
from typing import IO, Any

from pyprof.errors import PyprofError
from pyprof.machine import allocator
from pyprof.records import study as studies
from pyprof.records.case import Case
from pyprof.records.executor import Outcome
from pyprof.records.record import Record
from pyprof.records.study import Study
from pyprof.timing import cores
from pyprof.worker.turns import Turns

Message = dict[str, Any]


def main() -> None:
    """Serve requests until standard input ends."""
    replies = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")
    cores.remember()
    requests: queue.SimpleQueue[Message] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(_taken_from_models(), requests), daemon=True).start()

    def reply(message: Mapping[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    try:
        turns = Turns.asked_for()
        study = studies.parse(requests.get()["study"], "the study")
        with turns or contextlib.nullcontext():
            # The machinery that measures loads torch, which can fail in ways of its own; those end this process with a
            # traceback.
            from pyprof.worker.bench import Bench
            from pyprof.worker.limits import limit_memory, settle

            allocator.check()
            ready = settle(study)
    except PyprofError as error:
        reply({"refused": str(error)})
        return
    fingerprint = ready.environment.fingerprint
    limit_memory(ready.study)
    reply({"ready": ready.study.to_table(), "environment": ready.environment.to_json()})
    # What the imports have made stays; without this every change of models would look through all of it.
    gc.collect()
    gc.freeze()
    bench = Bench(
        ready.study,
        fingerprint,
        lambda case: _confirm(ready.study, case),
        turns,
        lambda what, left: reply({"what": what, "left": left}),
    )
    while True:
        cases = [Case.from_json(case) for case in requests.get()["measure"]]
        with turns or contextlib.nullcontext():
            for outcome in bench.measure_together(cases, lambda at: reply({"at": at and at.to_json()})):
                reply(_to_json(outcome))
                # What the other process does with it must not fall into a measurement.
                requests.get()


def _taken_from_models() -> IO[bytes]:
    """Standard input, with nothing left in its place: a model that asks a question must not be given our requests."""
    requests = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return requests


def _listen(lines: IO[bytes], requests: queue.SimpleQueue[Message]) -> None:
    """Pass requests on; when there can be no more, end the process even in the middle of a case."""
    for line in lines:
        requests.put(json.loads(line))
    os._exit(0)


def _confirm(study: Study, case: Case) -> Record:
    """Measure a case with a fixed batch in a process of its own."""
    from dataclasses import replace

    from pyprof.worker.executors import WorkerExecutor
    from pyprof.worker.largest_batch import CONFIRMED

    executor = WorkerExecutor()
    try:
        executor.start(replace(study, metrics=CONFIRMED, allocator=case.allocator, allocators={}))
        return executor.measure(case).record
    finally:
        executor.close()


def _to_json(outcome: Outcome) -> Message:
    return {"record": outcome.record.to_json(), "layers": outcome.layers}


if __name__ == "__main__":
    main()
