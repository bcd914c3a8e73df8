"""docs/labels.md is true before any network is trained: its sentences are what the page says of them, its links exist."""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import labels_course as course  # noqa: E402

TEXT = course.PAGE.read_text("utf-8")


def share_of_the_best(sentences: list[course.Sentence], seen) -> float:
    """The share of cities for which the best function of what is `seen` of a sentence, at a place in it, gives the right slot."""
    slots = defaultdict(Counter)
    for sentence in sentences:
        words = [word for word, _ in sentence]
        for place, (word, tag) in enumerate(sentence):
            if word in course.CITIES:
                slots[tuple(seen(words, place))][tag] += 1
    return sum(max(found.values()) for found in slots.values()) / sum(found.total() for found in slots.values())


@pytest.mark.parametrize(
    ("templates", "before", "window", "everything"),
    [(course.BEFORE, 1.0, 1.0, 1.0), (course.BEHIND, 0.5, 0.5, 1.0)],
    ids=["verb before", "verb behind"],
)
def test_what_a_tagger_must_see(templates, before, window, everything):
    """The word alone is right for half of the cities; what else is needed depends on where the verb is."""
    _, test = course.split(templates)
    assert share_of_the_best(test, lambda words, at: words[at : at + 1]) == 0.5
    assert share_of_the_best(test, lambda words, at: [str(at), *words[: at + 1]]) == before
    assert share_of_the_best(test, lambda words, at: words[max(0, at - 4) : at + 1]) == window
    assert share_of_the_best(test, lambda words, at: [str(at), *words]) == everything


@pytest.mark.parametrize("templates", [course.BEFORE, course.BEHIND, course.CORRECTED])
def test_sentences_come_with_their_twins_and_tests_are_new(templates):
    train, test = course.split(templates, tail=3)
    assert (len(train), len(test)) == (2 * course.TRAINED, 2 * course.TESTED)
    texts = [" ".join(word for word, _ in sentence) for sentence in train + test]
    assert len(set(texts)) == len(texts)
    for one, other in zip(texts[::2], texts[1::2], strict=True):
        assert re.sub("arrive|leave", lambda verb: {"arrive": "leave", "leave": "arrive"}[verb[0]], one) == other


def test_tags_are_those_of_the_page():
    words = ["arrive", "Taipei", "on", "May", "2nd", "and", "leave", "Tokyo"]
    tags = [tag for _, tag in course.tagged(words, "arrive", "leave")]
    assert tags == ["O", "B-destination", "O", "O", "O", "O", "O", "B-departure"]
    assert course.columns([[("leave", "O"), ("Oslo", "B-departure")]] * 2) == "leave\tO\nOslo\tB-departure\n\n" * 2


def test_the_label_is_of_the_last_verb_and_no_word_alone_gives_it_away():
    train, _ = course.split(course.CORRECTED)
    lines = [line.split("\t") for line in course.labelled(train).splitlines()]
    assert Counter(label for label, _ in lines) == {"arrival": len(lines) // 2, "departure": len(lines) // 2}
    for label, text in lines:
        assert {"arrive", "leave"} <= set(text.split())
        assert (label == "arrival") == (text.rfind("arrive") > text.rfind("leave"))


def test_every_part_of_the_page_is_made_by_the_program():
    marks = re.findall(r"<!-- (.+) -->", TEXT)
    assert marks == [mark for part in course.PARTS for mark in (f"figures: {part.__name__}", f"end of figures: {part.__name__}")]


def test_every_link_of_the_page_exists():
    for path, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", TEXT):
        page = (course.PAGE.parent / path if path else course.PAGE).read_text("utf-8")
        headings = re.findall(r"^#+ (.*)", page, re.M)
        assert not anchor or anchor in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}, anchor
