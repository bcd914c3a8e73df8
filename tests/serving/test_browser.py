"""The page in Chromium, as a user sees and uses it: with the mouse, with the keyboard alone, on a phone, in the dark."""

from __future__ import annotations

import re

import numpy as np
import pytest
from browsing import PATIENCE, expect, options, settled

from lmgen.models.scoring import stream_nats

axe = pytest.importorskip("axe_playwright_python.sync_playwright")
served = pytest.importorskip("served", exc_type=ModuleNotFoundError)

WRITING = ["write", "surprise", "temperature", "memory", "units"]


# ---- writing ---------------------------------------------------------------------------------------------------------------


@pytest.mark.quick
def test_write(visit, models):
    """The page writes what the library writes with the same seed, and another seed writes something else."""
    page = visit("write")
    view = page.locator("#write")
    for name, value in {"Prompt": "ba", "Temperature": "0.8", "Top-p": "0.9", "Seed": "5", "Texts": "3"}.items():
        view.get_by_label(name, exact=True).fill(value)
    view.get_by_role("button", name="Write", exact=True).click()
    expect(view.get_by_role("status")).to_have_text("3 texts", timeout=PATIENCE)
    expected = [one.text for one in models["words"].sample(3, prompt="ba", seed=5, temperature=0.8, top_p=0.9, max_length=200)]
    texts = view.locator(".texts li .text")
    assert texts.all_text_contents() == expected
    view.get_by_role("button", name="Another seed").click()
    expect(view.get_by_label("Seed")).to_have_value("6")
    expect(texts.first).not_to_have_text(expected[0], timeout=PATIENCE)
    settled(page, "write")
    written = texts.first.text_content()
    view.get_by_role("button", name=f"Surprise of {written}").click()
    expect(page.locator("#surprise").get_by_label("Text", exact=True)).to_have_value(written)


def test_seeds_side_by_side(visit, models):
    page = visit("temperature")
    view = page.locator("#temperature")
    view.get_by_label("Prompt").fill("ba")
    view.get_by_label("First seed").fill("7")
    view.get_by_role("button", name="Write all").click()
    expect(view.get_by_text("16 texts")).to_be_visible(timeout=PATIENCE)
    for row, temperature in enumerate([0.3, 0.7, 1.0, 1.5]):
        cells = view.locator("tbody tr").nth(row).locator("td")
        expected = [models["words"].sample(1, prompt="ba", seed=7 + k, temperature=temperature)[0].text for k in range(4)]
        assert cells.all_text_contents() == expected


def test_temperature_shows_what_is_drawn_from(visit, models):
    lm = models["words"].lm
    page = visit("temperature")
    view = page.locator("#temperature")
    view.get_by_label("Prompt").fill("ba")
    expect(view.get_by_role("heading", name="The next symbol after “ba”")).to_be_visible(timeout=PATIENCE)
    logits = np.asarray(lm.read(lm.start(1), np.array([[0], *lm.vocab.encode("ba")[:, None]], np.int32))[1], np.float64)[-1, 0]
    logits[1] = -np.inf

    def shown():
        return [float(text.split()[0]) for text in view.locator(".bars .number").all_text_contents() if "<" not in text]

    for slider, temperature in ((0, 1.0), (-0.5, 0.32), (0.5, 3.16)):
        view.get_by_role("slider", name="Temperature").evaluate(
            "(e, value) => { e.value = value; e.dispatchEvent(new Event('input')) }", slider
        )
        p = np.exp((logits - logits.max()) / temperature)
        np.testing.assert_allclose(shown(), 100 * np.sort(p / p.sum())[::-1][: len(shown())], atol=0.06)
    view.get_by_role("slider", name="Top-p").press("Home")  # 0.05: only the likeliest is left
    assert shown()[0] == 100


# ---- surprise --------------------------------------------------------------------------------------------------------------


@pytest.mark.quick
def test_surprise_colours_a_text(visit, models):
    """Each symbol has the colour of its whole bits, unknown ones are marked, and what is in the corpus is underlined."""
    lm = models["words"].lm
    with open(lm.provenance.text.files[0], encoding="utf-8") as file:
        copy = file.readline().strip()
    page = visit("surprise")
    page.locator("#surprise").get_by_label("Text", exact=True).fill(f"{copy}\nx")
    expect(page.locator("#surprise .copied").first).to_be_visible(timeout=PATIENCE)
    bits = stream_nats(lm, np.array([0, *lm.vocab.encode(copy), 0, *lm.vocab.encode("x"), 0])) / np.log(2)
    classes = [one.split() for one in options(page, "surprise").evaluate_all("all => all.map((one) => one.className)")]
    assert [one[0] for one in classes] == [f"s{min(9, int(b))}" for b in bits]
    assert ["copied" in one for one in classes] == [True] * len(copy) + [False] * 3
    assert "unknown" in classes[-2]
    expect(page.locator("#surprise")).to_contain_text(f"{copy} is in the corpus")


