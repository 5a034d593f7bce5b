"""A measuring process that sleeps in place of measuring: it speaks as pyprof.worker does, and loads no torch.

SLEEPING_SECONDS is what a group takes, SLEEPING_CPU the processor that it says to have; a group is noted in the file
SLEEPING_LOG when it is begun. Where there is a file SLEEPING_HANG, it is removed, and the group never ends.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from simulated_machine import make_environment
from simulated_worker import figures

from pyprof.records import study as studies
from pyprof.records.case import Case


def main() -> None:
    """Serve requests until standard input ends."""
    replies = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")
    requests: queue.SimpleQueue[dict] = queue.SimpleQueue()
    threading.Thread(target=listen, args=(requests,), daemon=True).start()

    def reply(message: object) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    seconds = float(os.environ.get("SLEEPING_SECONDS", "0"))
    environment = make_environment(os.environ.get("SLEEPING_CPU", "simulated"))
    study = studies.parse(requests.get()["study"], "the study")
    settled = replace(study, device="cpu", threads=study.threads or 2, memory_budget=study.memory_budget or 2**30)
    reply({"ready": settled.to_table(), "environment": environment.to_json()})
    while True:
        cases = [Case.from_json(case) for case in requests.get()["measure"]]
        note(cases)
        if hangs():
            time.sleep(3600)
        time.sleep(seconds)
        for outcome in figures(cases, environment, seconds):
            reply(outcome.to_json())
            requests.get()


def listen(requests: queue.SimpleQueue[dict]) -> None:
    for line in sys.stdin.buffer:
        requests.put(json.loads(line))
    os._exit(0)


def note(cases: list[Case]) -> None:
    path = os.environ.get("SLEEPING_LOG")
    if path is not None:
        with Path(path).open("a") as log:
            log.write(" ".join(case.key for case in cases) + "\n")


def hangs() -> bool:
    path = os.environ.get("SLEEPING_HANG")
    try:
        return path is not None and Path(path).unlink() is None
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    main()
