"""The page in a browser, as someone uses it: by mouse and by keyboard, wide and narrow, with symbols that would break it."""

from __future__ import annotations

import math
from itertools import islice

import pytest
from exports import BYTES, drawn

from lmgen.data.vocab import Vocab
from lmgen.evaluation.scores import scores
from lmgen.exporting import table
from lmgen.generation import sampling
from lmgen.generation.sampling import Settings

HOSTILE = Vocab(
    "word",
    (
        *("</script>", "<!--<script>", "<img/src=x/onerror=alert(1)>", "\u202eabc", "\0\x1b[2J"),
        *("&lt;", "\ud800", "a\u2028b", "${x}`", "'\"\\"),
    ),
)


@pytest.fixture
def opened(browser, tmp_path):
    """A function that opens the page of a model from its file, without a network; afterwards it must have asked for nothing else
    and have thrown no error."""
    contexts, wrong = [], []

    def open_(lm, width=1000, scheme="light", **settings):
        path = tmp_path / "page.html"
        path.write_bytes(table.contents(lm, "html", **settings)[""])
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: request.url.startswith(path.as_uri()) or wrong.append(request.url))
        page.goto(path.as_uri())
        return page

    open_.wrong = wrong
    yield open_
    for context in contexts:
        context.close()
    assert not wrong


def write(page, count=3, seed=5, prompt=""):
    """Write texts, as a user does; returns them."""
    page.get_by_label("Begin with").fill(prompt)
    page.get_by_label("Texts").fill(str(count))
    page.get_by_label("Seed", exact=True).fill(str(seed))
    page.get_by_role("button", name="Write").click()
    page.get_by_text("Wrote").wait_for()
    return texts(page)


def nats_of(page):
    return float(page.locator("#read [role=status]").text_content().split()[0])


def texts(page):
    return [text.removesuffix("\n").removesuffix("end") for text in page.locator(".results .text").all_text_contents()]


@pytest.mark.quick
def test_a_seed_writes_what_lmgen_writes(opened):
    lm = drawn("language", cell="gru")
    page = opened(lm)
    for prompt in ("", "ab"):
        expected = [one.text for one in islice(sampling.samples(lm, Settings(), 5, prompt), 3)]
        assert write(page, prompt=prompt) == expected
    page.get_by_role("button", name="New seed").click()
    assert page.get_by_label("Seed", exact=True).input_value() != "5"


def test_symbols_are_coloured_by_their_bits(opened):
    lm = drawn("language")
    page = opened(lm)
    page.locator("#read textarea").fill("bad cab\nzz")
    page.get_by_text("bits a symbol").wait_for()
    expected = [*(one for line in scores(lm, ["bad cab", "zz"]) for one in line.symbols)]
    found = page.locator("#read .symbol")
    assert found.count() == len(expected)
    for k, (_, nats) in enumerate(expected):
        bits = nats / math.log(2)
        assert f"s{min(9, int(bits))}" in found.nth(k).get_attribute("class").split()
        assert found.nth(k).get_attribute("aria-label").endswith(f", {bits:.1f} bits")
    assert nats_of(page) == pytest.approx(sum(nats for _, nats in expected), abs=0.01)
    assert "2 of them unknown" in page.locator("#read [role=status]").text_content()


def test_a_symbol_shows_its_alternatives_and_one_writes_on(opened):
    lm = drawn("language")
    page = opened(lm)
    before = write(page, count=1, prompt="abc")[0]
    page.locator(".results .symbol").nth(2).click()
    choices = page.locator(".choices button")
    assert choices.count() == 10
    chosen = choices.nth(1).text_content().rsplit(" ", 2)[0]
    choices.nth(1).click()
    page.locator(".results .text").nth(1).wait_for()
    assert texts(page)[0] == before
    after = texts(page)[1]
    assert after.startswith(before[:2] + chosen) or chosen == "end"


def test_keys_alone_are_enough(opened):
    page = opened(drawn("language"))
    page.get_by_label("Begin with").focus()
    page.keyboard.type("ab")
    for _ in range(5):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("Wrote").wait_for()
    page.keyboard.press("Tab")  # New seed
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "a"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.textContent") == "b"
    page.keyboard.press("Enter")
    assert page.locator(".choices").count() == 1
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.choices') !== null")
    page.keyboard.press("Escape")
    assert page.locator(".choices").count() == 0
    assert page.evaluate("document.activeElement.textContent") == "b"


