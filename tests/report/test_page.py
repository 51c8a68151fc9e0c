"""The page in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.report.conftest import Opened, Seen
from tests.report.stores import TEN, synthetic
from unlearn_ray.report.contents import drawn
from unlearn_ray.report.evidence import sweep_evidence
from unlearn_ray.report.page import page
from unlearn_ray.storage.store import Store, open_store

MOST_BYTES = 2_000_000


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of 10 studies of 50 trials."""
    folder = tmp_path_factory.mktemp("large")
    store = open_store(str(folder / "store"))
    synthetic(store, TEN, trials=50, replicates=5)
    store.compact()
    path = folder / "report.html"
    path.write_text(page(sweep_evidence(store, "small")), encoding="utf-8")
    return path


@pytest.fixture
def small(sevens: Store, tmp_path: Path) -> Path:
    """The report of a finished sweep of two studies."""
    path = tmp_path / "report.html"
    path.write_text(page(sweep_evidence(sevens)), encoding="utf-8")
    return path


def overflow(seen: Seen) -> int:
    width: int = seen.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return width


def test_ten_studies_of_fifty_trials_fit(large: Path) -> None:
    assert large.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_every_figure_is_drawn_and_nothing_is_asked_for(
    large: Path, opened: Opened, width: int, dark: bool
) -> None:
    with opened(large, width=width, dark=dark) as seen:
        assert seen.requests == [large.as_uri()]
        assert seen.errors == []
        assert overflow(seen) <= 0
        charts = seen.page.locator(".chart")
        assert charts.count() >= 10
        for number in range(charts.count()):
            chart = charts.nth(number)
            assert chart.get_attribute("data-state") == "drawn"
            box = chart.locator("svg").bounding_box()
            assert box is not None
            assert box["width"] > 100
            assert box["height"] > 30
            assert chart.locator("svg path, svg line, svg text").count() > 10


def test_what_a_page_says_without_figures(large: Path, opened: Opened) -> None:
    with opened(large) as seen:
        told = seen.page.inner_text("#verdict")
        assert "At the level of 5 %" in told
        assert "N = 5 retrained models of each split (seeds 2, 3)" in told
        assert "boundary_expanding" in seen.page.inner_text(".verdicts .v-2")
        failed = seen.page.inner_text("#trials")
        assert "loss is NaN at iteration" in failed
        seen.page.click("text=Stopped early")
        assert "learning_rate=" in seen.page.inner_text("#trials details")
        assert "batch_size=" not in seen.page.inner_text("#trials details")
        assert "name: x" in seen.page.inner_text("#file")
        assert "torch" in seen.page.inner_text("#provenance")


def column(seen: Seen, number: int) -> list[str]:
    cells = seen.page.locator("#table table").first.locator(f"tbody tr > :nth-child({number})")
    return [text.strip() for text in cells.all_inner_texts()]


def test_tables_are_sorted_by_click(large: Path, opened: Opened) -> None:
    with opened(large) as seen:
        header = seen.page.locator("#table table").first.locator("thead th").nth(3)
        given = column(seen, 4)
        header.locator("button").click()
        assert header.get_attribute("aria-sort") == "ascending"
        numbers = [float(text.split()[0]) for text in column(seen, 4)]
        assert numbers == sorted(numbers)
        header.locator("button").click()
        assert header.get_attribute("aria-sort") == "descending"
        numbers = [float(text.split()[0]) for text in column(seen, 4)]
        assert numbers == sorted(numbers, reverse=True)
        assert sorted(column(seen, 4)) == sorted(given)


def test_tables_are_sorted_by_keyboard(large: Path, opened: Opened) -> None:
    with opened(large) as seen:
        headers = seen.page.locator("#table table").first.locator("thead th")
        seen.page.locator("#table .scroll").first.focus()
        seen.page.keyboard.press("Tab")  # Method
        seen.page.keyboard.press("Tab")  # Rank
        seen.page.keyboard.press("Enter")
        assert headers.nth(1).get_attribute("aria-sort") == "ascending"
        ranks = column(seen, 2)
        known = [int(text.rstrip("=")) for text in ranks if text != "-"]
        assert known == sorted(known)
        assert ranks[-2:] == ["-", "-"]  # the reference models have none
        seen.page.keyboard.press("Tab")
        seen.page.keyboard.press("Space")
        assert headers.nth(1).get_attribute("aria-sort") == "none"
        assert headers.nth(2).get_attribute("aria-sort") == "ascending"


