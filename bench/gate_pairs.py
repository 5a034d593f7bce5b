"""What the gate says of pairs of real runs of which the answer is known. Prints the method, a table and the bars."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from gate_models import VARIABLE
from harness import Bar, Figures, note, parser, publish

from pyprof.analysis.noise import run_noise
from pyprof.records.run_directory import Run, read
from pyprof.report.gate.view import Wish, gate_view
from pyprof.study.in_turn import Code, measure_in_turn

METHOD = """\
Each pair is a baseline and heads measured after it by one and the same study (bench/gate_models.py: an encoder of tiny
parallel regions and one of base size, at five lengths): the same with 10 % more arithmetic in every step, the same code
again, and, beside one process that keeps a core busy all the time, the same code and the same with 30 % more
arithmetic. The equal head is the next pair's baseline. pyprof compare judges each head against the baseline with
--fail-over 3%.

A regression shown in equal code is a false alarm. On a quiet machine a run too disturbed to judge is one too; beside
the busy process it is the right answer, and a planted regression that passes is the wrong one.

Quiet pairs need a machine on which nothing else runs: a run during which other processes used more than 5 % of the
cores is measured again, up to three times in all; a pair with a run that never was quiet is told, and the bars leave it
out. --keep collects runs, so that a bench can be made in pieces: a pair that lacks a head gets it first, and the bars
are over all pairs. With --in-turn each head has a baseline of its own, and the two take turns as in pyprof gate; a head
beside the busy process is then judged against the quiet baseline of the same pair's equal head too.

Of runs that did not take turns, every one of equal code beside which no process was put is judged against every
other too, and so is every one with 10 % planted, however quiet it was: these crossings are not independent of each
other, and no bar.
"""
MARGIN, PLANTED_QUIET, PLANTED_BUSY = 0.03, 0.10, 0.30
# What `pyprof env --check` warns of, and how often a run beside more is tried.
MOST_USED, TRIES = 0.05, 3
LENGTHS = (32, 64, 96, 128, 160)
STUDY = f"""\
name = "gate pairs"
metrics = ["latency"]
modes = ["infer"]
device = "cpu"

[measure]
precision = 0.005
min_samples = 12
max_samples = 60
max_seconds = "1.2 s"
timeout = "5 min"

