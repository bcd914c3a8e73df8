"""The page of an explained text: one file that fetches nothing, runs its own script alone, and is used by pointer and by keys."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmgen.pages.document import asset, document
from lmgen.pages.explained import MOST, Page, differences, verdict
from lmgen.pages.surprise import EOS, in_text, level, named, visible

HOSTILE = '</script><script>x()</script><img src=http://h/ onerror="x()">&amp;\u202e\x00\ud800\u2028`\'"'


def symbol(text: str, nats: float = 1.0, **more) -> dict:
    guesses = [{"symbol": text, "probability": math.exp(-nats)}, {"symbol": "<q>", "probability": 0.01}]
    one = {"symbol": text, "before": "", "known": True, "copied": None, "probability": math.exp(-nats), "nats": nats, "rank": 1}
    return {**one, "alternatives": guesses, "ngram": {"nats": 2.0, "rank": 2, "alternatives": guesses}, **more}


def explained(*symbols: str, nats: float = 1.0) -> dict:
    text = "".join(symbols)
    return {
        "text": text,
        "nats": nats * len(symbols),
        "symbols": [*(symbol(s, nats) for s in symbols), symbol("", 0.5)],
        "copies": [],
    }


def page(*texts: dict, model: str = "m", below: str = "") -> str:
    made = Page(model)
    for text in texts:
        made.add(text)
    return "".join(made.written(99, "nats", below))


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text within each kind."""

    def __init__(self, content: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.texts: dict[str, str] = {}
        self.open = ""
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.open = tag

    def handle_endtag(self, tag):
        self.open = ""

    def handle_data(self, data):
        self.texts[self.open] = self.texts.get(self.open, "") + data


# ---- the scale and the symbols -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "step"),
    [(0, 0), (0.99, 0), (1.01, 1), (5.5, 5), (8.99, 8), (9.01, 9), (40, 9), (math.inf, 9), (math.nan, 9), (-1e-9, 0)],
)
def test_a_level_is_the_whole_bits_up_to_nine(bits, step):
    assert level(bits * math.log(2)) == step
    assert f".s{step} {{" in asset("base.css")


def test_symbols_that_are_not_seen_are_named():
    assert visible("a b\t\n\x1b[0m\u202eé中") == "a b⇥↵␛[0m⟨U+202E⟩é中"
    assert [named(s) for s in ("", " ", " a", "\u0301", "\xa0", "\ud800")] == [EOS, "␣", "␣a", "◌\u0301", "⟨U+00A0⟩", "⟨U+D800⟩"]
    assert in_text("a\n\nb") == "a↵\n↵\nb"


@given(st.text(st.characters(categories=["L", "M", "N", "P", "S", "Z", "C", "Cs"]), max_size=20))
@settings(deadline=None)
def test_whatever_a_text_holds_it_is_seen_and_can_be_encoded(text):
    for shown in (visible(text), named(text)):
        assert shown.isprintable()
        shown.encode()


# ---- the file ----------------------------------------------------------------------------------------------------------


def test_a_page_fetches_nothing_and_its_policy_allows_its_own_script_and_style_alone():
    found = Elements(page(explained("a", "b")))
    policy = next(attrs["content"] for tag, attrs in found.found if attrs.get("http-equiv") == "Content-Security-Policy")
    for name, tag in (("style-src", "style"), ("script-src", None)):
        content = found.texts["style"] if tag else asset("explained.js")
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert not [attrs for _, attrs in found.found if {"src", "href", "style"} & attrs.keys()]
    assert not [attrs for _, attrs in found.found if any(name.startswith("on") for name in attrs)]
    assert not re.findall(r"url\(|@import|https?:", found.texts["style"] + asset("explained.js"))


def test_no_text_becomes_markup():
    """In symbols, alternatives, lines of the corpus, between symbols, in the model's name and in the parts of two texts."""
    one = symbol(HOSTILE, 3.0, before=HOSTILE, copied=0, alternatives=[{"symbol": HOSTILE + "2", "probability": 0.5}])
    text = {"text": HOSTILE, "nats": 3.0, "symbols": [one], "copies": [{"text": HOSTILE, "line": HOSTILE, "start": 0}]}
    parts = {
        "likelier": 0,
        "difference": 1.0,
        "parts": [{"same": False, "texts": [HOSTILE, ""], "symbols": [9, 0], "nats": [1.0, 2.0], "difference": 1.0}],
    }
    hostile = Elements(page(text, model=HOSTILE, below=differences(parts)))
    tame = Elements(page({**text, "symbols": [{**one, "symbol": "a", "before": ""}]}, below=differences(parts)))
    assert [tag for tag, _ in hostile.found] == [tag for tag, _ in tame.found]
    assert all(
        {*attrs} <= {"class", "role", "dir", "aria-label"}
        for tag, attrs in hostile.found
        if tag in ("span", "bdi", "p") and "id" not in attrs
    )
    data = json.loads(re.search(r'id="data">(.*?)</script>', page(text, model=HOSTILE), re.S)[1])
    assert visible(HOSTILE) in data["lines"]
    assert named(HOSTILE) in data["names"]


