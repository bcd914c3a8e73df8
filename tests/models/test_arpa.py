"""ARPA files: any symbol survives, scores come back, KenLM agrees, and what is no such file is a sentence."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from few_letters import fitted, lines, stream_of
from hypothesis import given, settings
from hypothesis import strategies as st

import lmgen
from lmgen.cli.main import cli
from lmgen.data import corpus, reading
from lmgen.data.vocab import EOS, Vocab
from lmgen.errors import CheckpointError, InputError
from lmgen.models import arpa, ngram, scoring

odd = st.text(min_size=1, max_size=6)  # with lone surrogates


@given(
    st.one_of(
        odd, st.sampled_from(["<s>", "</s>", "<unk>", "<eos>", "\\x3c", "#", "\u3000", "\x85", "\\", "\ud800", "\ud83e\udd8a"])
    )
)
def test_any_symbol_survives_an_arpa_file(symbol):
    written = arpa.escaped(symbol)
    assert arpa.unescaped(written) == symbol
    assert written.split() == [written]
    assert written not in arpa.MARKS
    assert written.encode().decode() == written


@settings(max_examples=30, deadline=None)
@given(lines, lines, st.integers(1, 4), st.booleans())
def test_an_arpa_file_gives_the_same_scores(tmp_path_factory, sequences, read, order, carry):
    path = tmp_path_factory.mktemp("arpa") / "m.arpa"
    model = fitted(sequences, order, carry)
    with open(path, "w") as file:
        arpa.write(model, file)
    again = arpa.read(path)
    assert again.vocab == model.vocab
    assert again.config == model.config
    ids = stream_of(read)
    np.testing.assert_allclose(scoring.stream_nats(again, ids), scoring.stream_nats(model, ids), rtol=1e-5, atol=1e-5)


HEAD = "\\data\\\nngram 1=2\n\\1-grams:\n-1\t</s>\n"


def test_what_rounding_explains_is_read(tmp_path):
    """A probability of 1 whose logarithm was rounded up is 1; a backoff may be positive; −inf is a probability of 0."""
    (tmp_path / "m.arpa").write_text(
        "\\data\\\nngram 1=3\nngram 2=1\n\\1-grams:\n-1\t</s>\n-0.5\ta\t0.3\n-inf\tb\n\\2-grams:\n5e-7\ta </s>\n\\end\\\n"
    )
    model = arpa.read(tmp_path / "m.arpa")
    assert scoring.stream_nats(model, np.array([EOS, 2, EOS]))[1] == 0
    assert model.levels[0].backoff[2] == pytest.approx(0.3 * math.log(10))
    assert model.levels[0].log_p[3] == pytest.approx(-99 * math.log(10))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "there is no"),
        ("a\nb\n", "there is no"),
        ("\\data\\\n", "ends too soon"),
        ("\\data\\\n\\1-grams:\n", "no n-grams"),
        ("\\data\\\nngram 2=1\n", "the number of 1-grams"),
        ("\\data\\\nngram 1=1\n\\1-grams:\n-1\ta\n\\end\\\n", "there is no </s>"),
        ("\\data\\\nngram 1=2\n\\1-grams:\n-1\t</s>\nx\ta\n\\end\\\n", "not a number"),
        ("\\data\\\nngram 1=2\n\\1-grams:\n-1\t</s>\n-1\t</s>\n\\end\\\n", "twice"),
        ("\\data\\\nngram 1=1\nngram 2=1\n\\1-grams:\n-1\t</s>\n\\2-grams:\n-1\tb </s>\n\\end\\\n", "'b' is not among"),
        (
            "\\data\\\nngram 1=2\nngram 2=1\nngram 3=1\n\\1-grams:\n-1\t</s>\n-1\ta\n\\2-grams:\n-1\ta </s>\n"
            "\\3-grams:\n-1\ta a </s>\n\\end\\\n",
            "no n-gram of their own",
        ),
        ("\\data\\\nngram 1=2\n\\1-grams:\n-1\t</s>\n\\end\\\n", "1 words between"),
        ("\\data\\\nngram 1=" + 5_000 * "9" + "\n\\1-grams:\n", "the number of 1-grams"),
        (f"{HEAD}0.1\ta\n\\end\\\n", "line 5: 0.1 is above"),
        (f"{HEAD}inf\ta\n\\end\\\n", "line 5: inf is above"),
        (f"{HEAD}-1\ta\tinf\n\\end\\\n", "line 5: inf is above"),
        (f"{HEAD}-1\ta\t1e9\n\\end\\\n", "line 5: 1e9 is above"),
        (f"{HEAD}-0.01\ta\n\\end\\\n", "sum to 1.08"),
        (
            "\\data\\\nngram 1=2\nngram 2=2\n\\1-grams:\n-1\t</s>\n-1\ta\n\\2-grams:\n-0.1\ta </s>\n-0.1\ta a\n\\end\\\n",
            "line 9: the probabilities in one context sum to 1.59",
        ),
    ],
)
def test_what_is_no_arpa_file(tmp_path, content, message):
    (tmp_path / "m.arpa").write_text(content)
    with pytest.raises(InputError, match=message):
        arpa.read(tmp_path / "m.arpa")


def test_a_foreign_file_becomes_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("toy.arpa").write_text(
        "\\data\\\nngram 1=5\nngram 2=2\n\n\\1-grams:\n-1\t<unk>\n-99\t<s>\t-0.3\n-0.7\t</s>\n-0.6 the -0.2\n-0.9\tcat\n\n"
        "\\2-grams:\n-0.1\t<s> the\n-0.4\tthe cat\n\n\\end\\\n"
    )
    assert CliRunner().invoke(cli, ["arpa", "read", "toy.arpa"]).exit_code == 0
    (score,) = lmgen.load("toy").score(["the cat sat"])
    wanted = [0.1, 0.4, 1.0, 0.7]
    np.testing.assert_allclose([n / math.log(10) for _, n in score.symbols], wanted, rtol=1e-6)
    assert [s for s, _ in score.symbols] == ["the", "cat", "\ufffd", ""]
    with pytest.raises(InputError, match="name a file"):
        lmgen.load("toy").evaluate()


@pytest.mark.oracle
def test_kenlm_gives_the_same_scores(tmp_path):
    kenlm = pytest.importorskip("kenlm")
    rng = np.random.default_rng(2)
    words = ["the", "cat", "<s>", "sat", "on", "a\\b", "mat", "#x"]
    made = [" ".join(rng.choice(words, rng.integers(1, 9))) for _ in range(300)]
    for carry in (False, True):
        (tmp_path / "train.txt").write_text("\n".join(made[:250]) + "\n")
        model = lmgen.train(
            tmp_path / "train.txt", cell="ngram", order=4, unit="word", carry=carry, output=tmp_path / f"m{carry}"
        ).lm
        path = tmp_path / f"{carry}.arpa"
        with open(path, "w") as file:
            arpa.write(model, file)
        theirs = kenlm.Model(str(path))
        ids = corpus.encode(iter(reading.Text([tmp_path / "train.txt"], "line", carry)), model.vocab).stream
        ours = scoring.stream_nats(model, ids) / math.log(10)
        if carry:
            sentences = [" ".join(["<eos>" if i == EOS else arpa.escaped(model.vocab.spell(i)) for i in map(int, ids)])]
            found = [p for s in sentences for p, _, _ in theirs.full_scores(s, bos=False, eos=False)][1:]
        else:
            ends = np.split(ids[1:], np.flatnonzero(ids[1:] == EOS) + 1)[:-1]
            sentences = [" ".join(arpa.escaped(model.vocab.spell(int(i))) for i in s[:-1]) for s in ends]
            found = [p for s in sentences for p, _, _ in theirs.full_scores(s)]
        np.testing.assert_allclose(-ours, found, atol=1e-4)


def test_a_vocabulary_with_a_lone_surrogate_comes_back():
    model = fitted(["ab"], 2)
    odd = ngram.NGramModel(model.config, model.levels, Vocab("char", ("a", "\ud800", *model.vocab.symbols[2:])))
    with open("m.arpa", "w", encoding="utf-8") as file:
        arpa.write(odd, file)
    assert arpa.read(Path("m.arpa")).vocab == odd.vocab


def test_arpa_of_a_network_is_refused(tmp_path):
    text_file = tmp_path / "t.txt"
    text_file.write_text("ab\nba\n" * 20)
    lmgen.train(text_file, steps=1, size=4, output=tmp_path / "net")
    run = CliRunner().invoke(cli, ["arpa", "write", str(tmp_path / "net")])
    assert isinstance(run.exception, InputError)
    assert "a language model and cannot be written as n-grams: train one with --cell ngram" in str(run.exception)
    buffer = io.StringIO()
    arpa.write(fitted(["ab"], 2), buffer)
    assert buffer.getvalue().startswith("# lmgen unit=char")


def test_a_model_that_gives_more_than_certainty_is_refused(tmp_path):
    """Its n-grams sum to less than 1, but a backoff makes more of them: measuring it would flatter."""
    (tmp_path / "m.arpa").write_text(
        "\\data\\\nngram 1=4\nngram 2=1\n\n\\1-grams:\n-99\t<s>\t50\n-0.5\t</s>\n-0.5\ta\t50\n-2\t<unk>\n\n"
        "\\2-grams:\n-1\ta a\n\n\\end\\\n"
    )
    model = arpa.read(tmp_path / "m.arpa")
    with pytest.raises(CheckpointError, match="probability above 1"):
        model.nats(model.start(1), np.array([[0], [2], [0]]))
