"""A comparison in a notebook, opened in a browser without a network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.results.rows import frame, replicated_sweep
from unlearn_ray.reporting.notebook import notebook_html, numbers
from unlearn_ray.reporting.render import plain_text
from unlearn_ray.reporting.table import comparison

AWAY = {"original": 10.0, "finetune": 4.0, "neggrad": 0.0}
HOSTILE = "<script>document.title = 'taken'</script>"


def test_the_table_sorts_without_a_network(tmp_path: Path, browser: Browser) -> None:
    table = comparison(frame(replicated_sweep(5, AWAY)).assign(dataset=HOSTILE))
    page_file = tmp_path / "cell.html"
    page_file.write_text(f"<!doctype html><title>cell</title>{notebook_html(table)}")
    errors: list[str] = []
    asked: list[str] = []
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(30_000)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_file.as_uri())
    rows = page.locator("table.dataTable tbody tr td:first-child")
    rows.first.wait_for()
    assert rows.all_inner_texts() == ["retrain", "original", "finetune", "neggrad"]
    page.locator("th", has_text="Avg. Gap (pp)").locator(".dt-column-order").click()
    # The retrained model has no gap.
    expect(rows).to_have_text(["retrain", "neggrad", "finetune", "original"])
    assert page.title() == "cell"
    assert HOSTILE in page.inner_text("body")
    page.get_by_text("As text, with its footnotes").click()
    assert "Rank: 1 + the methods that are significantly nearer" in page.inner_text("pre")
    assert errors == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_its_numbers_are_the_tables() -> None:
    table = comparison(frame(replicated_sweep(5, AWAY)))
    found = numbers(table).set_index("Method")
    for line in plain_text(table).splitlines():
        if line.startswith("finetune  ") and "±" in line:
            cells = line.split()
            gap = float(cells[4].strip("()"))
            assert [float(cells[1]), float(cells[3]), gap] == list(
                found.loc["finetune", ["RA", "RA ±", "RA gap"]]
            )
            break
    else:
        raise AssertionError("no line of finetune")
    assert found["Rank"].isna().to_dict()["retrain"]
    assert found.loc["neggrad", "Rank"] == 1


def test_without_itables_it_is_the_text() -> None:
    program = """\
import sys
sys.modules["itables"] = None
from tests.results.rows import frame, replicated_sweep
from unlearn_ray.reporting.notebook import notebook_html
from unlearn_ray.reporting.table import comparison
text = notebook_html(comparison(frame(replicated_sweep(2, {"finetune": 1.0}))))
assert text.startswith("<pre>small: digits") and text.endswith("</pre>"), text
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
