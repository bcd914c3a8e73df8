"""What samples share with a corpus: every figure against brute force, and the commands as a user meets them."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmgen.data.reading import Text
from lmgen.data.split import split_of
from lmgen.errors import InputError
from lmgen.evaluation import comparison, novelty
from lmgen.evaluation.comparison import compare, like, of_proportions, reference
from lmgen.evaluation.novelty import Index, Matches, Novelty, check
from support import invented_words, on_a_terminal

LETTERS = (
    st.text("ab", max_size=12) | st.text("aé中😀", max_size=10) | st.text("a\n", max_size=8) | st.text("a\udc80\0", max_size=6)
)
CORPORA = st.lists(LETTERS, max_size=6)


def joined(corpus: list[str]) -> str:
    return "\n" + "".join(f"{sequence}\n" for sequence in corpus)


def spans(corpus: list[str], text: str) -> list[int]:
    """By trying: for each character, how many from there on stand in the corpus together."""
    whole = joined(corpus)
    return [max(n for n in range(len(text) - k + 1) if text[k : k + n] in whole) for k in range(len(text))]


def edits(a: str, b: str) -> int:
    """Levenshtein's distance by its recursion (Wagner and Fischer 1974)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y)))
    return row[-1]


@given(CORPORA, LETTERS)
@settings(deadline=None, max_examples=300)
def test_matches_are_those_of_trying_them_all(corpus, text):
    whole, encoded = (s.encode("utf-8", "surrogatepass") for s in (joined(corpus), text))
    expected = [max(n for n in range(len(encoded) - k + 1) if encoded[k : k + n] in whole) for k in range(len(encoded))]
    assert Matches(Index(corpus), text).lengths.tolist() == expected


@given(CORPORA, LETTERS)
@settings(deadline=None, max_examples=300)
def test_spans_nearest_and_ngrams_are_those_of_trying_them_all(corpus, text):
    index, expected = Index(corpus), spans(corpus, text)
    longest = max(expected, default=0)
    matches = Matches(index, text)
    found = matches.longest
    assert len(found.text) == longest
    assert found.text == text[found.start : found.start + longest]
    assert found.text in joined([found.line]) or "\n" in found.text
    assert found.line in joined(corpus).split("\n")
    assert index.holds(text) == (f"\n{text}\n" in joined(corpus))
    for least in (1, 3):
        inside = {j for k, n in enumerate(expected) if n >= least for j in range(k, k + n)}
        assert matches.shared(least) == len(inside) / max(1, len(text))
    nearest = min((edits(text, sequence) for sequence in corpus), default=None)
    assert (matches.nearest() or (None, None))[1] == nearest
    if nearest is not None:
        assert edits(text, matches.nearest()[0]) == nearest
        assert matches.nearest()[0] in corpus
    one = check(index, text, 3)
    assert one.known == index.holds(text)
    assert (one.span, one.span_line, one.distance) == (found.text, found.line, nearest)
    ngrams = [text[k : k + 3] for k in range(len(text) - 2)]
    assert one.ngrams == len(ngrams)
    assert one.new_ngrams == (sum(n not in joined(corpus) for n in ngrams) / len(ngrams) if ngrams else None)


def test_of_a_large_corpus_the_nearest_is_found_among_those_that_share_spans(monkeypatch):
    """Copies of a few edits are found, all others at a distance that is true; exact on demand."""
    monkeypatch.setattr(novelty, "EXACT", 1000)
    draw = np.random.default_rng(0)
    corpus = ["".join(draw.choice(list("abcdé "), draw.integers(20, 60))) for _ in range(5000)]
    index = Index(corpus)
    assert index.large
    for number in range(100):
        near = list(corpus[number])
        for place in draw.integers(0, len(near), 2):
            near[place] = "x"
        text = "".join(near)
        found = Matches(index, text)
        assert found.nearest() == (corpus[number], edits(text, corpus[number])) == found.nearest(exact=True)
    for text in ("".join(draw.choice(list("abcdé "), 30)) for _ in range(20)):
        found, distance = Matches(index, text).nearest()
        assert distance == edits(text, found) >= Matches(index, text).nearest(exact=True)[1]
    assert Matches(index, "").nearest() == (min(corpus, key=len), min(map(len, corpus)))
    assert Matches(index, "zzz").nearest() is not None