def test_choose_an_alternative_and_write_on(visit):
    page = visit("surprise")
    view, text = page.locator("#surprise"), page.locator("#surprise").get_by_label("Text", exact=True)
    text.fill("bade")
    expect(options(page, "surprise")).to_have_count(5, timeout=PATIENCE)
    options(page, "surprise").nth(2).click()
    details = view.get_by_label("The chosen symbol")
    expect(details.get_by_text("The n-gram expected")).to_be_visible(timeout=PATIENCE)
    expect(details.locator(".big")).to_have_text("d")
    other = details.get_by_role("button").first
    symbol = other.text_content()
    other.click()
    expect(text).to_have_value(re.compile(f"^ba{symbol}"), timeout=PATIENCE)
    expect(options(page, "surprise").nth(2)).to_have_attribute("aria-selected", "true", timeout=PATIENCE)
    assert "".join(options(page, "surprise").all_text_contents()).removesuffix("⏎") == text.input_value()
    view.get_by_role("button", name="Back to your text").click()
    expect(text).to_have_value("bade")


@pytest.mark.parametrize("name", ["word", "word-punct"])
def test_words_keep_their_spaces(visit, name):
    """What is written on behind the alternative of a word is one space behind the word before it."""
    page = visit("surprise", name)
    text = page.locator("#surprise").get_by_label("Text", exact=True)
    for written, place, expected in (("re kimo", 1, "^re (?! )"), ("re kimo", 0, "^(?! )")):
        text.fill(written)
        settled(page, "surprise")
        expect(options(page, "surprise")).to_have_count(3, timeout=PATIENCE)
        options(page, "surprise").nth(place).click()
        expect(options(page, "surprise").nth(place)).to_have_attribute("aria-selected", "true", timeout=PATIENCE)
        button = page.get_by_label("The chosen symbol").get_by_role("button").first
        symbol = button.text_content().removeprefix("␣")
        button.click()
        expect(text).to_have_value(re.compile(expected + re.escape(symbol)), timeout=PATIENCE)
        settled(page, "surprise")


def test_text_of_a_user_is_never_markup(visit):
    hostile = "<img src=x onerror=alert(1)>"
    for view in ("surprise", "units"):
        page = visit(view, "deep")
        page.locator(f"#{view}").get_by_label("Text", exact=True).fill(hostile)
        expect(options(page, view).nth(len(hostile) - 1)).to_be_visible(timeout=PATIENCE)
        assert "".join(options(page, view).all_text_contents()).startswith(hostile)
        assert page.locator("main img").count() == 0


# ---- other kinds of models -------------------------------------------------------------------------------------------------


def test_blanks(visit, models):
    page = visit("blanks", "cloze")
    view = page.locator("#blanks")
    view.get_by_label("Text with blanks").fill("a_c")
    view.get_by_label("Fillings", exact=True).fill("4")
    view.get_by_role("button", name="Fill").click()
    found = view.locator("[data-fillings] .symbol")
    expect(found).to_have_count(4, timeout=PATIENCE)
    assert found.all_text_contents() == [one.text for one in models["cloze"].fill("a_c", 4)]


def test_an_error_is_a_sentence_on_the_page(visit):
    page = visit("blanks", "cloze", allow="400 (Bad Request)")
    view = page.locator("#blanks")
    view.get_by_label("Text with blanks").fill("abc")
    view.get_by_label("Text with blanks").press("Enter")
    expect(view.get_by_role("status")).to_contain_text("there is no blank in 'abc'", timeout=PATIENCE)


def test_labels_and_tags(visit, models):
    page = visit("labels", "classes")
    view = page.locator("#labels")
    view.get_by_label("Text", exact=True).fill("bade kimo")
    label, p = models["classes"].predict("bade kimo").labels[0]
    first = view.locator("[data-labels] li").first
    expect(first).to_have_text(re.compile(rf"{label}{100 * p:.1f} %"), timeout=PATIENCE)
    page.get_by_role("combobox", name="Model").select_option("tags")
    view.get_by_label("Text", exact=True).fill("bade kimo")
    tags = [tag for tag, _ in models["tags"].predict("bade kimo").tags]
    shown = [re.compile(f"^{word}{tag} ") for word, tag in zip(("bade", "kimo"), tags, strict=True)]
    expect(view.locator("[data-tags] li")).to_have_text(shown, timeout=PATIENCE)


