"""Workers: what measures cases. A process of its own by default, so that nothing a case does can end the run."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

from pyprof.errors import PyprofError, UsageError
from pyprof.failures import Failure, Status
from pyprof.machine import allocator as allocators
from pyprof.quantity import format_seconds
from pyprof.records import study as studies
from pyprof.records.case import Case
from pyprof.records.environment import Environment
from pyprof.records.executor import Advance, Outcome, Ready, by_itself
from pyprof.records.record import Record
from pyprof.records.study import Study
from pyprof.worker.obituary import obituary
from pyprof.worker.turns import Turns

if TYPE_CHECKING:
    from pyprof.worker.bench import Bench

# Loading torch and transformers takes seconds, on a cold disk perhaps a minute.
START_SECONDS = 300.0
# What Python runs. -P keeps files of the current directory from shadowing modules; factories are found all the same.
PROGRAM = ("-P", "-m", "pyprof.worker")
_NO_VARIABLES: Mapping[str, str] = {}
# Why cases were measured one by one whose group took too long.
TOOK_TOO_LONG = "together they took too long"


class InProcessExecutor:
    """Measures in this process: for debugging and for tests. A timeout is not kept and memory is not limited."""

    def __init__(self) -> None:
        self._bench: Bench | None = None

    def start(self, study: Study) -> Ready:
        """Load torch and settle the study; see ``Worker.start``."""
        from pyprof.worker.bench import Bench
        from pyprof.worker.limits import settle

        ready = settle(study)
        self._bench = Bench(ready.study, ready.environment.fingerprint)
        return ready

    def measure_together(self, cases: Sequence[Case]) -> Iterator[Outcome]:
        """Measure cases here and now."""
        assert self._bench is not None, "start the executor first"
        return self._bench.measure_together(cases)

    def close(self) -> None:
        """Drop the loaded models."""
        if self._bench is not None:
            self._bench.close()
        self._bench = None


class WorkerExecutor:
    """Measures in a child process, one for each allocator, which keeps loaded models from case to case.

    A case that takes longer than the study allows, or that ends the child, costs this child only: the next one gets a
    fresh one. Cases that were being measured together with it are measured once more, without it. While the child
    measures, this process sleeps. `variables` are added to the child's environment, and `program` is what Python runs
    there, with the number of the pipe to answer on.
    """

    def __init__(self, variables: Mapping[str, str] = _NO_VARIABLES, program: Sequence[str] = PROGRAM) -> None:
        self._variables = variables
        self._program = program
        self._workers: dict[str, _Worker] = {}
        self._ready: Ready | None = None
        self._stopped = False

    def start(self, study: Study) -> Ready:
        """Start a child; see ``Worker.start``. Raises PyprofError where it cannot even load what it needs."""
        self._workers[study.allocator], self._ready = self._started(study, study.allocator)
        return self._ready

    def measure(self, case: Case) -> Outcome:
        """Measure a case by itself."""
        (outcome,) = (each for each in self.measure_together((case,)) if isinstance(each, Outcome))
        return outcome

    def measure_together(self, cases: Sequence[Case]) -> Iterator[Outcome | Advance]:
        """Measure cases in the child, or in a fresh one where there is none; see ``Worker.measure_together``."""
        assert self._ready is not None, "start the executor first"
        worker, left = self._worker_for(cases), list(cases)
        timeout = self._ready.study.care.timeout
        allowed = Turns.patience() * timeout
        begin, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        status: Status
        try:
            for told in worker.outcomes(cases, allowed):
                if isinstance(told, Advance):
                    yield told
                    continue
                left.remove(told.record.case)
                yield told
                begin, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
            return
        except TimeoutError:
            status, reason = "timeout", f"it took longer than the {format_seconds(timeout)} allowed for one case"
        except EOFError:
            self._check_stopped()
            failure = worker.obituary()
            status, reason = failure.status, failure.reason
        worker.kill()
        suspects = left if worker.at is None else [worker.at]
        if len(cases) == 1 or (status == "timeout" and worker.at is not None):
            seconds = round(time.monotonic() - begin, 6)
            yield Outcome(Record(suspects[0], status, self._ready.environment.fingerprint, started, seconds, reason))
        else:
            yield from self._by_itself(suspects, TOOK_TOO_LONG if status == "timeout" else reason)
        others = [case for case in left if case not in suspects]
        if others:
            yield from self.measure_together(others)

    def _by_itself(self, cases: Sequence[Case], why: str) -> Iterator[Outcome | Advance]:
        for case in cases:
            for told in self.measure_together((case,)):
                if isinstance(told, Outcome) and told.record.status == "ok":
                    yield replace(told, record=replace(told.record, notes=(*told.record.notes, by_itself(why))))
                else:
                    yield told

    def _worker_for(self, cases: Sequence[Case]) -> _Worker:
        """The child of the cases' allocator, which is fixed when a process starts; a search gets all the memory."""
        assert self._ready is not None
        (allocator,) = {case.allocator for case in cases}
        if any(case.batch == "largest" for case in cases):
            for other in self._workers.keys() - {allocator}:
                self._workers.pop(other).kill()
        worker = self._workers.get(allocator)
        if worker is None or not worker.alive:
            if worker is not None:
                worker.kill()
            worker, _ = self._started(self._ready.study, allocator)
            self._workers[allocator] = worker
        return worker

    def _started(self, study: Study, allocator: str) -> tuple[_Worker, Ready]:
        self._check_stopped()
        started = _Worker.started(study, allocator, self._variables, self._program)
        if self._stopped:
            started[0].kill()
        self._check_stopped()
        return started

    def _check_stopped(self) -> None:
        if self._stopped:
            raise PyprofError("the measuring process was stopped")

    def stop(self) -> None:
        """End the children from another thread: what is measured raises PyprofError there; `close` has to follow."""
        self._stopped = True
        for worker in tuple(self._workers.values()):
            worker.end()

    def close(self) -> None:
        """Kill the children."""
        while self._workers:
            self._workers.popitem()[1].kill()