def test_a_screen_reader_finds_its_way(small: Path, opened: Opened) -> None:
    with opened(small) as seen:
        assert seen.page.locator("html").get_attribute("lang") == "en"
        for landmark in ("main", "nav[aria-label]", "header"):
            assert seen.page.locator(landmark).count() == 1
        assert seen.page.locator("h1").count() == 1
        for table in seen.page.locator("main table").all():
            assert table.locator("caption").inner_text() or not table.is_visible()
            assert table.locator("thead th:not([scope=col])").count() == 0
            assert table.locator("tbody tr > :first-child:not(th[scope=row])").count() == 0
        for anchor in seen.page.locator("nav a").all():
            assert seen.page.locator(f"{anchor.get_attribute('href')}").count() == 1
        ids: list[str] = seen.page.evaluate(
            "[...document.querySelectorAll('main [id]:not(svg *)')].map(one => one.id)"
        )
        assert len(ids) == len(set(ids))
        named: list[str] = seen.page.evaluate(
            "[...document.querySelectorAll('[aria-labelledby]')].map(one =>"
            " one.getAttribute('aria-labelledby'))"
        )
        assert named
        assert set(named) <= set(ids)
        for figure in seen.page.locator("figure").all():
            told = figure.locator("[role=graphics-document]").get_attribute("aria-label") or ""
            assert figure.locator("h3").inner_text() in told
        seen.page.keyboard.press("Tab")
        assert seen.page.evaluate("document.activeElement.textContent") == "Skip to the verdict"


def luminance(colour: str) -> float:
    red, green, blue = (int(each) / 255 for each in re.findall(r"\d+", colour)[:3])
    parts = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)
    ]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_text_is_readable_by_day_and_by_night(small: Path, opened: Opened, dark: bool) -> None:
    with opened(small, dark=dark) as seen:
        paper = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (luminance(paper) < 0.05) == dark
        for what in ("body", ".muted", "figcaption", "nav a", "summary", ".save"):
            ink = seen.page.evaluate(f"getComputedStyle(document.querySelector('{what}')).color")
            assert contrast(ink, paper) >= 4.5, what
        label = ".chart svg text"
        ink = seen.page.evaluate(f"getComputedStyle(document.querySelector('{label}')).fill")
        assert contrast(ink, paper) >= 4.5


def test_print_is_black_on_white(small: Path, opened: Opened) -> None:
    with opened(small, dark=True) as seen:
        seen.page.emulate_media(media="print", color_scheme="dark")
        style = "getComputedStyle(document.body)"
        assert seen.page.evaluate(f"{style}.backgroundColor") == "rgb(255, 255, 255)"
        assert seen.page.evaluate(f"{style}.color") == "rgb(0, 0, 0)"
        assert not seen.page.locator("nav").is_visible()
        assert len(seen.page.pdf()) > 10_000


def test_a_figure_is_saved_as_svg(small: Path, opened: Opened) -> None:
    with opened(small) as seen:
        with seen.page.expect_download() as download:
            seen.page.locator(".save").first.click()
        saved = Path(download.value.path()).read_text(encoding="utf-8")
        assert saved.startswith("<svg")
        assert seen.errors == []


def test_no_code_but_its_own_runs(small: Path, opened: Opened) -> None:
    with opened(small) as seen:
        injected = "const added = document.createElement('script');"
        injected += "added.textContent = 'window.ran = true'; document.body.append(added)"
        seen.page.evaluate(f"() => {{ {injected} }}")
        assert seen.page.evaluate("window.ran") is None
        assert [one for one in seen.errors if "violates" in one and "script-src" in one]
        policy = seen.page.locator("meta[http-equiv]").get_attribute("content") or ""
        assert "default-src 'none'; script-src 'sha256-" in policy
        assert "unsafe" not in policy


def test_figures_have_names_of_their_own(sevens: Store) -> None:
    figures = [one for _, several in drawn(sweep_evidence(sevens)) for one in several]
    names = [figure.name for figure in figures]
    assert len(names) == len(set(names)) > 0
    for figure in figures:
        assert re.fullmatch("[a-z0-9-]+", figure.name)
        assert figure.title
        assert len(figure.caption) > 20
