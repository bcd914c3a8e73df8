"""Draw docs/page.png and docs/exported.png: train a network on the cities for a minute, serve and export it, and take pictures of
both pages in Chromium.

    python benchmarks/page.py

needs the extras serve and browser, and Chromium (LMGEN_CHROMIUM names it, where it is not called chromium).
"""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import serve
from playwright.sync_api import Browser, Page, sync_playwright

import lmgen

DOCS = Path(__file__).resolve().parent.parent / "docs"
PICTURE, EXPORTED = DOCS / "page.png", DOCS / "exported.png"
TEXT = "Saint-Denis\nKrasnoyarsk\nNew Qork"
SIZE = {"width": 900, "height": 1010}
MOST = 200_000  # bytes


def surprise(page: Page) -> None:
    """The surprise of each symbol, and the alternatives of a surprising one."""
    page.locator("#surprise [name=text]").fill(TEXT)
    page.locator("#surprise .copied").first.wait_for()
    page.locator("#surprise [role=option]").nth(TEXT.index("Q")).click()


def memory(page: Page) -> None:
    """The memory cells of the second layer."""
    page.locator("#memory [name=text]").fill(TEXT)
    page.locator("#memory [name=layer]").select_option(index=1)
    page.get_by_role("radio", name="c", exact=True).check()
    page.get_by_label("Units in the order of their peaks").check()
    page.get_by_text(f"{len(TEXT)} symbols").wait_for()
    page.locator("#memory [role=application]").focus()
    for key in ["ArrowRight"] * TEXT.index("Q") + ["PageDown"] * 4:
        page.keyboard.press(key)


def pictures(browser: Browser, address: str) -> Iterator[bytes]:
    """The views, one in the light and one in the dark."""
    for view, scheme in ((surprise, "light"), (memory, "dark")):
        page = browser.new_page(viewport=SIZE, color_scheme=scheme)
        page.goto(f"http://{address}/#{view.__name__}")
        page.locator("nav a").first.wait_for()
        view(page)
        page.wait_for_timeout(500)
        page.evaluate("document.activeElement.blur()")
        yield page.screenshot()


def exported(browser: Browser, page: Path) -> bytes:
    """Texts that an exported page wrote, and the alternatives of a symbol."""
    tab = browser.new_page(viewport={"width": SIZE["width"], "height": 640})
    tab.goto(page.as_uri())
    tab.get_by_label("Begin with").fill("San ")
    tab.get_by_label("Texts").fill("3")
    tab.get_by_role("button", name="Write").click()
    tab.get_by_text("Wrote").wait_for()
    tab.locator(".results .symbol").nth(4).click()
    return tab.screenshot(full_page=True)


def main() -> None:
    chromium = os.environ.get("LMGEN_CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        options = {"layers": 2, "size": 96, "embedding": 48, "budget": 60}
        model = lmgen.train("cities", output=Path(folder, "cities"), **options)
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        EXPORTED.write_bytes(exported(browser, model.export(Path(folder, "cities.html"))))
        with serve.server(Path(folder), "cities") as address:
            shown = "".join(
                f"<img src='data:image/png;base64,{base64.b64encode(one).decode()}'>" for one in pictures(browser, address)
            )
        both = browser.new_page(viewport={"width": 2 * SIZE["width"], "height": SIZE["height"]})
        both.set_content(f"<body style='margin:0;display:flex'>{shown}")
        both.wait_for_timeout(500)
        PICTURE.write_bytes(both.screenshot())
        browser.close()
    for picture in (PICTURE, EXPORTED):
        size = picture.stat().st_size
        print(f"{picture}: {size:,} bytes")
        assert size <= MOST


if __name__ == "__main__":
    main()