def test_a_page_holds_so_many_symbols_and_says_so():
    made = Page("m")
    made.add({"text": "", "symbols": [symbol("a")] * (MOST - 1), "copies": []})
    assert not made.full
    made.add({"text": "", "symbols": [symbol("b")] * 9, "copies": []})
    assert made.full
    written = "".join(made.written(99))
    assert f"The first {MOST:,} symbols" in written
    assert written.count('<span role="option"') == MOST
    assert '">b</span>' in written


def test_the_sentence_on_two_texts():
    assert verdict({"likelier": 0, "difference": math.log(3)}) == "A is likelier, 3 times (1.10 nats)"
    assert verdict({"likelier": 0, "difference": math.log(12_345)}) == "A is likelier, 12,300 times (9.42 nats)"
    assert verdict({"likelier": 1, "difference": -50.0}) == "B is likelier, e^50.0 times (50.00 nats)"
    assert verdict({"likelier": None, "difference": 0.0}) == "A and B are equally likely"


def test_a_page_without_a_script_allows_none():
    assert "script" not in "".join(document("t", ["<p>x</p>"], "p {}"))


# ---- in a browser ------------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(browser, tmp_path):
    """A function that opens a page, and fails where its script does or where the policy refuses something."""
    messages: list[str] = []

    def open_(content: str, width: int = 800, scheme: str = "light"):
        (tmp_path / "page.html").write_text(content, "utf-8")
        tab = browser.new_page(viewport={"width": width, "height": 700}, color_scheme=scheme)
        tab.on("console", lambda message: messages.append(message.text))
        tab.on("pageerror", lambda error: messages.append(str(error)))
        tab.goto((tmp_path / "page.html").as_uri())
        return tab

    yield open_
    assert messages == []


def test_the_keys_and_the_pointer_choose_a_symbol(opened):
    copied = {**explained("x", "y", nats=3.0), "copies": [{"text": "x", "line": "xylophone", "start": 0}]}
    copied["symbols"][0]["copied"] = 0
    tab = opened(page(explained(*"abc"), copied))
    tab.keyboard.press("Tab")
    assert tab.inner_text("#details h2") == "a"
    for key, shown in (
        ("ArrowRight", "b"),
        ("ArrowDown", "y"),
        ("ArrowUp", "b"),
        ("End", EOS),
        ("ArrowRight", EOS),
        ("Home", "a"),
    ):
        tab.keyboard.press(key)
        assert tab.inner_text("#details h2") == shown
    assert "1.00 nats, 1.44 bits, rank 1 of 99" in tab.inner_text("#details")
    active = tab.get_attribute("#text", "aria-activedescendant")
    assert tab.get_attribute(f"#{active}", "aria-label") == "a, 37 %, rank 1"
    tab.locator("#text span", has_text="x").click()
    assert "xylophone" in tab.inner_text("#details")
    assert [tab.inner_text(f"caption >> nth={k}") for k in (0, 1)] == ["Model: 5.0 %, rank 1", "N-gram: 14 %, rank 2"]
    assert tab.locator("[aria-selected=true]").count() == 1


def test_hostile_text_is_text_in_a_browser(opened):
    tab = opened(page(explained(*HOSTILE), model=HOSTILE))
    assert visible(HOSTILE).replace("\n", "") in tab.inner_text("#text").replace("\n", "")
    tab.focus("#text")
    for character in HOSTILE[:12]:
        assert tab.inner_text("#details h2") == named(character)
        tab.keyboard.press("ArrowRight")
    assert tab.locator("img").count() == 0
    assert tab.locator("script").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_nothing_is_wider_than_a_telephone(opened, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    words = [explained(*"the quick brown fox jumps over the lazy dog ", nats=nats) for nats in range(8)]
    parts = {
        "likelier": 0,
        "difference": 1.0,
        "parts": [{"same": True, "texts": ["a" * 60] * 2, "symbols": [60, 60], "nats": [1.0, 2.0], "difference": 1.0}],
    }
    tab = opened(page(*words, below=differences(parts)), 360, scheme)
    tab.focus("#text")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    assert [violation["id"] for violation in axe.Axe().run(tab).response["violations"]] == []