def test_where_a_translation_looked(visit, models):
    one = models["pairs"].predict("bade then kimo")
    page = visit("pairs", "pairs")
    view = page.locator("#pairs")
    view.get_by_label("Source").fill("bade then kimo")
    view.get_by_role("button", name="Write").click()
    expect(view.locator("[data-result]")).to_have_text(one.text, timeout=PATIENCE)
    assert view.locator("thead th").all_text_contents() == ["bade", "then", "kimo"]
    assert view.locator("tbody th").all_text_contents() == [*one.symbols, "end"][: len(one.weights)]
    shown = [[text or "0" for text in row.locator("td").all_text_contents()] for row in view.locator("tbody tr").all()]
    np.testing.assert_allclose(np.array(shown, float), 100 * one.weights, atol=5.1)


@pytest.mark.quick
def test_each_model_has_its_views(visit):
    page = visit("memory")
    units = ["memory", "units"]
    wanted = {"words": WRITING, "cloze": ["surprise", "blanks", *units], "counts": WRITING[:3], "pairs": ["pairs", *units]}
    for name, views in wanted.items():
        page.get_by_role("combobox", name="Model").select_option(name)
        assert page.locator("nav a").evaluate_all("all => all.map((one) => one.hash.slice(1))") == views
        expect(page.locator("main section:visible")).to_have_count(1)
        settled(page, page.locator("main section:visible").get_attribute("id"))


def test_a_model_writes_by_the_label_that_is_chosen(visit, models):
    page = visit("surprise", "writer")
    status = page.locator("#surprise [role=status]").first
    page.locator("#surprise").get_by_label("Text", exact=True).fill("bade re")
    for label in ("kimo", "bade"):
        page.get_by_role("combobox", name="Label").select_option(label)
        lm = models["writer"].by(label).lm
        bits = stream_nats(lm, np.array([0, *lm.vocab.encode("bade re"), 0])).mean() / np.log(2)
        expect(status).to_contain_text(f"{bits:.2f} bits each", timeout=PATIENCE)


# ---- everyone can use it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_axe_finds_nothing_serious_and_nothing_is_cut_off(visit, width, scheme):
    page = visit(width=width, scheme=scheme)
    for name, views in {"words": WRITING, "cloze": ["blanks"], "tags": ["labels"], "pairs": ["pairs"]}.items():
        page.get_by_role("combobox", name="Model").select_option(name)
        for view in views:
            page.locator(f"nav a[href='#{view}']").click()
            if view in ("surprise", "units"):
                page.locator(f"#{view}").get_by_label("Text", exact=True).fill("bade kimo\nreresuno")
                options(page, view).nth(2).click()
            if view == "pairs":
                page.locator("#pairs").get_by_label("Source").fill("bade then kimo")
            settled(page, view)
            found = axe.Axe().run(page).response["violations"]
            assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view


def test_the_keyboard_alone(visit):
    """From the skip link to a written text, to its surprise, to an alternative."""
    page = visit()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the view")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("#write").get_by_label("Prompt")).to_be_focused()
    page.keyboard.type("ba")
    page.keyboard.press("Enter")
    expect(page.locator("#write [role=status]")).to_have_text("10 texts", timeout=PATIENCE)
    page.get_by_role("link", name="Surprise", exact=True).focus()
    page.keyboard.press("Enter")
    options(page, "surprise")
    settled(page, "surprise")
    page.locator("#surprise").get_by_label("Text", exact=True).focus()
    page.keyboard.press("Tab")
    for key in ("ArrowRight", "ArrowRight", "End", "Home", "ArrowRight"):
        page.keyboard.press(key)
    expect(options(page, "surprise").nth(1)).to_be_focused()
    page.keyboard.press("Tab")
    before = page.locator("#surprise").get_by_label("Text", exact=True).input_value()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_label("The chosen symbol").get_by_role("button").first).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#surprise").get_by_label("Text", exact=True)).not_to_have_value(before, timeout=PATIENCE)


def test_a_server_with_a_key_asks_for_it(visit, models):
    with served.running({"counts": models["counts"]}, served.Settings(key="s3cret")) as address:
        page = visit(at=address, allow="401 (Unauthorized)", wait="dialog")
        for key in ("wrong", "s3cret"):
            page.get_by_role("textbox", name="Key").fill(key)
            page.keyboard.press("Enter")
        expect(page.locator("#about")).to_contain_text("N-gram model", timeout=PATIENCE)
