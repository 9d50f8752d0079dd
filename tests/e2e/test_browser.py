"""The leaderboard in a real browser: it sorts, filters and opens, asks the network for nothing, and runs no record.

Driven by Playwright on whatever Chromium the machine has; skipped, saying so, where there is none.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page, sync_playwright

from metabench.bench.leaderboard.report import report_command
from metabench.bench.recipes.recipe import digest
from metabench.bench.records.schema import file_name, sealed
from tests.support.synthetic import control_record, record, speed_record, write

RESULTS = Path(__file__).resolve().parents[2] / "results"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
EVIL = "<img src=x onerror=\"document.title='evil'\"></script><script>document.title='evil'</script>"
GIF = bytes.fromhex("47494638396101000100800000000000ffffff2c00000000010001000002024401003b")  # one pixel


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine; Debian's is `apt-get install chromium`")
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        except Error as error:
            pytest.skip(f"{path} does not start: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of both worlds, one of them with text that would like to run, a GIF, a speed record, a broken record."""
    folder = tmp_path_factory.mktemp("results")
    shutil.copy(RESULTS / "published.yaml", folder)
    evil = record("anil", mean=0.96)
    evil["provenance"] |= {"command": EVIL, "device": EVIL, "commit": "<b>", "packages": {EVIL: EVIL}}
    evil["protocol"]["norm"] = EVIL
    evil["recipe"]["dataset"] = "own"  # of no recipe here, so that its command is shown as it was typed
    evil["recipe_digest"] = digest(evil["recipe"])
    good = record("protonet", mean=0.98, spread=0.01)
    write(
        folder,
        *(record(seed=s, mean=0.95 + s / 100) for s in range(2)),
        good,
        evil,
        record("maml-fo", "mini-imagenet-5w1s", diverged=True),
        *(control_record("maml", "cheetah-dir", seed=s) for s in range(3)),
        control_record("anil", "cheetah-dir", means=(0.0, 380.0)),
        control_record("oracle", "cheetah-dir-2019", means=(600.0,)),
    )
    (folder / "records" / "speed.json").write_text(json.dumps(sealed(speed_record(EVIL[:190]))))
    (folder / "records" / f"{EVIL.replace('/', '_')}.json").write_text("{")
    (folder / "figures").mkdir()
    (folder / "figures" / file_name(good).replace(".json", ".gif")).write_bytes(GIF)
    assert report_command(["--results", str(folder)]) == 1
    return folder


