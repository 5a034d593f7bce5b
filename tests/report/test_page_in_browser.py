"""The page in a browser: it draws, sorts and filters, asks the network for nothing, and can be read by everybody."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import synthetic_run as synthetic
from page_runs import write_run

from pyprof.records.run_directory import read
from pyprof.report.charts.theme import contrast
from pyprof.report.page.report import report_page

pytestmark = pytest.mark.slow
STORED = Path(__file__).parents[1] / "stored_runs"
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
# The colours of all texts that can be seen, with that of the nearest ground behind each.
COLOURS = """() => {
  const found = {};
  const ground = (element) => getComputedStyle(element).backgroundColor;
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest("script, style, option, .skip")) continue;
    let behind = element;
    while (behind && ground(behind) === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
    const style = getComputedStyle(element), front = element.closest("svg") ? style.fill : style.color;
    found[`${front} on ${ground(behind ?? document.body)}`] = element.textContent.trim().slice(0, 40);
  }
  return found;
}"""
UNNAMED = """() => [...document.querySelectorAll("input, select, button, [role=region], [role=img], [role=group]")]
  .filter((each) => !(each.getAttribute("aria-label") || each.labels?.length || each.textContent.trim()))
  .map((each) => each.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    play = pytest.importorskip("playwright.sync_api", reason="playwright, which drives the browser, is not installed")
    program = next(filter(None, map(shutil.which, (os.environ.get("CHROMIUM", ""), *NAMES))), None)
    if program is None:
        pytest.skip(f"there is no browser: none of {', '.join(NAMES)} is installed")
    with play.sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=program, args=FLAGS, headless=True)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of a stored run of an earlier schema, and one of a synthetic run with tipping points and layers."""
    folder = tmp_path_factory.mktemp("pages")
    with tarfile.open(STORED / "schema1.tgz") as archive:
        archive.extractall(folder, filter="data")
    stored, quick = read(folder / "fixed"), write_run(folder / "quick")
    failures = {key: each for key, each in stored.records.items() if each.status in ("error", "oom", "timeout")}
    (one,) = [key for key, each in stored.records.items() if each.status == "ok"][:1]
    shown = {
        "stored": [stored], "quick": [quick], "both": [stored, quick],
        "empty": [replace(stored, records={})], "failures": [replace(stored, records=failures)],
        "one": [replace(stored, records={one: stored.records[one]})],
    }  # fmt: skip
    assert failures
    for name, runs in shown.items():
        (folder / f"{name}.html").write_text(report_page(runs), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in shown}


class Watched:
    """A page with what it has said and asked for."""

    def __init__(self, browser: Any, path: Path, **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def wait(self, script: str, seconds: float = 60) -> Any:
        """What a script gives, as soon as that is something: the page's policy lets nothing be waited for inside it."""
        for _ in range(round(seconds * 20)):
            value = self.page.evaluate(script)
            if value:
                return value
            self.page.wait_for_timeout(50)
        raise AssertionError(f"in vain for {seconds} s: {script}")

    def drawn(self) -> int:
        """Wait until all charts are drawn; their number."""
        self.page.locator("#layers").scroll_into_view_if_needed()
        self.wait("[...document.querySelectorAll('.plot[data-chart]')].every((plot) => plot.dataset.drawn)")
        return int(self.page.locator(".plot[data-chart] svg").count())


@pytest.fixture
def opened(browser: Any, pages: dict[str, Path]) -> Iterator[Any]:
    every = []

    def open_page(name: str, **context: Any) -> Watched:
        every.append(Watched(browser, pages[name], **context))
        return every[-1]

    yield open_page
    for each in every:
        each.context.close()


@pytest.mark.parametrize("name", ["stored", "quick", "both"])
def test_all_charts_are_drawn_without_a_word_or_a_request(opened: Any, pages: dict[str, Path], name: str) -> None:
    watched = opened(name)
    assert watched.drawn() > 10
    marks = "[...document.querySelectorAll('.plot[data-chart]')].filter((plot) => !plot.querySelector('path, line'))"
    assert watched.page.evaluate(f"{marks}.map((plot) => plot.dataset.chart)") == []
    assert watched.said == []
    assert watched.asked == [pages[name].as_uri()]


@pytest.mark.parametrize("name", ["empty", "failures", "one"])
def test_a_page_of_little_says_so_and_works(opened: Any, name: str) -> None:
    watched = opened(name)
    count = watched.page.locator("#records tbody tr").count()
    assert (count == 0) == (name == "empty")
    assert watched.page.locator("#count").inner_text().startswith(f"{count} of {count} records")
    watched.page.locator("#records th").first.get_by_role("button").click()
    if name != "one":
        assert "Nothing was measured" in watched.page.locator("#answer").inner_text()
    assert watched.said == []


def test_nothing_can_be_asked_for_even_if_a_script_tried(opened: Any) -> None:
    watched = opened("quick")
    failed = watched.page.evaluate("fetch('https://example.org').then(() => 'loaded', () => 'refused')")
    assert failed == "refused"
    assert any("Content Security Policy" in said for said in watched.said)


