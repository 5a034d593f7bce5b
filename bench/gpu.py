"""Everything on the machine's GPU within a few minutes: build, tests, overhead, attention, profiles, a study."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from gpu_bars import Found, bars

ROOT = Path(__file__).resolve().parents[1]
METHOD = """\
Builds the CUDA part for the card that is there, in place, and runs against it what needs a GPU: the profiling overhead,
profiles with and without a CUDA graph, the seven models against other measurements, the tests, the attention bench, on
a Hopper the checks and times of its attention kernels, and a study of three modalities; then tells of each bar whether
it is reached (bench/gpu_bars.py). Nothing is installed and nothing is downloaded: it runs with the packages of the
Python that starts it. Each part has a limit of its own, and all of them together --seconds, of which the later parts
are kept what they need at least; what fails or does not fit is said, and the others go on. Writes
bench/results/CARD.md and CARD.json after each part, to be committed.
"""
# How long the parts may take at most, in seconds.
LIMITS = {
    "build": 180,
    "callback": 60,
    "profile": 30,
    "profile, batch 32": 30,
    "profile, train": 30,
    "profile, graph": 30,
    "overhead": 40,
    "models": 170,
    "tests": 90,
    "attention": 50,
    "hopper": 100,
    "study": 80,
}
# What is kept for a part, of the time of those before it.
KEPT = {
    "callback": 30,
    "profile": 20,
    "profile, batch 32": 15,
    "profile, train": 15,
    "profile, graph": 15,
    "overhead": 25,
    "models": 65,
    "tests": 30,
    "attention": 25,
    "hopper": 15,
    "study": 45,
}
# What stands in a command for the seconds that its part has, less what it takes to begin and to end.
LEFT, AROUND = "{left}", 25
LEAST = 10


@dataclass
class Part:
    """One part: its command, how it ended, and what it wrote."""

    name: str
    command: list[str]
    status: str = "left out"
    seconds: float = 0.0
    output: str = field(default="", repr=False)
    document: object = None


def parts(python: str, work: Path, architecture: str = "9.0") -> list[Part]:
    """What is run, in this order. A part with --json leaves a document; one is of Hopper alone."""
    pyprof = [python, "-P", "-m", "pyprof"]
    on_card = ["--device", "cuda"]
    study = ["study", "quick", *on_card, "--time-budget", f"{LEFT} s", "--models", "bert,longformer,vit,swin"]
    study[-1] += ",hubert,l-hubert"
    bert = ["profile", "bert", *on_card, "--length", "512", "--seconds", "6", "--json"]
    models = ["bench/gpu_models.py", "--device", "cuda", "--seconds", LEFT, "--json"]
    overhead = ["overhead", "bert", *on_card, "--length", "512", "--mode", "infer", "--seconds", "10"]
    peers = "auto,sdpa,flash,dense-flash,dense-cudnn"
    attention = ["attention", *on_card, "--impls", peers, "--windows", "16,128", "--seconds", "1"]
    every = [
        Part("build", [python, "setup.py", "-q", "build_ext", "--inplace"]),
        Part("callback", [python, "bench/launch_callback.py", "--json"]),
        Part("profile", [*pyprof, *bert]),
        Part("profile, batch 32", [*pyprof, *bert, "--batch", "32"]),
        Part("profile, train", [*pyprof, *bert, "--mode", "train", "--batch", "8"]),
        Part("profile, graph", [*pyprof, *bert, "--launch", "graph"]),
        Part("overhead", [*pyprof, *overhead, "--tools", "pyprof,hooks,record_function", "--json"]),
        Part("models", [python, *models]),
        Part("tests", [python, "-P", "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *gpu_tests()]),
        Part("attention", [*pyprof, *attention, "--json"]),
        Part("hopper", [python, "bench/hopper.py", "--seconds", "0.05", "--json"]),
        Part("study", [*pyprof, *study, "-o", str(work / "run"), "--json"]),
    ]
    return [part for part in every if part.name != "hopper" or architecture == "9.0"]


def gpu_tests() -> list[str]:
    """The files with tests for a GPU: all others would be imported too, with packages that may not be there."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file.relative_to(ROOT)) for file in files if "mark.gpu" in file.read_text()]


