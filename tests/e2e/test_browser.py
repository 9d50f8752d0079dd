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
from playwright.sync_api import Browser, Error, Locator, Page, sync_playwright

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
        assert [url for url in self.asked if url != self.home and not url.startswith("data:image/webp")] == []
        assert self.said == []
        assert title == "metabench leaderboard"


@pytest.fixture
def watched(chromium: Browser, results: Path) -> Iterator[Watched]:
    page = Watched(chromium, results / "leaderboard.html", viewport={"width": 1280, "height": 900})
    yield page
    page.close()


ROWS = "table.rows > tbody:not([hidden])"


def column(page: Page, place: int) -> list[str]:
    """The texts of a column, of the rows that are shown."""
    cells = page.locator(f"{ROWS} > tr:first-child > :nth-child({place})")
    return [" ".join(text.split()) for text in cells.all_inner_texts()]


def row(page: Page, id: str) -> Locator:
    """A row with what it opens to."""
    return page.locator(f"[id='{id}']")


def test_scores_are_sorted_within_their_world_and_rows_without_one_stay_last(watched: Watched) -> None:
    page = watched.page
    heading = page.locator("table.rows > thead th", has_text="ours")
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    run = [v.split(" ")[0] for v in column(page, 3) if not v.startswith("not run")]
    assert run == ["95.50", "96.00", "98.00", "diverged", "160.00", "380.00", "600.00"]
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    run = [v.split(" ")[0] for v in column(page, 3) if not v.startswith("not run")]
    assert run == ["98.00", "96.00", "95.50", "diverged", "600.00", "380.00", "160.00"]
    page.locator("table.rows > thead").get_by_role("button", name="gap").click()
    assert heading.get_attribute("aria-sort") is None
    page.get_by_label("world").select_option("images")
    gaps = [float(v.replace("−", "-")) for v in column(page, 5) if v]
    assert gaps == sorted(gaps)
    assert len(gaps) == 2  # of what was compared
    page.locator("table.rows > thead").get_by_role("button", name="algorithm").click()
    assert column(page, 1) == sorted(column(page, 1))


def test_filters_and_a_search_for_several_words_narrow_the_rows(watched: Watched) -> None:
    page = watched.page
    status = page.get_by_role("status")
    everything = status.inner_text()
    assert everything.split(" of ")[0] == everything.split(" of ")[1].removesuffix(" rows")
    page.get_by_label("verdict").select_option("no published number")
    page.get_by_label("world").select_option("control")
    assert column(page, 2) == ["cheetah-dir-2019"]
    page.get_by_label("verdict").select_option("")
    page.get_by_label("benchmark").select_option("cheetah-dir")
    assert column(page, 1) == ["maml", "anil"]
    page.get_by_label("algorithm").select_option("oracle")
    assert status.inner_text().startswith("0 of ")
    for name in ("world", "benchmark", "algorithm", "verdict"):
        page.get_by_label(name).select_option("")
    page.get_by_label("search").fill("5w1s  omniglot snell")
    assert column(page, 1) == ["protonet"]
    page.get_by_label("search").fill("")
    assert status.inner_text() == everything


def test_a_row_opens_to_its_protocol_curves_and_provenance(watched: Watched) -> None:
    page, found = watched.page, row(watched.page, "protonet/omniglot-5w1s")
    detail = found.locator("details > div")
    assert not detail.is_visible()
    found.locator("summary").click()
    assert detail.get_by_role("row", name="backbone conv4-64 conv4-64").is_visible()
    assert "metabench run protonet omniglot-5w1s --seed 0 --threads 1" in detail.inner_text()
    found.locator("summary").click()
    assert not detail.is_visible()
    moving = page.get_by_role("img", name="Adaptation to a test task, protonet omniglot-5w1s")
    assert moving.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1


def test_a_link_or_an_address_opens_its_row_whatever_is_filtered(watched: Watched) -> None:
    page = watched.page
    page.get_by_label("search").fill("nothing of the kind")
    page.locator(".matrix a", has_text="380.00").click()
    assert row(page, "anil/cheetah-dir").locator("details > div").is_visible()
    assert page.url.endswith("#anil/cheetah-dir")
    row(page, "anil/cheetah-dir").locator("summary").click()
    page.locator(".matrix a", has_text="380.00").click()  # no other address, and open again
    assert row(page, "anil/cheetah-dir").locator("details > div").is_visible()
    page.goto(watched.home + "#oracle/cheetah-dir-2019")
    page.reload()
    assert row(page, "oracle/cheetah-dir-2019").locator("details > div").is_visible()
    page.goto(watched.home + "#no/such-row")
    watched.asked.clear()


def test_it_can_be_read_without_its_script(chromium: Browser, results: Path) -> None:
    page = Watched(chromium, results / "leaderboard.html", java_script_enabled=False)
    assert not page.page.get_by_label("search").is_visible()
    found = row(page.page, "protonet/omniglot-5w1s")
    assert "98.00 ± 0.06" in found.inner_text()
    found.locator("summary").click()
    assert found.get_by_text("metabench run protonet omniglot-5w1s").is_visible()
    page.close()


def test_nothing_in_a_record_runs(watched: Watched) -> None:
    page = watched.page
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    shown = row(page, "anil/omniglot-5w1s").locator("details > div").inner_text()
    assert shown.count("document.title='evil'") == 2 * 5  # command, device, one package, the protocol's norm, twice
    assert page.locator("img[src=x], script:not(main ~ script), th b, td b, li b").count() == 0
    assert "<img src=x onerror=" in page.locator("#set-aside li code").inner_text()


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


def test_everything_is_reached_with_the_keyboard(watched: Watched) -> None:
    page = watched.page
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the results"
    assert page.locator(":focus").bounding_box()["x"] >= 0  # type: ignore[index]
    page.keyboard.press("Enter")
    reached: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("(e => e.name || e.localName + ' ' + e.textContent)(document.activeElement)"))
        if reached[-1].startswith("summary"):
            break
    wanted = {"world", "benchmark", "algorithm", "word", "search", "button ours", "button gap", "button verdict"}
    assert wanted <= set(reached)
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.locator(".rows details[open]").count() == 1
    page.keyboard.press("Space")
    assert page.locator(".rows details[open]").count() == 0


CONTRAST = """() => {  // of text and page, as WCAG 2 defines it
  const bright = colour => {
    const linear = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const [r, g, b] = colour.match(/[\\d.]+/g).map(v => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const back = bright(getComputedStyle(document.body).backgroundColor);
  const shown = 'h1, p, td, th, a, button, small, summary, .sign, .verdict, li, figcaption';
  return [...document.querySelectorAll(shown)].map(e => {
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
    page.page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    assert page.page.evaluate("document.documentElement.scrollWidth") == width
    back = page.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert back == ("rgb(255, 255, 255)" if theme == "light" else "rgb(21, 23, 28)")
    assert min(page.page.evaluate(CONTRAST)) >= 4.5
    boxes = [svg.bounding_box() for svg in page.page.locator("svg").all()]
    assert len(boxes) == 5
    assert all(box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
    page.close()


def test_the_committed_page_opens_without_a_complaint_and_is_no_large_file(chromium: Browser) -> None:
    assert (RESULTS / "leaderboard.html").stat().st_size < 1_000_000
    page = Watched(chromium, RESULTS / "leaderboard.html", viewport={"width": 1280, "height": 900})
    page.page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    run = page.page.locator(".rows > tbody:not([data-word='not run'])").count()
    assert page.page.locator("details[open] h4:text('Provenance')").count() == run > 0
    page.close()