def test_what_is_chosen_is_drawn(opened: Any) -> None:
    watched = opened("quick")
    watched.drawn()
    group = watched.page.locator("[data-group=shares-text]")
    plot = group.locator(".plot").first
    before = plot.inner_html()
    group.get_by_label("absolute").check()
    watched.wait("document.querySelector('[data-group=shares-text] .plot').dataset.drawn.startsWith('absolute|')")
    assert plot.inner_html() != before
    assert "time (" in plot.inner_text()
    costs = watched.page.locator("[data-group=text-latency]")
    costs.get_by_label("logarithmic").check()
    watched.wait("document.querySelector('[data-group=text-latency] .plot').dataset.drawn === 'logarithmic'")
    assert watched.said == []


def column(page: Any, name: str) -> list[str]:
    place = page.evaluate(
        "(name) => [...document.querySelectorAll('#records th')].findIndex((each) => each.dataset.column === name)",
        name,
    )
    texts: list[str] = page.locator(f"#records tbody td:nth-child({place + 1})").all_inner_texts()
    return [text.replace("layers", "").split("[")[0].strip() for text in texts]


def test_records_are_sorted_and_filtered(opened: Any) -> None:
    page = opened("quick").page
    total = len(list(synthetic.quick()))
    assert page.locator("#count").inner_text().startswith(f"{total} of {total} records")
    heading = page.locator("#records th[data-column=latency]")
    heading.get_by_role("button").click()
    values = [float(text.replace(",", "")) for text in column(page, "latency") if text != "–"]
    assert heading.get_attribute("aria-sort") == "ascending"
    assert values == sorted(values)
    assert len(values) > 10
    heading.get_by_role("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    values = [float(text.replace(",", "")) for text in column(page, "latency") if text != "–"]
    assert values == sorted(values, reverse=True)

    page.get_by_label("model", exact=True).select_option("swin")
    page.get_by_label("mode", exact=True).select_option("train")
    assert set(column(page, "model")) == {"swin"}
    assert set(column(page, "mode")) == {"train"}
    page.get_by_label("contains").fill("sdpa 640")
    cases = [each.case for each in synthetic.quick()]
    wanted = [case for case in cases if (case.model, case.mode, case.attention) == ("swin", "train", "sdpa")]
    wanted = [case for case in wanted if case.length == 640]
    assert page.locator("#records tbody tr").count() == len(wanted) > 0
    page.get_by_label("contains").fill("no such thing")
    assert page.locator("#count").inner_text().startswith(f"0 of {total}")
    page.get_by_role("button", name="Show all").click()
    assert page.locator("#count").inner_text().startswith(f"{total} of {total}")
    assert page.locator("#records tbody tr").count() == 50
    page.get_by_role("button", name="Show more").click()
    assert page.locator("#records tbody tr").count() == 100


def test_the_layers_of_a_record_are_shown_where_it_is_asked_for(opened: Any) -> None:
    watched = opened("quick")
    page = watched.page
    page.locator("#records").get_by_role("button", name="layers").nth(2).click()
    watched.wait("document.getElementById('tree').dataset.drawn")
    chosen = page.locator("#case option:checked").inner_text()
    assert page.locator("#tree-said").inner_text().startswith(chosen.partition(" (")[0])
    page.locator("#tree-table summary").click()
    watched.wait("document.querySelector('#tree-table tbody tr')")
    rows = page.locator("#tree-table tbody tr").count()
    data = json.loads(page.evaluate("document.getElementById('data').textContent"))["trees"]
    case = next(each for each in data["cases"] if chosen.startswith(each["label"]))
    assert rows == len(data["structures"][case["layers"]]["path"])
    timed = sum(time > 0 for time in case["forward_seconds"])
    assert page.locator("#tree svg .mark-rect.role-mark.cell path").count() == timed > 0
    assert watched.said == []


WIDTH = "document.activeElement.getBoundingClientRect().width"
LEVEL = "document.activeElement.getAttribute('aria-level')"


def test_the_layers_are_walked_and_widened_by_the_keyboard(opened: Any) -> None:
    watched = opened("quick")
    page = watched.page
    page.locator("#records").get_by_role("button", name="layers").nth(2).click()
    watched.wait("document.querySelector('#tree [role=tree]')")
    assert page.locator("#tree [tabindex='0']").count() == 1
    page.keyboard.press("Tab")
    assert page.evaluate(LEVEL) == "1"
    whole = page.evaluate(WIDTH)
    for key in ("ArrowDown", "ArrowRight", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    assert page.evaluate(LEVEL) == "4"
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert re.fullmatch(r"encoder\.0\.attention, self-attention, [\d.]+ ms, [\d.]+% of the step", label)
    assert page.locator("#tree .picked").inner_text() == label
    stroke, ink = page.evaluate(
        "[getComputedStyle(document.activeElement).stroke, getComputedStyle(document.body).color]"
    )
    assert stroke == ink
    narrow = page.evaluate(WIDTH)
    assert narrow < 0.9 * whole
    page.keyboard.press("Enter")
    watched.wait(f"{WIDTH} > {0.99 * whole}")
    page.keyboard.press("ArrowRight")
    watched.wait(f"{LEVEL} === '4' && {WIDTH} < {0.9 * whole}")
    page.keyboard.press("ArrowUp")
    page.keyboard.press(" ")
    watched.wait(f"{LEVEL} === '3' && {WIDTH} > {0.99 * whole}")
    page.keyboard.press("Escape")
    watched.wait(f"{WIDTH} < {0.99 * whole}")
    page.keyboard.press("Home")
    assert page.evaluate(LEVEL) == "1"
    assert page.locator("#tree [tabindex='0']").count() == 1
    assert watched.said == []


def test_the_times_of_a_device_are_shown_where_there_are_any(opened: Any) -> None:
    watched = opened("quick")
    page = watched.page
    page.get_by_label("contains").fill("hubert 600 eager infer")
    page.locator("#records").get_by_role("button", name="layers").first.click()
    watched.wait("document.getElementById('tree').dataset.drawn?.startsWith('hubert')")
    assert "the device worked" not in page.locator("#tree-said").inner_text()
    page.get_by_label("time of the").select_option("device")
    watched.wait("document.getElementById('tree').dataset.drawn.endsWith('on the device')")
    assert "the device worked for" in page.locator("#tree-said").inner_text()
    page.locator("#tree-table summary").click()
    assert "own device time" in page.locator("#tree-table thead").inner_text()
    page.locator("#case").select_option(label="bert eager infer 62 (cpu float32)")
    watched.wait("document.getElementById('tree').dataset.drawn.startsWith('bert')")
    assert not page.get_by_label("time of the").is_visible()
    assert watched.said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(opened: Any, scheme: str) -> None:
    watched = opened("stored", color_scheme=scheme)
    watched.drawn()
    for details in watched.page.locator("summary").all()[:3]:
        details.click()
    found = watched.page.evaluate(COLOURS)
    assert len(found) > 4

    def hexadecimal(colour: str) -> str:
        return "#" + "".join(f"{int(part):02x}" for part in re.findall(r"\d+", colour)[:3])

    for pair, text in found.items():
        front, behind = map(hexadecimal, pair.split(" on "))
        assert contrast(front, behind) >= 4.5, (pair, text)


def test_the_button_turns_the_colours_and_print_is_light(opened: Any) -> None:
    watched = opened("stored", color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert watched.page.evaluate(ground) == "rgb(255, 255, 255)"
    watched.page.get_by_role("button", name="Light or dark").click()
    dark = watched.page.evaluate(ground)
    assert dark != "rgb(255, 255, 255)"
    watched.page.emulate_media(media="print")
    assert watched.page.evaluate(ground) == "rgb(255, 255, 255)"


def test_every_picture_has_words_and_every_control_a_label(opened: Any) -> None:
    watched = opened("stored")
    watched.drawn()
    assert watched.page.evaluate(UNNAMED) == []
    pictures = watched.page.evaluate("[...document.querySelectorAll('.plot')].map((each) => each.ariaLabel)")
    assert min(map(len, pictures)) > 20
    assert not [each for each in pictures if "Vega" in each]
    tables = (
        "[...document.querySelectorAll('table')].every((table) => table.caption && table.querySelector('th[scope]'))"
    )
    assert watched.page.evaluate(tables)
    assert watched.page.evaluate("document.documentElement.lang") == "en"


def test_nothing_is_cut_off_on_paper(opened: Any) -> None:
    watched = opened("quick", viewport={"width": 794, "height": 1123})  # A4
    watched.drawn()
    watched.page.emulate_media(media="print")
    watched.wait("document.documentElement.scrollWidth <= 794", seconds=5)
    assert not watched.page.locator("#filters").is_visible()


def test_a_phone_shows_what_the_answer_is(opened: Any) -> None:
    """The first mode's column of the answer's table can be seen without scrolling."""
    watched = opened("quick", viewport={"width": 390, "height": 844})
    head = "document.querySelectorAll('#answer .card thead th')[2].getBoundingClientRect()"
    assert watched.page.evaluate(f"{head}.right") <= 390


@pytest.mark.parametrize("name", ["stored", "quick"])
def test_a_small_screen_scrolls_down_only(opened: Any, name: str) -> None:
    watched = opened(name, viewport={"width": 360, "height": 740})
    watched.drawn()
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= 360
    cut = "[...document.querySelectorAll('.plot svg')].filter((svg) => svg.getBoundingClientRect().right > 361).length"
    assert watched.page.evaluate(cut) == 0


def test_the_keyboard_reaches_everything(opened: Any) -> None:
    page = opened("quick").page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.tagName"))
    assert {"BUTTON", "A", "DIV", "SUMMARY"} <= seen