[[comparison]]
vanilla = "gate_models:base"
variants = ["gate_models:tiny"]
lengths = {list(LENGTHS)}
"""
EQUAL, PLANTED, BUSY_EQUAL, BUSY_PLANTED = "quiet, equal", "quiet, +10 %", "busy, equal", "busy, +30 %"
# What is planted in a head of each kind, and whether a neighbour is there.
HEADS = {
    PLANTED: (PLANTED_QUIET, False),
    EQUAL: (0.0, False),
    BUSY_EQUAL: (0.0, True),
    BUSY_PLANTED: (PLANTED_BUSY, True),
}
# Said of a head beside a busy process that is judged against a quiet baseline, not the one it took turns with.
APART = "quiet against "
# Lies in a run that was measured to its end.
DONE = "done"
OUTCOMES = ("passed", "failed", "too disturbed", "not quiet")


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """A process that keeps a core busy; it ends with this one too."""
    loop = f"import os\nwhile os.getppid() == {os.getpid()}:\n    for _ in range(10**6): pass"
    process = subprocess.Popen([sys.executable, "-c", loop])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@dataclass
class Bench:
    """Runs in a folder: `calibration`, then `0`, `1`, ... each with a baseline and its heads."""

    folder: Path
    kinds: Sequence[str]
    in_turn: bool = False
    rounds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.study = self.folder / "study.toml"
        self.study.write_text(STUDY)
        self.rounds = self.calibrated()

    def measure(self, directory: Path, share: float = 0.0, beside: bool = False) -> None:
        """Measure one run; with `share`, so much of the middle length's step is planted in all steps of a model."""
        command = [sys.executable, "-m", "pyprof", "study", str(self.study), "-o", str(directory)]
        with busy() if beside else contextlib.nullcontext():
            done = subprocess.run(command, env=self.code(share).environment(), capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"the study ended with {done.returncode}: {done.stderr[-2000:]}")

    def code(self, share: float) -> Code:
        """The models, with so much of the middle length's step planted."""
        rounds = {name: round(share * each) for name, each in self.rounds.items()}
        return Code(Path(__file__).parent, {VARIABLE: json.dumps(rounds)})

    def measure_in_turn(self, directory: Path, share: float, beside: bool) -> None:
        """Measure a baseline and a head in turn, again where others used the cores meanwhile."""
        codes = {"baseline": self.code(0.0), "head": self.code(share)}
        for _ in range(1 if beside else TRIES):
            shutil.rmtree(directory, ignore_errors=True)
            with busy() if beside else contextlib.nullcontext():
                runs = measure_in_turn(str(self.study), codes, directory)
            if all(map(is_quiet, runs.values())):
                return

    def measure_quietly(self, directory: Path, share: float = 0.0, beside: bool = False) -> None:
        """Measure one run, again where others used the cores meanwhile, unless it is to be disturbed."""
        for _ in range(1 if beside else TRIES):
            # What an interrupted bench or a try before has left.
            shutil.rmtree(directory, ignore_errors=True)
            self.measure(directory, share, beside)
            if is_quiet(read(directory)):
                return

    def calibrated(self) -> dict[str, float]:
        """How many rounds of arithmetic take as long as a step of each model, at its middle length."""
        kept = self.folder / "rounds.json"
        if not kept.exists():
            from pyprof.timing.planted import work_rounds

            directory = self.folder / "calibration"
            if not is_there(directory):
                self.measure_quietly(directory)
                (directory / DONE).touch()
            a_second = work_rounds(1.0)
            steps = {name: step_seconds(read(directory), name) for name in ("tiny", "base")}
            kept.write_text(json.dumps({name: a_second * seconds for name, seconds in steps.items()}))
        return dict(json.loads(kept.read_text()))

    def take(self, pairs: int) -> None:
        """Measure so many more pairs, each in the heads that are asked for."""
        every = (self.folder / f"pair-{index:02}" for index in itertools.count())
        lacking = (folder for folder in every if any(not is_there(folder / kind) for kind in self.kinds))
        for folder in itertools.islice(lacking, pairs):
            if self.in_turn:
                for kind in self.kinds:
                    if not is_there(folder / kind):
                        self.measure_in_turn(folder / kind, *HEADS[kind])
                        (folder / kind / DONE).touch()
                self.tell(folder)
                continue
            before = folder.with_name(f"pair-{int(folder.name[5:]) - 1:02}") / EQUAL
            if not is_there(folder / "baseline") and is_there(before) and is_quiet(read(before)):
                shutil.rmtree(folder / "baseline", ignore_errors=True)
                shutil.copytree(before, folder / "baseline")
            for kind in ("baseline", *self.kinds):
                if not is_there(folder / kind):
                    self.measure_quietly(folder / kind, *HEADS.get(kind, ()))
                    (folder / kind / DONE).touch()
            self.tell(folder)

    def tell(self, folder: Path) -> None:
        said = ", ".join(f"{kind}: {outcome}" for kind, outcome in outcomes(folder).items())
        note(f"{folder.name}: {said}")

    def pairs(self) -> list[Path]:
        return sorted(self.folder.glob("pair-*"))


def is_there(directory: Path) -> bool:
    """Whether a run has been measured to its end."""
    return (directory / DONE).exists()


def is_quiet(run: Run) -> bool:
    noise = run_noise(run.records.values())
    return noise is not None and (noise.others_share or 0.0) <= MOST_USED


