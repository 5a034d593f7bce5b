"""Draw a part of the page of a run as a browser shows it: docs/images/h100.png and docs/images/host.png.

python docs/images/page.py RUN '[data-group=shares-text]' docs/images/h100.png --width 1000
python docs/images/page.py RUN '[data-group=text-latency]' docs/images/host.png --width 1100

Needs Chromium and playwright, and vl-convert as the page does.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from pyprof.records.run_directory import read
from pyprof.report.page.report import report_page


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("part", help="a selector of CSS")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=900)
    options = parser.parse_args()
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        path = Path(folder, "report.html")
        path.write_text(report_page([read(options.run)]), encoding="utf-8")
        browser = play.chromium.launch(executable_path=program, args=["--headless", "--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": options.width, "height": 1200}, color_scheme="light")
        page.goto(path.as_uri())
        part = page.locator(options.part)
        part.scroll_into_view_if_needed()
        while part.locator(".plot:not([data-drawn])").count():
            page.wait_for_timeout(100)
        # What opens by a click only says nothing in a picture.
        page.add_style_tag(content="details{display:none!important}")
        part.screenshot(path=str(options.picture))
        browser.close()


if __name__ == "__main__":
    main()
