"""The views of memory and units in Chromium: a map that the keyboard reads, units that are found, ordered and held."""

from __future__ import annotations

import re
from itertools import islice

import numpy as np
import pytest
from browsing import PATIENCE, expect, options, settled

from lmgen.evaluation import inspection
from lmgen.generation import holding
from lmgen.generation.sampling import Settings, samples


def test_memory_is_a_map_that_the_keyboard_reads(visit, models):
    found = inspection.trace(models["deep"].lm, "abc de").layers
    page = visit("memory", "deep")
    view = page.locator("#memory")
    view.get_by_label("Text", exact=True).fill("abc de")
    expect(view.locator("#memory-summary")).to_contain_text("8 units, 6 symbols", timeout=PATIENCE)
    for gate, layer in (("h", 0), ("z", 1)):
        view.get_by_role("combobox", name="Layer").select_option(index=layer)
        view.get_by_role("radio", name=gate).check()
        settled(page, "memory")
        chart = view.get_by_role("application")
        chart.focus()
        for key in ["ArrowLeft"] * 6 + ["PageUp"] + ["ArrowRight"] * 2 + ["ArrowDown"] * 3:
            page.keyboard.press(key)
        value = found[layer].units[gate][2, 3]
        title, shown = view.locator("[data-readout]").text_content().split(" = ")
        assert title == f"layer {layer + 1}, unit 4 after “c”: {gate}"
        assert float(shown.replace("−", "-")) == pytest.approx(value, abs=0.02)
    colours = view.locator("canvas").evaluate(
        "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
    )
    assert colours > 20
    view.get_by_text("The chosen column as numbers").click()
    rows = view.locator("[data-numbers] tbody tr")
    strongest = int(np.abs(found[1].units["z"][2]).argmax()) + 1
    assert rows.first.locator("th").text_content() == str(strongest)
    chart.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#units [data-shown]")).to_contain_text("Coloured by layer 2, unit 4", timeout=PATIENCE)


@pytest.mark.parametrize("name", ["tags", "pairs"])
def test_memory_of_both_directions_of_labels_and_pairs(visit, models, name):
    found = inspection.trace(models[name].lm, "bade kimo re").layers
    page = visit("memory", name)
    view = page.locator("#memory")
    view.get_by_label("Text", exact=True).fill("bade kimo re")
    expect(view.locator("#memory-summary")).to_contain_text("3 symbols", timeout=PATIENCE)
    view.get_by_role("combobox", name="Layer").select_option("layer 1, from the right")
    view.get_by_role("radio", name="c", exact=True).check()
    settled(page, "memory")
    view.get_by_role("application").focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    title, shown = view.locator("[data-readout]").text_content().split(" = ")
    assert title == "layer 1, from the right, unit 3 after “␣kimo”: c"
    assert float(shown.replace("−", "-")) == pytest.approx(found[1].units["c"][1, 2], abs=0.02)
    page.keyboard.press("Enter")
    expect(page.locator("#units [data-shown]")).to_contain_text("unit 3", timeout=PATIENCE)
    expect(page.locator("#units").get_by_role("heading", name="Hold the unit")).to_be_hidden()


def test_units_in_the_order_of_their_peaks(visit, models):
    peaks = np.abs(inspection.trace(models["deep"].lm, "abc de").layers[0].units["h"]).argmax(0)
    page = visit("memory", "deep")
    view = page.locator("#memory")
    view.get_by_label("Text", exact=True).fill("abc de")
    expect(view.locator("#memory-summary")).to_contain_text("6 symbols", timeout=PATIENCE)
    view.get_by_label("Units in the order of their peaks").check()
    view.get_by_role("application").focus()
    seen = []
    for _ in range(8):
        seen.append(int(re.search(r"unit (\d+)", view.locator("[data-readout]").text_content())[1]) - 1)
        page.keyboard.press("ArrowDown")
    assert sorted(seen) == [*range(8)]
    assert (np.diff(peaks[seen]) >= 0).all()


@pytest.mark.parametrize("way", ["mouse", "keyboard"])
def test_units_of_a_selection(visit, models, way):
    trace = inspection.trace(models["deep"].lm, "abcdef")
    first = inspection.matches(trace, 1, 4)[0]
    page = visit("units", "deep")
    view = page.locator("#units")
    view.get_by_label("Text", exact=True).fill("abcdef")
    symbols = options(page, "units")
    expect(symbols).to_have_count(6, timeout=PATIENCE)
    if way == "mouse":
        start, end = symbols.nth(1).bounding_box(), symbols.nth(3).bounding_box()
        page.mouse.move(start["x"] + 2, start["y"] + 5)
        page.mouse.down()
        page.mouse.move(end["x"] + 4, end["y"] + 5, steps=5)
        page.mouse.up()
    else:
        symbols.nth(0).focus()
        for key in ("ArrowRight", "ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight"):
            page.keyboard.press(key)
    assert symbols.evaluate_all("all => all.map((one) => one.ariaSelected)") == [
        "false",
        "true",
        "true",
        "true",
        "false",
        "false",
    ]
    expect(view.get_by_label("Units of the selection")).to_contain_text("Units of “bcd”", timeout=PATIENCE)
    unit = view.get_by_role("button", name=f"layer {first.layer + 1}, unit {first.unit + 1}", exact=True)
    unit.click()
    expect(view.locator("[data-shown]")).to_contain_text(f"Coloured by layer {first.layer + 1}, unit {first.unit + 1}.")
    expect(view.locator("tr.now")).to_be_visible()
    values = trace.layers[first.layer].units["h"]
    levels = np.rint(9 * values[:, first.unit] / np.abs(values).max()).astype(int)
    names = symbols.evaluate_all("all => all.map((one) => one.className)")
    got = [0 if not name else int(name[1:]) * (-1 if name[0] == "n" else 1) for name in names]
    np.testing.assert_allclose(got, levels, atol=1)  # a byte a number


def test_hold_a_unit_and_see_the_text_change(visit, models):
    page = visit("units")
    view = page.locator("#units")
    settled(page, "units")
    view.get_by_label("Unit", exact=True).fill("5")
    view.get_by_label("Prompt").fill("b")
    view.get_by_label("Seed").fill("3")
    view.get_by_role("slider", name="Value").press("End")
    view.get_by_role("button", name="Write both").click()
    expect(view.get_by_role("columnheader", name="unit 5 held at +3.00")).to_be_visible(timeout=PATIENCE)
    lm = models["words"].lm
    for column, holds in enumerate([[], [holding.Hold(0, 4, 3.0)]], 1):
        expected = islice(samples(holding.holding(lm, holds), Settings(max_length=200), 3, "b"), 8)
        assert view.locator(f"[data-both] td:nth-child({column})").all_text_contents() == [one.text for one in expected]
    expect(view.locator("[data-both] mark").filter(has_text=re.compile(".")).first).to_be_visible()
    expect(view.get_by_role("status").last).to_have_text(re.compile(r"\d of 8 texts changed"))