def step_seconds(run: Run, name: str) -> float:
    """A step of a model at the middle length."""
    latencies = [
        record.indicators["latency"].value
        for record in run.records.values()
        if (record.case.model, record.case.length) == (f"gate_models:{name}", LENGTHS[len(LENGTHS) // 2])
    ]
    return median(value for value in latencies if value is not None)


def outcomes(folder: Path) -> dict[str, str]:
    """What the gate says of the heads that a pair has."""
    found = {}
    for kind in HEADS:
        if is_there(folder / kind):
            in_turn = folder / kind / "baseline"
            beside = HEADS[kind][1]
            if in_turn.exists():
                baseline, head = read(in_turn), read(folder / kind / "head")
                quiet = beside or (is_quiet(baseline) and is_quiet(head))
            else:
                baseline, head = read(folder / "baseline"), read(folder / kind)
                quiet = is_quiet(baseline) and (beside or is_quiet(head))
            found[kind] = judged(baseline, head) if quiet else "not quiet"
            if in_turn.exists() and beside and is_there(folder / EQUAL):
                apart = read(folder / EQUAL / "baseline")
                found[APART + kind] = judged(apart, head) if is_quiet(apart) else "not quiet"
    return found


def judged(baseline: Run, head: Run) -> str:
    """What the gate says of a head against a baseline."""
    outcome = gate_view(baseline, head, Wish(fail_over=MARGIN)).outcome
    assert outcome is not None
    return outcome


def crossings(pairs: Sequence[Path]) -> Mapping[str, Counter[str]]:
    """What the gate says of every run without a neighbour against every other of equal code."""
    pairs = [folder for folder in pairs if is_there(folder / "baseline")]
    equal = [path for folder in pairs for path in (folder / "baseline", folder / EQUAL) if is_there(path)]
    # A baseline may be the equal head of the pair before.
    distinct = {(path / "records.jsonl").read_bytes(): read(path) for path in equal}
    planted = [read(folder / PLANTED) for folder in pairs if is_there(folder / PLANTED)]
    heads = {EQUAL: list(distinct.values()), PLANTED: planted}
    return {
        kind.removeprefix("quiet, "): Counter(
            judged(baseline, head) for baseline in distinct.values() for head in runs if head is not baseline
        )
        for kind, runs in heads.items()
    }


def bars(counts: Mapping[str, Counter[str]]) -> Iterator[Bar]:
    def share(kind: str, outcome: str) -> float:
        return 100 * counts[kind][outcome] / valid(kind)

    def valid(kind: str) -> int:
        return counts[kind].total() - counts[kind]["not quiet"]

    if valid(EQUAL):
        yield Bar("quiet, equal code: a regression is shown", share(EQUAL, "failed"), "% of pairs", 5)
        yield Bar("quiet, equal code: too disturbed", share(EQUAL, "too disturbed"), "% of pairs", 5)
    if valid(PLANTED):
        found = share(PLANTED, "failed")
        yield Bar("quiet, 10 % planted: found", found, "% of pairs", 90, better="higher")
    for before in ("", APART):
        if valid(before + BUSY_EQUAL):
            shown = share(before + BUSY_EQUAL, "failed")
            yield Bar(f"{before}{BUSY_EQUAL} code: a regression is shown", shown, "% of pairs", 0)
        if valid(before + BUSY_PLANTED):
            passes = share(before + BUSY_PLANTED, "passed")
            yield Bar(f"{before}{BUSY_PLANTED} planted: passes", passes, "% of pairs", 0)


def main() -> int:
    options = parser(METHOD)
    options.add_argument("--pairs", type=int, default=20, help="measure so many pairs more (default: 20)")
    options.add_argument("--kinds", choices=("all", "quiet", "busy"), default="all", help="which heads to measure")
    options.add_argument("--in-turn", action="store_true", help="measure each head and its baseline in turn")
    options.add_argument("--keep", type=Path, help="collect the runs here, beside those that are there already")
    chosen = options.parse_args()
    kinds = [kind for kind in HEADS if chosen.kinds == "all" or kind.startswith(chosen.kinds)]
    with contextlib.ExitStack() as stack:
        folder = chosen.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bench = Bench(folder, kinds, chosen.in_turn)
        bench.take(chosen.pairs)
        counts: dict[str, Counter[str]] = defaultdict(Counter, {kind: Counter() for kind in HEADS})
        across = crossings(bench.pairs())
        for pair in bench.pairs():
            for kind, outcome in outcomes(pair).items():
                counts[kind][outcome] += 1
    rows = [(kind, found.total(), *(found[outcome] for outcome in OUTCOMES)) for kind, found in counts.items()]
    table = Figures("what the gate says of the head", ("head", "pairs", *OUTCOMES), rows)
    crossed = [(kind, found.total(), *(found[outcome] for outcome in OUTCOMES[:-1])) for kind, found in across.items()]
    beside = Figures("every run against every other", ("head", "crossings", *OUTCOMES[:-1]), crossed)
    figures = [table, beside] if any(found.total() for found in across.values()) else [table]
    return publish(METHOD, figures, list(bars(counts)), chosen.json)


if __name__ == "__main__":
    sys.exit(main())