class _Worker:
    """A child process and the two pipes to it. What it prints is caught in a file, for the reason of its end."""

    def __init__(
        self,
        study: Study,
        allocator: str,
        variables: Mapping[str, str] = _NO_VARIABLES,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        replies, theirs = os.pipe()
        self._replies = replies
        self._rest = b""
        # The case that the child works on; None where it is all that it was asked for.
        self.at: Case | None = None
        self._printed: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the process
        try:
            self._process = subprocess.Popen(
                [sys.executable, *program, str(theirs)],
                stdin=subprocess.PIPE,
                stdout=self._printed,
                stderr=self._printed,
                pass_fds=(theirs,),
                env={**_environment(study, allocator), **variables},
                # A session of its own: Ctrl-C in the terminal reaches only the run, which ends the child in order.
                start_new_session=True,
            )
        except BaseException:
            os.close(replies)
            self._printed.close()
            raise
        finally:
            os.close(theirs)

    @classmethod
    def started(
        cls,
        study: Study,
        allocator: str,
        variables: Mapping[str, str] = _NO_VARIABLES,
        program: Sequence[str] = PROGRAM,
    ) -> tuple[_Worker, Ready]:
        """A child that has settled the study; raises UsageError where it refuses it."""
        worker = cls(study, allocator, variables, program)
        try:
            reply = worker.ask({"study": study.to_table()}, START_SECONDS)
        except (EOFError, TimeoutError) as error:
            reason = worker.obituary().reason if isinstance(error, EOFError) else "it did not answer"
            worker.kill()
            raise PyprofError(f"the measuring process could not start: {reason}") from error
        except BaseException:
            worker.kill()
            raise
        if "refused" in reply:
            worker.kill()
            raise UsageError(reply["refused"])
        return worker, Ready(studies.parse(reply["ready"], "the study"), Environment.from_json(reply["environment"]))

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request and wait for its reply; raises TimeoutError, or EOFError where the child ends instead."""
        self._send(request)
        return self._receive(seconds)

    def outcomes(self, cases: Sequence[Case], allowed: float) -> Iterator[Outcome | Advance]:
        """Let the child measure cases together, which goes on when the caller has dealt with an outcome.

        How far a case is the child says without waiting.

        Raises TimeoutError where they take longer than `allowed` seconds for each, or where work on a single one does;
        then, and where it raises EOFError, `at` is the case that is to blame, None where that may be any.
        """
        self.at, left = None, allowed * len(cases)
        self._send({"measure": [case.to_json() for case in cases]})
        for _ in cases:
            reply: dict[str, Any] = {}
            while "record" not in reply:
                begin = time.monotonic()
                try:
                    reply = self._receive(left if self.at is None else min(left, allowed))
                except TimeoutError:
                    # Where the time of all is up, the one that is at work just then need not be what took it.
                    self.at = self.at if allowed < left else None
                    raise
                left -= time.monotonic() - begin
                if "at" in reply:
                    self.at = Case.from_json(reply["at"]) if reply["at"] else None
                elif "what" in reply and self.at is not None:
                    yield Advance(self.at, reply["what"], reply["left"])
            self.at = None
            yield Outcome(Record.from_json(reply["record"]), reply["layers"])
            self._send({"kept": True})

    def _send(self, request: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise EOFError from None

    def _receive(self, seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while b"\n" not in self._rest:
            readable, _, _ = select.select([self._replies], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                raise TimeoutError
            received = os.read(self._replies, 1 << 20)
            if not received:
                raise EOFError
            self._rest += received
        line, _, self._rest = self._rest.partition(b"\n")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def obituary(self) -> Failure:
        """The status and the reason of a child that ended by itself."""
        return obituary(self._process.wait(), self._printed)

    def kill(self) -> None:
        """End the child and what it started, and close the pipes."""
        self.end()
        assert self._process.stdin is not None
        # What was still to be sent has nobody to read it.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        if self._replies >= 0:
            os.close(self._replies)
            self._replies = -1
        self._printed.close()

    def end(self) -> None:
        """End the child and what it started."""
        if self._process.poll() is None:
            # Another thread may see its end at this moment.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _environment(study: Study, allocator: str) -> dict[str, str]:
    """This process's variables and those of the allocator; libraries beside torch get as many threads as it."""
    environ = {**os.environ, **allocators.variables(allocator)}
    if study.threads is not None:
        environ |= {"OMP_NUM_THREADS": str(study.threads), "MKL_NUM_THREADS": str(study.threads)}
    return environ
