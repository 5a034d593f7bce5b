"""Spoil runs, study files, traces and command lines at random, and look for tracebacks, hangs and wrong exit codes.

    PYTHONPATH=. python tests/fuzz/run_fuzz.py --runs 5000 --studies 5000 --traces 1000 --lines 500

A number is a seed: `--runs 17:18` repeats the case 17 alone, and prints what the command said.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from command_lines import line
from corruptions import spoil_bytes, spoil_document, spoil_encoding, spoil_run, spoil_tables, spoil_toml
from outcomes import Outcome, outcome
from subjects import copied, make_broken, make_runs, make_traces, study_files

Fuzz = Callable[[range, Path], Iterator[tuple[int, str, Outcome]]]


def runs(numbers: range, directory: Path) -> Iterator[tuple[int, str, Outcome]]:
    """Spoiled runs: reported, compared with what they were, and asked to be gone on with."""
    right = make_runs(directory)
    for number in numbers:
        draw = random.Random(f"run {number}")
        run = draw.choice((right[0], right[1], right[1]))
        spoiled = copied(run, directory / "spoiled")
        how = spoil_run(draw, spoiled)
        pair = draw.choice(((run, spoiled), (spoiled, run)))
        commands: Sequence[Sequence[object]] = (
            ("report", spoiled),
            ("report", spoiled, "--json"),
            ("report", *pair, "--html", directory / "page.html", "--json"),
            ("compare", *pair),
            ("compare", *pair, "--json"),
            ("compare", *pair, "--markdown", "--fail-over", "3%"),
            ("compare", *pair, draw.choice(("--across-machines", "--across-software")), "--json"),
            ("study", spoiled / "study.toml", "--dry-run", "--json"),
            ("status", spoiled, *draw.choice(((), ("--json",)))),
            ("merge", *pair, "-o", directory / f"merged-{number}"),
            ("advise", spoiled, "--lengths", "900,300", "--json"),
            ("export", spoiled, "--table", draw.choice(("records", "kinds", "layers"))),
        )
        for command in draw.sample(commands, 2):
            yield number, how, outcome([str(word) for word in command])


def studies(numbers: range, directory: Path) -> Iterator[tuple[int, str, Outcome]]:
    """Spoiled study files: what they would measure."""
    right, path = study_files(), directory / "study.toml"
    for number in numbers:
        draw = random.Random(f"study {number}")
        spoil = draw.choices((spoil_toml, spoil_bytes, spoil_encoding), (10, 3, 1))[0]
        path.write_bytes(spoil(draw, draw.choice(right)))
        flags = draw.choice(((), ("--json",), ("--models", "bert"), ("--size", "tiny"), ("--lengths", "128,256")))
        yield number, spoil.__name__, outcome(["study", str(path), "--dry-run", *flags])


def traces(numbers: range, directory: Path) -> Iterator[tuple[int, str, Outcome]]:
    """Spoiled traces of other tools."""
    right = make_traces(directory)
    for number in numbers:
        draw = random.Random(f"trace {number}")
        path = draw.choice(right)
        spoiled = Path(shutil.copy(path, directory / f"spoiled{path.suffix}"))
        inside = draw.random() < 0.7
        if path.suffix == ".json":
            spoiled.write_bytes((spoil_document if inside else spoil_bytes)(draw, path.read_bytes()))
        elif inside:
            spoil_tables(draw, spoiled)
        else:
            spoiled.write_bytes(spoil_bytes(draw, path.read_bytes()))
        command = "kineto" if path.suffix == ".json" else "nsys"
        flags = draw.choice(((), (), ("--json",), ("--expand",)))
        yield number, path.suffix, outcome([command, str(spoiled), *flags])


def lines(numbers: range, directory: Path) -> Iterator[tuple[int, str, Outcome]]:
    """Command lines."""
    right = make_runs(directory)
    study = directory / "mine.toml"
    study.write_bytes(study_files()[0])
    trace, export = make_traces(directory)
    paths = {
        "TRACE": str(trace),
        "EXPORT": str(export),
        "RUN": str(right[1]),
        "BROKEN": str(make_broken(copied(right[1], directory / "broken"))),
        "STUDY": str(study),
    }
    for number in numbers:
        paths["NEW"] = str(directory / f"new-{number}")
        arguments = line(random.Random(f"line {number}"), paths)
        yield number, " ".join(arguments)[:100], outcome(arguments)


KINDS: dict[str, Fuzz] = {"runs": runs, "studies": studies, "traces": traces, "lines": lines}


def faults(kind: str, numbers: range, directory: Path, counts: Counter[str]) -> list[str]:
    """What was found to be wrong, one text each; `counts` gets how many commands ended in each code."""
    found = []
    with chdir(directory):  # what a command writes stays there
        for number, how, each in KINDS[kind](numbers, directory):
            counts[f"exit code {each.code}"] += 1
            counts["slowest, s"] = max(counts["slowest, s"], round(each.seconds))
            if each.fault is not None:
                found.append(f"{kind} {number} ({how}): {' '.join(each.arguments)[:300]}\n  {each.fault}")
    return found


def _range(text: str) -> range:
    begin, colon, end = text.rpartition(":")
    return range(int(begin) if colon else 0, int(end))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=_range, default=range(0), metavar="[FIRST:]END")
    options = parser.parse_args()
    failed = False
    for kind in KINDS:
        numbers = getattr(options, kind)
        if not numbers:
            continue
        counts: Counter[str] = Counter()
        with tempfile.TemporaryDirectory() as directory:
            found = faults(kind, numbers, Path(directory), counts)
        for text in found:
            print(text)
        print(f"{kind} {numbers.start}:{numbers.stop}: {len(found)} faults; {dict(sorted(counts.items()))}", flush=True)
        failed |= bool(found)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
