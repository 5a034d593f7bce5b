"""From a fresh clone to the end of `make test`, and of `make study`: how long, installing all that is needed."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import Bar, Figures, note, parser, publish

METHOD = """\
The repository as committed is cloned into an empty directory. `make test` and `make study` run there, each in a clone
of its own, so that both install and build everything anew. Wall time, once.
"""
ROOT = Path(__file__).parents[1]


def make(target: str, directory: Path) -> tuple[float, str]:
    subprocess.run(["git", "clone", "-q", str(ROOT), str(directory)], check=True)
    begin = time.monotonic()
    done = subprocess.run(["make", target], cwd=directory, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"make {target} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return (time.monotonic() - begin) / 60, done.stdout


def main() -> int:
    options = parser(METHOD)
    options.add_argument("--targets", default="test,study", help="a,b (default: test,study)")
    chosen = options.parse_args()
    promised = {"test": 12.0, "study": 18.0}
    rows, bars = [], []
    with tempfile.TemporaryDirectory() as directory:
        for target in chosen.targets.split(","):
            note(f"make {target} ...")
            minutes, output = make(target, Path(directory, target))
            rows.append((f"make {target}", minutes))
            bars.append(Bar(f"fresh clone to the end of make {target}", minutes, "min", promised[target]))
            suite = re.search(r"passed.* in ([\d.]+)s", output)
            if suite:
                bars.append(Bar("the default suite itself", float(suite[1]) / 60, "min", 4.0))
    return publish(METHOD, [Figures("wall time", ("command", "minutes"), rows)], bars, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
