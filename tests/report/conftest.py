"""Pages in a real browser, and stores whose reports it opens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.takeaway.stores import finished
from unlearn_ray.storage.store import Store, open_store

READY = "html[data-state=ready]"


@dataclass
class Seen:
    """A page in the browser, and all that it did beside what it shows.

    Attributes:
        page: the page.
        requests: addresses of everything it asked for, except what is in it.
        errors: errors of scripts, and whatever was written to the console.
    """

    page: Page
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def note_request(self, url: str) -> None:
        if not url.startswith(("data:", "blob:")):
            self.requests.append(url)


Opened = Callable[..., AbstractContextManager[Seen]]


@pytest.fixture(scope="module")
def opened(browser: Browser) -> Opened:
    """Opens a file or an address, and waits until its figures are drawn."""

    @contextmanager
    def open_page(
        where: Path | str, *, width: int = 1440, dark: bool = False, ready: str = READY
    ) -> Iterator[Seen]:
        page = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
        )
        seen = Seen(page)
        page.on("request", lambda request: seen.note_request(request.url))
        page.on("console", lambda told: seen.errors.append(f"{told.type}: {told.text}"))
        page.on("pageerror", lambda error: seen.errors.append(f"{error}"))
        page.goto(where.as_uri() if isinstance(where, Path) else where)
        page.wait_for_selector(ready, state="attached")
        try:
            yield seen
        finally:
            page.close()

    return open_page


@pytest.fixture(scope="session")
def sevens(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A finished sweep of two studies that search nothing."""
    folder = tmp_path_factory.mktemp("sevens")
    finished(folder)
    return open_store(str(folder / "store"))