def in_place(folder: Path) -> dict[str, str]:
    """The environment in which the sources are the package, as an installation would have it."""
    package = folder / "pyprof"
    package.mkdir(parents=True)
    for path in (ROOT / "pyprof").iterdir():
        if path.name != "models":
            (package / path.name).symlink_to(path)
    (package / "models").symlink_to(ROOT / "models")
    return {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def run(part: Part, seconds: float, environ: dict[str, str]) -> None:
    """Run a part for at most so long; what it printed by then is kept."""
    begin = time.monotonic()
    limit = min(seconds, LIMITS[part.name])
    if limit < LEAST:
        return
    command = [word.replace(LEFT, f"{max(limit - AROUND, 1):.0f}") for word in part.command]
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as said:
        try:
            process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **environ}, stdout=printed, stderr=said, start_new_session=True
            )
        except OSError as error:
            part.status = f"cannot be started ({error.strerror})"
            return
        try:
            code = process.wait(limit)
            part.status = "ok" if code == 0 else f"exit code {code}"
        except subprocess.TimeoutExpired:
            part.status = f"not done within {limit:.0f} s"
        finally:
            end_group(process)
        for file in (printed, said):
            file.seek(0)
        part.output, text = said.read(), printed.read()
    part.document = parsed(text)
    if part.document is None:
        part.output = text + part.output
    part.seconds = time.monotonic() - begin


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a part that still runs, with all that it has started: compilers, measuring processes."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def parsed(text: str) -> object:
    """The JSON document of an output; None where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def card() -> tuple[str, str]:
    """The name of the machine's card and its architecture ("9.0"); ends the program where there is none.

    A process of its own asks, so that this one holds nothing of the card while the parts run.
    """
    asking = "import torch; print(torch.cuda.get_device_name(), *torch.cuda.get_device_capability(), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", asking], capture_output=True, text=True)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise SystemExit(f"there is no CUDA device that this PyTorch can use ({reason}): run this where there is one")
    name, major, minor = done.stdout.splitlines()[-3:]
    return name, f"{major}.{minor}"


def markdown(name: str, every: Sequence[Part]) -> str:
    """The table of the parts, and the last lines of those that failed."""
    import torch

    lines = [f"# {name}", "", f"torch {torch.__version__}, CUDA {torch.version.cuda}, Python {sys.version.split()[0]}"]
    lines += ["", "| part | | seconds | |", "|---|---|---:|---|"]
    lines += [f"| {part.name} | {part.status} | {part.seconds:.0f} | {told(part)} |" for part in every]
    lines += ["", "| bar | promised | | figure |", "|---|---|---|---|"]
    lines += [f"| {bar.name} | {bar.bar} | {bar.verdict} | {bar.figure} |" for bar in found(every)]
    for part in every:
        if part.status != "ok" and part.output:
            lines += ["", f"## {part.name}", "", *(f"    {line}" for line in part.output.strip().splitlines()[-15:])]
    return "\n".join(lines) + "\n"


def found(every: Sequence[Part]) -> list[Found]:
    """What became of each bar."""
    return bars({part.name: part.document for part in every if isinstance(part.document, dict)})


def told(part: Part) -> str:
    """The figure of a part in a few words, none where it printed something else."""
    try:
        return _told(part)
    except (KeyError, TypeError, IndexError, ValueError, AttributeError):
        return ""


def _told(part: Part) -> str:
    document = part.document
    if part.name == "tests":
        return next((line for line in reversed(part.output.splitlines()) if " passed" in line or " failed" in line), "")
    if not isinstance(document, dict):
        return ""
    if "plain" in document and document["plain"] is not None:
        plain = document["plain"]
        ratio = plain["ratio"]
        return f"a step takes {1e3 * plain['step']['value']:.3g} ms; looking {100 * (ratio['value'] - 1):+.2g} %"
    if "modes" in document:
        rows = document["modes"][0]["rows"]
        ratios = [(row["tool"], row["ratio"]) for row in rows if row["ratio"]]
        return ", ".join(f"{tool} {100 * (ratio['value'] - 1):+.2g} %" for tool, ratio in ratios)
    if "rows" in document:
        failed = sum(row.get("reason") is not None for row in document["rows"])
        return f"{len(document['rows'])} measurements, {failed} without a figure"
    if "contests" in document:
        return f"{len(document['contests'])} problems"
    if "figures" in document:
        return f"{sum(bar['holds'] for bar in document['bars'])} of {len(document['bars'])} bars hold"
    return f"{sum(document['counts'].values())} cases" if "counts" in document else ""


def write(folder: Path, name: str, every: Sequence[Part]) -> Path:
    """Write what is known by now; returns the path of both files, without their endings."""
    file = folder / re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    file.with_suffix(".md").write_text(markdown(name, every))
    judged = [{**asdict(bar), "verdict": bar.verdict} for bar in found(every)]
    plain = {"card": name, "bars": judged, "parts": [{**asdict(part), "output": part.output[-4000:]} for part in every]}
    file.with_suffix(".json").write_text(json.dumps(plain, indent=1) + "\n")
    return file


def main() -> int:
    options = argparse.ArgumentParser(description=METHOD, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=470.0, help="for everything together (default: 470)")
    options.add_argument("--results", type=Path, default=ROOT / "bench" / "results", help="where the results go")
    chosen = options.parse_args()
    end = time.monotonic() + chosen.seconds
    name, architecture = card()
    work = ROOT / "build" / "gpu"
    shutil.rmtree(work, ignore_errors=True)
    every = parts(sys.executable, work, architecture)
    chosen.results.mkdir(parents=True, exist_ok=True)
    build = {"PYPROF_CUDA": "1", "TORCH_CUDA_ARCH_LIST": architecture}
    environ: dict[str, str] = {}
    for place, part in enumerate(every):
        print(f"{part.name} ...", file=sys.stderr, flush=True)
        kept = sum(KEPT.get(later.name, 0) for later in every[place + 1 :])
        run(part, end - time.monotonic() - kept, build if part.name == "build" else environ)
        print(f"  {part.status}, {part.seconds:.0f} s {told(part)}", file=sys.stderr, flush=True)
        if part.name == "build":
            if part.status != "ok":
                # What needs no CUDA part still tells what it can, and the others say why they cannot.
                print(part.output[-3000:], file=sys.stderr)
            environ = in_place(work / "package")
        file = write(chosen.results, name, every)
    print(f"written: {file}.md and .json", file=sys.stderr)
    return 0 if all(part.status == "ok" for part in every) else 3


if __name__ == "__main__":
    sys.exit(main())
