"""Draw docs/images/report.svg: a part of the report of a run directory, as `pyprof report` prints it in a terminal.

python docs/images/report.py RUN [--modality speech] [--mode infer] [--width 110] > docs/images/report.svg
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from pyprof.records import run_directory
from pyprof.report import terminal
from pyprof.report.run import view_of
from pyprof.report.view import View

# What the reader's machine has: an image on a web page can load no font.
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def part_of(view: View, whole: View, modality: str) -> View:
    """The latencies of one modality: where time goes and from which length each variant costs less."""
    [part] = [part for part in view.modalities if part.name == modality]
    part = replace(
        part,
        tables=tuple(table for table in part.tables if table.metric == "latency"),
        share_lines=(),
        tipping=tuple(line for line in part.tipping if line.metric == "latency"),
        axis=None,
        models=(),
    )
    return replace(whole, modalities=(part,), omitted=(), notes=(), quiet=None)


def main() -> None:
    """Write the picture to standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--modality", default="speech")
    parser.add_argument("--mode", default="infer")
    parser.add_argument("--width", type=int, default=110)
    options = parser.parse_args()
    run = run_directory.read(options.run)
    records = {key: record for key, record in run.records.items() if record.case.mode == options.mode}
    view = part_of(view_of(replace(run, records=records)), view_of(run), options.modality)
    console = Console(
        record=True, width=options.width, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    terminal.write(view, console)
    picture = re.sub(r"@font-face {.*?}", "", console.export_svg(title=f"pyprof report {options.run}"), flags=re.DOTALL)
    picture = picture.replace("font-family: Fira Code, monospace", f"font-family: {FONTS}")
    sys.stdout.write("\n".join(line.rstrip() for line in picture.splitlines() if line.strip()) + "\n")


if __name__ == "__main__":
    main()
