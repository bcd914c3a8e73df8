"""What tests of the page in a browser share: how long they wait, for what, and the symbols of a text."""

from __future__ import annotations

import pytest

expect = pytest.importorskip("playwright.sync_api").expect
PATIENCE = 15_000  # milliseconds: a program may be compiled first


def settled(page, view):
    """Wait until a view has its answers."""
    for status in page.locator(f"#{view} [role=status]").all():
        expect(status).not_to_have_text("computing …", timeout=PATIENCE)


def options(page, view):
    """The symbols of a view's text."""
    found = page.locator(f"#{view} [role=option]")
    found.first.wait_for()
    return found