class Watched:
    """A page, what it asked for and what it complained of."""

    def __init__(self, browser: Browser, file: Path, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page: Page = self.context.new_page()
        self.asked: list[str] = []
        self.said: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.goto(file.as_uri())
        self.home = file.as_uri()

    def close(self) -> None:
        """Nothing was asked of anyone, nothing went wrong, nothing of a record ran."""
        title = self.page.title()
        self.context.close()
        assert [url for url in self.asked if url != self.home and not url.startswith("data:image/gif")] == []
        assert self.said == []
        assert title == "metabench leaderboard"


@pytest.fixture
def watched(chromium: Browser, results: Path) -> Iterator[Watched]:
    page = Watched(chromium, results / "leaderboard.html", viewport={"width": 1280, "height": 900})
    yield page
    page.close()


def column(page: Page, place: int) -> list[str]:
    """The texts of a column, of the rows that are shown."""
    cells = page.locator(f"table.rows > tbody:not([hidden]) > tr:first-child > td:nth-child({place})")
    return [" ".join(text.split()) for text in cells.all_inner_texts()]


def test_a_column_is_sorted_up_and_down_and_rows_without_a_value_stay_last(watched: Watched) -> None:
    page = watched.page
    heading = page.locator("table.rows thead th", has_text="ours")
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert [v.split(" ")[0] for v in column(page, 3)] == [
        "95.50", "96.00", "98.00", "160.00", "380.00", "600.00", "diverged",
    ]  # fmt: skip
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert [v.split(" ")[0] for v in column(page, 3)][::6] == ["600.00", "diverged"]
    page.locator("table.rows thead").get_by_role("button", name="algorithm").click()
    assert heading.get_attribute("aria-sort") is None
    assert column(page, 1) == sorted(column(page, 1))


def test_filters_and_search_narrow_the_rows(watched: Watched) -> None:
    page = watched.page
    page.get_by_label("world").select_option("control")
    assert sorted(set(column(page, 2))) == ["cheetah-dir", "cheetah-dir-2019"]
    assert page.get_by_role("status").inner_text() == "3 of 7 rows"
    page.get_by_label("algorithm").select_option("anil")
    assert column(page, 1) == ["anil"]
    page.get_by_label("verdict").select_option("below")
    assert page.get_by_role("status").inner_text() == "0 of 7 rows"
    for name in ("world", "algorithm", "verdict"):
        page.get_by_label(name).select_option("")
    page.get_by_label("search").fill("Snell")
    assert column(page, 1) == ["protonet"]


def test_a_row_opens_to_its_protocol_curves_and_provenance(watched: Watched) -> None:
    page = watched.page
    button = page.locator("tbody[data-algorithm=protonet] .open")
    detail = page.locator(f"#{button.get_attribute('aria-controls')}")
    assert not detail.is_visible()
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    assert detail.get_by_role("img", name="Adaptation curve").is_visible()
    assert detail.get_by_role("row", name="backbone conv4-64 conv4-64").is_visible()
    assert "metabench run protonet omniglot-5w1s --seed 0 --threads 1" in detail.inner_text()
    moving = detail.get_by_role("img", name="Adaptation to a test task, seed 0")
    assert moving.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
    button.click()
    assert not detail.is_visible()
    page.locator(".matrix a", has_text="380.00").click()
    assert page.locator("tbody[data-algorithm=anil][data-world=control] .detail").is_visible()


def test_nothing_in_a_record_runs(watched: Watched) -> None:
    page = watched.page
    for button in page.locator(".open").all():
        button.click()
    shown = page.locator("tbody[data-algorithm=anil][data-world=images] .detail").inner_text()
    assert shown.count("document.title='evil'") == 2 * 5  # command, device, one package, the protocol's norm, twice
    assert page.locator("img[src=x], script:not([type]):not(main ~ script), b").count() == 0
    assert "<img src=x onerror=" in page.locator("li code").inner_text()


def test_the_policy_stops_a_script_that_gets_in(chromium: Browser, results: Path) -> None:
    """Were a text ever to slip through unescaped, the browser would still not run it."""
    broken = results / "broken.html"
    broken.write_text(
        (results / "leaderboard.html").read_text().replace("<h1>", EVIL.replace("</script>", "", 1) + "<h1>")
    )
    page = Watched(chromium, broken)
    assert page.page.locator("img[src=x]").count() == 1
    assert page.page.title() == "metabench leaderboard"
    assert len([said for said in page.said if "Content Security Policy" in said]) >= 2
    page.context.close()


FOCUSED = "(e => e.name || e.className || e.textContent)(document.activeElement)"


def test_everything_is_reached_with_the_keyboard(watched: Watched) -> None:
    page = watched.page
    reached: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "document.activeElement.name || document.activeElement.className || document.activeElement.textContent"
            )
        )
        if reached[-1] == "open":
            break
    assert {"world", "algorithm", "verdict", "benchmark", "ours", "published", "schedule"} <= set(reached)
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.locator(".detail:not([hidden])").count() == 1
    page.keyboard.press("Space")
    assert page.locator(".detail:not([hidden])").count() == 0


CONTRAST = """() => {  // of text and page, as WCAG 2 defines it
  const bright = colour => {
    const linear = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const [r, g, b] = colour.match(/[\\d.]+/g).map(v => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const back = bright(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll('h1, p, td, th, a, button, .verdict, .legend li, figcaption')].map(e => {
    const fore = bright(getComputedStyle(e).color);
    return (Math.max(fore, back) + .05) / (Math.min(fore, back) + .05);
  });
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_and_is_readable_in_both_themes_and_widths(
    chromium: Browser, results: Path, theme: Any, width: int
) -> None:
    page = Watched(chromium, results / "leaderboard.html", viewport={"width": width, "height": 800}, color_scheme=theme)
    for button in page.page.locator(".open").all():
        button.click()
    assert page.page.evaluate("document.documentElement.scrollWidth") == width
    back = page.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert back == ("rgb(255, 255, 255)" if theme == "light" else "rgb(21, 23, 28)")
    assert min(page.page.evaluate(CONTRAST)) >= 4.5
    boxes = [svg.bounding_box() for svg in page.page.locator("svg").all()]
    assert len(boxes) > 20
    assert all(box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
    page.close()


def test_the_committed_page_opens_without_a_complaint(chromium: Browser) -> None:
    page = Watched(chromium, RESULTS / "leaderboard.html", viewport={"width": 1280, "height": 900})
    for button in page.page.locator(".open").all():
        button.click()
    assert page.page.locator("tbody .detail:not([hidden])").count() == page.page.locator(".open").count() > 0
    page.close()