@pytest.mark.parametrize("size", [31, 32, 33, 64, 65, 127, 128, 129, 500, 3000])
def test_long_copies_are_measured_to_the_byte(size):
    """Also those that end in the midst of a text, and at the end of the corpus, where several spans meet."""
    draw = np.random.default_rng(size)
    corpus = ["".join(draw.choice(list("abé"), 4000)) for _ in range(2)]
    copied, other = corpus[0][100 : 100 + size], corpus[1][-size:]
    index = Index(corpus)
    text = "x" + copied + "y" + other + "z" + copied
    expected = []
    for span in (copied, other, copied):
        expected += [0, *range(len(span), 0, -1)]
    matches = Matches(index, text)
    found = matches.spans
    long = np.array(expected) > 40  # shorter ones may stand elsewhere, and go on there
    assert (found[long] == np.array(expected)[long]).all()
    assert (found >= expected).all()
    assert matches.longest == (copied, corpus[0], 1)
    assert matches.shared(50) == (1 - 3 / len(text) if size >= 50 else 0)


def test_a_corpus_too_large_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.setattr(novelty, "MOST", 10)
    Index(["a" * 7])
    with pytest.raises(InputError, match="too large to be indexed"):
        Index(["a" * 8])


@pytest.mark.parametrize("missing", ["pydivsufsort", "rapidfuzz"])
def test_a_missing_library_is_named(monkeypatch, missing):
    for name in [name for name in sys.modules if name.split(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=f"needs {missing}, which is not installed: pip install pydivsufsort rapidfuzz"):
        Index(["a"])


def novelties(shares: list[float]) -> list[Novelty]:
    return [Novelty("x" * 100, s == 1, s == 1, "x" * round(100 * s), "", s, s, None, None, 96, 1 - s) for s in shares]


def test_figures_of_a_set_are_those_worked_by_hand():
    short = Novelty("abc", True, True, "abc", "abc", 1.0, 0.0, "abc", 0, 0, None)
    long = Novelty("abcdefg", False, False, "ab", "abc", 2 / 7, 0.0, "abc", 4, 3, 2 / 3)
    found = comparison.summary([short, long])
    assert (found.count, found.length, found.known, found.copied, found.span, found.shared) == (2, 5, 0.5, 0.5, 2.5, 0)
    assert found.span_share == pytest.approx(9 / 14)
    assert found.new_ngrams == pytest.approx(2 / 3)


def test_the_verdict_follows_from_the_interval():
    """Worked by hand: variances 0.01 · 20/19 of each 20, so the error of the difference is √(2 · 0.0105 / 20) = 0.0324."""
    low, high = novelties([0.4, 0.6] * 10), novelties([0.7, 0.9] * 10)
    report = compare(high, low)
    assert report.difference == pytest.approx(0.3)
    assert report.interval == pytest.approx((0.3 - 1.96 * 0.03244, 0.3 + 1.96 * 0.03244), abs=1e-4)
    assert "share more with" in report.verdict
    assert "share less with" in compare(low, high).verdict
    assert "share no more with" in compare(low, novelties([0.45, 0.6] * 10)).verdict
    assert "too few to tell" in compare(high[:9], low).verdict
    assert compare(high, []).control is None


def test_copies_come_before_spans_in_the_verdict():
    """35 of 200 samples are copies and the others share little: such a model does not share less than held-out text does."""
    copies, held_out = novelties([1.0] * 35 + [0.2, 0.4] * 82), novelties([0.5, 0.7] * 100)
    report = compare(copies, held_out)
    assert report.interval.sign == -1
    assert report.copies_difference == pytest.approx(35 / 199)
    assert report.copies_interval.sign == 1
    assert "share more with" in report.verdict
    assert "17.6% of them are in it" in report.verdict
    few = compare(novelties([1.0] * 2 + [0.2, 0.4] * 99), held_out)
    assert few.copies_interval.sign == 0  # two of 200 may be chance
    assert "share less with" in few.verdict


def test_the_interval_of_two_proportions_is_that_of_the_paper():
    """The rows of table II of Newcombe (1998) for method 10."""
    for (a, m), (b, n), low, high in (
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((0, 10), (0, 20), -0.1611, 0.2775),
    ):
        assert of_proportions(a / m, m, b / n, n) == pytest.approx((low, high), abs=1e-4)


def test_a_near_copy_differs_in_case_and_in_spaces_at_its_ends_alone():
    index = Index(["San Marino", "  Ünye ", "two\nlines"])
    near = {text: (found := check(index, text)).nearly and not found.known for text in ("san marino ", "ÜNYE", "TWO\nLINES")}
    assert all(near.values())
    for text in ("SanMarino", "San Marin", "Marino", "San  Marino"):
        assert not check(index, text).nearly
    assert check(index, "San Marino").known
    assert check(index, "San Marino").nearly
    assert comparison.summary([check(index, text) for text in ("San Marino", "san marino", "new", "x")]).nearly == 0.5


def test_samples_that_are_held_out_text_share_no_more_and_copies_do(data):
    """The verdict as it is meant, on real sentences."""
    lines = (data / "tatoeba" / "all.txt").read_text("utf-8").splitlines()[:6000]
    index = Index(lines[:5000])
    fresh, held_out, copies = lines[5000:5200], lines[5200:], lines[:200]
    control = [check(index, one, nearest=False) for one in like(fresh, held_out)]
    assert "share no more" in compare([check(index, one, nearest=False) for one in fresh], control).verdict
    assert "share more" in compare([check(index, one, nearest=False) for one in copies], control).verdict


@given(st.lists(st.integers(1, 9), max_size=20), st.lists(st.integers(1, 9), max_size=40))
def test_a_control_is_as_large_and_nothing_is_taken_twice(samples, pool):
    taken = like(["x" * n for n in samples], [chr(0x4E00 + k) * n for k, n in enumerate(pool)])
    assert len({one[0] for one in taken}) == len(taken) == min(len(samples), len(pool))


def test_a_control_has_the_lengths_and_the_lines_of_the_samples():
    pool = [letter * n for letter in "abc" for n in range(1, 30)]
    assert sorted(map(len, like(["x" * n for n in (3, 3, 3, 17, 28)], pool))) == [3, 3, 3, 17, 28]
    assert sorted(map(len, like(["x" * n for n in (60, 60, 60)], ["a" * 20, "b" * 200, "c" * 300, "d" * 400]))) == [60] * 3
    assert like(["x" * 60] * 2, ["a" * 20, "b" * 30, "c" * 40]) == ["c" * 40, "b" * 30]
    assert all(run.count("\n") == 2 for run in like(["xx\nyy\nzz"] * 4, ["aa"] * 12))


def test_the_control_is_what_training_holds_out(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("".join(f"{word}\n" for word in invented_words(500)))
    text = Text([path])
    found = reference(text)
    assert found.held_out == [piece.text for piece in split_of(text, False).part(text, True)]
    assert not set(found.held_out) & set(found.index.sequences)
    assert len(found.held_out) + len(found.index.sequences) == 500
    tail = reference(Text([path], keep_blank=True), carry=True)
    assert tail.index.sequences + tail.held_out == path.read_text().split()
    own = reference(text, Text([path]))
    assert own.held_out == own.index.sequences
    (tmp_path / "one.txt").write_text("a line\n")
    assert "too small to hold out" in " ".join(reference(Text([tmp_path / "one.txt"])).notes)
    (tmp_path / "long.txt").write_text("ab " * 2000)
    assert reference(Text([tmp_path / "long.txt"])).held_out


# ---- the commands -----------------------------------------------------------------------------------------------------


def test_novelty_tells_copies_from_new_lines(lmgen, words_file):
    copies = words_file.read_text().split()[:40]
    Path("samples.txt").write_text("".join(f"{word}\n" for word in [*copies, "zzzz", "kozzimo"]))
    code, out, err = lmgen("novelty", "samples.txt", "--corpus", words_file, "--control", words_file, "--json", "--ngram", 2)
    *each, report = map(json.loads, out.splitlines())
    assert code == 0
    assert [one["text"] for one in each if one["known"]] == copies
    assert all(one["distance"] == 0 and one["span_share"] == 1 and one["nearest"] == one["text"] for one in each[:40])
    assert (each[40]["span"], each[40]["new_ngrams"]) == ("", 1)
    assert report["samples"]["known"] == 40 / 42
    assert report["control"]["known"] >= 40 / 42  # the control may be cut to the length of a sample
    assert report["control"]["count"] == 42
    assert "share" in report["verdict"]
    code, out, err = lmgen("novelty", "-", "--corpus", words_file, stdin=words_file.read_text())
    assert code == 0
    assert "is in the corpus" in out
    assert "… or nearly (case, end spaces)" in out
    assert "held out by distinct line" in err
    assert "smaller set" in err
    code, out, err = lmgen("novelty", "-", "--corpus", words_file, "--json-lines", stdin='{"text": "zz\\u001b[2J"}\n')
    assert code == 0
    assert "too few to tell" in out


def test_a_table_fits_a_narrow_terminal(words_file):
    Path("samples.txt").write_text("bade\nzz\x1b[31mzz\n")
    out = on_a_terminal("novelty", "samples.txt", "--corpus", str(words_file), NO_COLOR="1")
    assert "\x1b" not in out
    start = out.index("number")
    assert all(len(line) <= 60 for line in out[start : out.index("new 5-grams")].splitlines())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("empty.txt --corpus words.txt", "there are no samples in empty.txt"),
        ("bad.txt --corpus words.txt", "bad.txt is not UTF-8 at byte 3 (line 2"),
        ("words.txt --corpus bad.txt", "bad.txt is not UTF-8"),
        ("words.txt --corpus empty.txt", "there is no text in empty.txt"),
        ("words.txt --corpus wrods.txt", "did you mean words.txt"),
        ("words.txt --corpus words.txt --json-lines", 'no object with "text" as its sample 1'),
        ("words.txt", "Missing option '--corpus'"),
        ("words.txt --corpus words.txt --ngram 0", "--ngram"),
    ],
)
def test_mistakes_get_one_sentence(lmgen, words_file, words, message):
    Path("empty.txt").touch()
    Path("bad.txt").write_bytes(b"ab\n\xff\xfe\n")
    code, out, err = lmgen("novelty", *words.split())
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