def test_a_label_is_chosen_to_write_by(opened):
    lm = drawn("generate")
    page = opened(lm)
    for label in ("x", "y:z"):
        page.locator("[name=label]").select_option(label)
        expected = [one.text for one in islice(sampling.samples(lm.by({label: 1.0}), Settings(), 5), 3)]
        assert write(page) == expected


def test_labels_and_tags_are_shown(opened):
    lm = drawn("classify")
    page = opened(lm)
    page.locator("#predict textarea").fill("from Oslo")
    row = page.locator("tbody tr").first
    name, p = next(lm.predict(["from Oslo"])).labels[0]
    assert row.locator("th").text_content() == name
    assert row.locator("td").first.text_content() == f"{100 * p:.0f} %"
    lm = drawn("tag")
    page = opened(lm)
    page.locator("#predict textarea").fill("from Oslo to")
    page.locator(".tagged").first.wait_for()
    expected = [tag for tag, _ in next(lm.predict(["from Oslo to"])).tags]
    assert page.locator(".tagged small").all_text_contents() == expected


def test_a_translation_goes_on_from_a_choice(opened):
    lm = drawn("pairs")
    page = opened(lm)
    page.locator("#translate textarea").fill("from Oslo\nParis now")
    page.locator("#translate .text").nth(1).locator(".symbol").last.wait_for()
    expected = [one.symbols for one in lm.predict(["from Oslo", "Paris now"])]
    first = page.locator("#translate .text").first
    assert tuple(first.locator(".symbol").all_text_contents()[: len(expected[0])]) == expected[0]
    first.locator(".symbol").first.click()
    choice = page.locator(".choices button").nth(1)
    symbol = choice.text_content().rsplit(" ", 2)[0]
    choice.click()
    page.locator("#translate .given").first.wait_for()
    assert first.locator(".symbol").first.text_content() == symbol


def test_a_cloze_model_puts_a_choice_into_the_text(opened):
    lm = drawn("cloze")
    page = opened(lm)
    field = page.locator("#read textarea")
    field.fill("abc\nga")
    page.get_by_text("pseudo-nats").wait_for()
    assert nats_of(page) == pytest.approx(sum(one.nats for one in scores(lm, ["abc", "ga"])), abs=0.01)
    page.locator("#read .symbol").nth(1).click()
    choice = page.locator(".choices button").filter(has_not_text="end").first
    symbol = choice.text_content().rsplit(" ", 2)[0]
    choice.click()
    assert field.input_value() == f"a{symbol}c\nga"


def test_hostile_symbols_do_nothing(opened):
    """As text they are shown, with signs for what cannot be seen; a name of a model is no markup, either."""
    lm = drawn("language", vocab=HOSTILE)
    page = opened(lm)
    page.locator("#read textarea").fill(" ".join(HOSTILE.symbols[:5]))
    page.get_by_text("bits a symbol").wait_for()
    found = page.locator("#read .symbol").all_text_contents()
    assert found[:5] == ["</script>", "<!--<script>", "<img/src=x/onerror=alert(1)>", "U+202Eabc", "U+0000U+001B[2J"]
    write(page, count=20)
    assert page.locator("img, iframe, object").count() == 0


def test_parts_of_characters_are_shown_as_bytes(opened):
    pytest.importorskip("tokenizers")
    page = opened(drawn("language", vocab=BYTES))
    page.locator("#read textarea").fill("thé ö")
    page.get_by_text("bits a symbol").wait_for()
    assert page.locator("#read .symbol").all_text_contents() == ["th", "é", " ", "\\xc3", "\\xb6", "end"]


def test_nothing_else_may_run_or_be_loaded(opened):
    """The policy allows the page's own two scripts alone."""
    page = opened(drawn("language"))
    with page.expect_event("console"):
        page.evaluate("document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = true'}))")
    assert page.evaluate("window.ran") is None
    assert "Content Security Policy" in opened.wrong.pop()
    policy = page.locator("meta[http-equiv]").get_attribute("content")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1400, "light")])
@pytest.mark.parametrize("kind", ["language", "classify", "tag", "pairs"])
def test_everyone_can_use_it(opened, kind, width, scheme):
    """No serious finding of axe, and nothing beyond the edge of a narrow screen."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(drawn(kind), width, scheme)
    if kind == "language":
        write(page)
        page.locator(".results .symbol").first.click()
    field = page.locator("textarea:visible").last
    field.fill("from Oslo to New York now and a very long line of text that goes on and on")
    page.locator("#read .symbol, tbody tr, .tagged, #translate .symbol").first.wait_for()
    found = axe.run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
