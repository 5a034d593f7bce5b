"""The site of docs/: strict, so that every link leads somewhere, and whole, so that a reader needs no network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOADS = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "object": "data",
}

pytestmark = pytest.mark.slow


class Loads(HTMLParser):
    """The addresses that a page loads without being asked."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag in LOADS and given.get(LOADS[tag]) and given.get("rel") not in ("canonical", "prev", "next"):
            self.addresses.append(given[LOADS[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(directory)]
    # Behind proxies that lead nowhere: what asked the network would fail.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **nowhere})
    assert done.returncode == 0, done.stderr
    return directory


def test_a_page_loads_nothing_that_is_not_on_the_site(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        addresses = Loads(page).addresses
        assert addresses
        for address in addresses:
            assert not re.match(r"(\w+:)?//", address), f"{page.name} loads {address}"
            if page.name != "404.html" and not address.startswith("data:"):
                assert (page.parent / address.partition("?")[0]).is_file(), f"{page.name} loads {address}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"@import|url\(\s*['\"]?(https?:)?//", sheet.read_text()), sheet.name


def test_pages_of_the_root_lead_to_those_of_docs_and_back(site):
    home = (site / "index.html").read_text()
    assert 'href="first-five-minutes.html"' in home
    assert 'href="contributing.html#add-a-device"' in home
    assert "docs/" not in re.sub(r"<code>.*?</code>", "", "".join(re.findall(r'(?:href|src)="[^"]*"', home)))
    assert 'href="contributing.html#the-rooms"' in (site / "architecture.html").read_text()
    assert 'href="changes.html"' in (site / "runs.html").read_text()


def test_what_is_no_page_is_not_on_the_site(site):
    assert not list(site.rglob("*.py"))
    assert (site / "images" / "report.svg").is_file()