def test_samples_may_be_encoded_otherwise_than_the_corpus(lmgen):
    Path("corpus.txt").write_bytes("café\nthé\n".encode("latin-1"))
    Path("samples.txt").write_text("café\n", "utf-8")
    words = ("samples.txt", "--corpus", "corpus.txt", "--encoding", "latin-1", "--samples-encoding", "utf-8")
    code, out, _ = lmgen("novelty", *words, "--control", "corpus.txt", "--json")
    assert code == 0
    assert json.loads(out.splitlines()[0])["known"]


def test_sample_tells_what_it_shares_and_how_many_it_found(lmgen, model_path, words_file):
    shutil.copytree(model_path, "checkpoints/good")
    words = ("sample", "good", "-n", 30, "--novelty", words_file)
    code, out, _ = lmgen(*words, "--json")
    *each, report = map(json.loads, out.splitlines())
    assert code == 0
    assert len(each) == report["samples"]["count"] == 30
    corpus = set(words_file.read_text().split())
    assert all(one["known"] == (one["text"] in corpus) and one["nats"] > 0 and one["span"] in one["text"] for one in each)
    code, out, _ = lmgen(*words, "--novel", "--distinct")
    assert code == 0
    assert "is in the corpus" not in out
    assert "the samples share" in out
    code, out, err = lmgen("sample", "good", "-n", 5000, "--distinct", "--top-k", 1)
    assert code == 0
    assert out.splitlines() == [*dict.fromkeys(out.splitlines())]
    assert f"found {len(out.splitlines())} different sample" in err
    code, _, err = lmgen("sample", "good", "--control", words_file)
    assert code == 2
    assert "--novelty" in err
