"""Subwords from the command line: trained on, written, measured and compressed with; what they cannot do is one sentence."""

from __future__ import annotations

import json
import math
import re

import pytest

import lmgen as library
from lmgen.data import subword
from support import SMALL, invented_words

pytest.importorskip("tokenizers")
WORDS = invented_words(60)
LINES = [f"{a} et {b}, «thé»." for a in WORDS[:30] for b in WORDS[30:]]
LABELLED = [f"{('long', 'short')[len(word) < 5]}\t{word} {other}" for word in WORDS for other in WORDS[:5]]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with models of subwords: two of plain text, one that labels, one that writes by label, one that fills blanks."""
    folder = tmp_path_factory.mktemp("subwords")
    (folder / "text.txt").write_text("".join(f"{line}\n" for line in LINES), "utf-8")
    (folder / "labels.tsv").write_text("".join(f"{line}\n" for line in LABELLED), "utf-8")
    small = {"size": 12, "embedding": 12, "batch": 4, "window": 8, "learning_rate": 0.02, "steps": 40, "unit": "subword"}
    text, labels = folder / "text.txt", folder / "labels.tsv"
    library.train(text, output=folder / "net", vocab_size=300, carry=True, **small)
    library.train(text, output=folder / "grams", vocab_size=300, cell="ngram", unit="subword")
    library.train(text, output=folder / "cloze", vocab_size=300, direction="both", **small)
    library.train(labels, output=folder / "classes", task="classify", **small)
    library.train(labels, output=folder / "writer", task="generate", **small)
    return folder


def test_a_model_is_trained_and_says_what_it_chose(lmgen, home):
    code, out, err = lmgen("train", home / "text.txt", "--unit", "subword", "--steps", 20, *SMALL, "-o", "m")
    assert (code, out) == (0, "")
    kinds = len(library.load("m").lm.vocab.symbols)
    assert kinds > subword.BYTES
    assert f"of {kinds:,} kinds" in err
    assert "bits/char" in err
    code, out, _ = lmgen("show", "m", "--json")
    assert json.loads(out)["unit"] == "subword"


@pytest.mark.parametrize("name", ["net", "grams"])
def test_samples_are_whole_text_that_begins_with_the_prompt(lmgen, home, name):
    code, out, _ = lmgen("sample", home / name, "-n", 5, "--prompt", "thé", "--max-length", 30, "--json", "--seed", 1)
    assert code == 0
    texts = [json.loads(line)["text"] for line in out.splitlines()]
    assert len(texts) == 5
    assert all(text.startswith("thé") and text.encode("utf-8").decode("utf-8") == text for text in texts)


@pytest.mark.parametrize("name", ["net", "grams"])
def test_the_bits_are_those_of_the_text_and_compression_proves_them(lmgen, home, name, tmp_path):
    text = home / "text.txt"
    code, out, _ = lmgen("eval", home / name, text, "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["bytes"], found["characters"]) == (text.stat().st_size, len(text.read_text("utf-8")))
    assert found["unknown"] == 0
    assert found["bits_per_byte"] == pytest.approx(found["nats"] / math.log(2) / found["bytes"])
    assert found["spelt_bits_per_byte"] == found["bits_per_byte"]
    assert any("gram" in baseline["name"] and baseline["nats_per_symbol"] for baseline in found["baselines"])
    code, _, err = lmgen("compress", home / name, text, "-o", tmp_path / "packed")
    assert code == 0
    bits = float(re.search(r"([\d.]+) bits per byte", err)[1])
    assert bits == pytest.approx(found["bits_per_byte"], rel=0.005)
    code, _, _ = lmgen("decompress", home / name, tmp_path / "packed", "-o", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == text.read_bytes()


def test_score_shows_parts_of_characters_as_bytes(lmgen, home):
    code, out, _ = lmgen("score", home / "grams", "--json", "--symbols", stdin="a 的\n")
    assert code == 0
    assert [symbol for symbol, _ in json.loads(out)["each"]] == ["a", " ", "\\xe7", "\\x9a", "\\x84", ""]


def test_validation_counts_the_characters_of_held_out_text(lmgen, home):
    """Held-out text has fewer characters in a symbol than the text from which the subwords are."""
    valid = home / "valid.txt"
    valid.write_text("".join(f"{word[::-1]}\n" for word in WORDS * 3), "utf-8")
    how = ["--unit", "subword", "--steps", 20, "--no-mixture", *SMALL, "-o", "net"]
    _, _, err = lmgen("train", home / "text.txt", "--valid", valid, *how)
    shown = re.search(r"best validation: [\d.]+ nats \(([\d.]+) bits/char\)", err)
    assert float(shown[1]) == pytest.approx(library.load("net").evaluate(valid).bits_per_character, abs=2e-3)


def test_blanks_are_filled_by_subwords_of_whole_characters(lmgen, home):
    code, out, _ = lmgen("fill", home / "cloze", f"{WORDS[0]} ___ {WORDS[40]}, «thé».", "-n", 20, "--json")
    assert code == 0
    found = [json.loads(line) for line in out.splitlines()]
    assert found
    for one in found:
        (symbol,) = one["symbols"]
        assert symbol[0] == " "
        assert one["text"] == f"{WORDS[0]}{symbol} {WORDS[40]}, «thé»."
    assert lmgen("fill", home / "cloze", "et_x")[0] == 2


def test_an_arpa_file_holds_subwords_and_a_foreign_one_is_refused(lmgen, home):
    assert lmgen("arpa", "write", home / "grams", "-o", "grams.arpa")[0] == 0
    assert lmgen("arpa", "read", "grams.arpa", "-o", "again")[0] == 0
    first, again = library.load(home / "grams"), library.load("again")
    assert again.lm.vocab == first.lm.vocab
    assert again.score("et thé").nats == pytest.approx(first.score("et thé").nats, rel=1e-4)
    assert lmgen("arpa", "write", home / "grams", "-o", "words.arpa")[0] == 0
    with open("words.arpa", encoding="utf-8") as file:
        content = file.read()
    with open("words.arpa", "w", encoding="utf-8") as file:
        file.write(content.replace("\ta\t", "\tword\t", 1))
    code, _, err = lmgen("arpa", "read", "words.arpa", "-o", "m")
    assert (code, err.count("\n")) == (2, 1)
    assert "its first symbols are not the 256 bytes" in err


def test_texts_are_labelled_by_their_subwords(lmgen, home):
    """Tokens and text are one; each prediction is the same alone, with others and from the command line."""
    model, texts = library.load(home / "classes"), [line.partition("\t")[2] for line in LABELLED[:9]]
    alone = [model.predict(text) for text in texts]
    for one, other, tokens in zip(alone, model.predict(texts), model.predict(tuple(t.split()) for t in texts), strict=True):
        assert dict(one.labels) == pytest.approx(dict(other.labels))
        assert dict(one.labels) == pytest.approx(dict(tokens.labels))
        assert "".join(one.symbols) == one.text
    code, out, _ = lmgen("eval", home / "classes", home / "labels.tsv", "--json")
    assert code == 0
    assert json.loads(out)["unknown"] == 0


def test_a_model_that_starts_from_another_takes_its_subwords(lmgen, home):
    small = ["--steps", 4, "--direction", "both", "--batch", 4, "--window", 8]
    assert lmgen("train", home / "labels.tsv", "--task", "classify", "--from", home / "net", "-o", "m", *small)[0] == 0
    assert library.load("m").lm.vocab == library.load(home / "net").lm.vocab


def test_writing_by_label_takes_subwords(lmgen, home):
    code, out, _ = lmgen("sample", home / "writer", "--label", "long", "-n", 3, "--json", "--max-length", 20)
    assert code == 0
    assert len(out.splitlines()) == 3
    code, out, _ = lmgen("eval", home / "writer", home / "labels.tsv", "--json")
    assert code == 0
    every = json.loads(out.splitlines()[0])
    assert every["unknown"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "tag"], "a tag belongs to a word, and --unit subword cuts words"),
        (["--task", "classify", "--vectors", "v.txt"], "the vectors of --vectors are those of words"),
        (["--unk-token", "<unk>", "--task", "language"], "--unit subword spells every text"),
        (["--vocab-size", "100", "--task", "classify"], "--vocab-size 100 is too small for --unit subword: give 258"),
    ],
)
def test_what_subwords_cannot_do_is_one_sentence(lmgen, tmp_path, words, message):
    (tmp_path / "v.txt").write_text("a 1 2\n")
    rows = [{"tokens": [word, "a"], "tags": ["B-x", "O"], "label": word[0]} for word in WORDS]
    (tmp_path / "data.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    code, _, err = lmgen("train", "data.jsonl", "--unit", "subword", *words)
    assert code == 2
    assert message in err.splitlines()[-1]
