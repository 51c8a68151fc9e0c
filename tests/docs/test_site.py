"""The site is built strictly; its links and anchors exist; its pages ask nothing of other hosts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from playwright.sync_api import Browser

from tests.docs.pages import DOCS, ROOT

CONFIG = ROOT / "mkdocs.yml"
# Attributes that a browser loads by itself, and elements whose links are only for readers.
LOADED = {
    ("img", "src"),
    ("script", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("object", "data"),
}
LINKS_LOADED = {"stylesheet", "icon", "preload", "prefetch", "modulepreload", "manifest"}


class Page(HTMLParser):
    """What a page links to, loads, and can be linked to by."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect an element's attributes."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and set(given.get("rel", "").split()) & LINKS_LOADED:
            self.loaded.append(given["href"])
        self.loaded += [given[name] for element, name in LOADED if element == tag and name in given]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    program = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        program, cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def html_pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


def configured() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    return read


def listed(nav: Any) -> Iterator[str]:
    """The files of a navigation."""
    if isinstance(nav, str):
        yield nav
    else:
        for each in nav.values() if isinstance(nav, dict) else nav:
            yield from listed(each)


def test_every_page_has_its_place_in_the_navigation() -> None:
    found = [str(path.relative_to(DOCS)) for path in sorted(DOCS.rglob("*.md"))]
    named = [*listed(configured()["nav"])]
    assert sorted(named) == sorted(set(named)), "a page is twice in `nav` of mkdocs.yml"
    for page in found:
        assert page in named, f"add docs/{page} to a section of `nav` in mkdocs.yml"
    for page in named:
        assert page in found, f"`nav` in mkdocs.yml names docs/{page}, which is not there"


def test_links_and_anchors_exist(site: Path) -> None:
    pages = html_pages(site)
    assert len(pages) > 10
    count = 0
    for path, page in pages.items():
        for link in (*page.links, *page.loaded):
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            target = target / "index.html" if target.is_dir() else target
            if path.name == "404.html":  # it is served from any place, and links from the root
                target = site / unquote(url.path).lstrip("/")
            assert target.exists(), f"{path.name}: {link}: there is no such file"
            if url.fragment and target in pages:
                assert unquote(url.fragment) in pages[target].anchors, f"{path.name}: {link}"
            count += 1
    assert count > 500


def test_links_to_others_are_for_readers_alone(site: Path) -> None:
    for path, page in html_pages(site).items():
        for link in page.loaded:
            assert not urlsplit(link).netloc, f"{path.name} loads {link}"
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"url\([\"']?(https?:)?//|@import", text), path.name


def test_lists_are_lists(site: Path) -> None:
    """Markdown of the site wants a blank line before a list; that of other viewers does not."""
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        found = re.search(r"<p>[^<]*\n(?:- |\* |\d\. )[^<]*", text)
        assert found is None, f"{path.name}: put a blank line before the list: {found[0]}"


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the site is served."""
    handler = partial(_Quiet, directory=str(site))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


def test_in_a_browser_it_asks_this_host_alone_and_can_be_searched(
    site: Path, address: str, browser: Browser
) -> None:
    asked: list[str] = []
    problems: list[str] = []
    page = browser.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: problems.append(f"{error}"))
    page.on(
        "console",
        lambda message: problems.append(message.text) if message.type == "error" else None,
    )
    for path in sorted(site.glob("*.html")):
        page.goto(f"{address}/{path.name}")
    page.goto(f"{address}/index.html")
    page.keyboard.press("/")
    page.keyboard.type("noise floor")
    page.wait_for_selector(".md-search-result__item a[href*='evidence.html']")
    assert problems == []
    assert {urlsplit(url).netloc for url in asked if not url.startswith("data:")} == {
        urlsplit(address).netloc
    }
