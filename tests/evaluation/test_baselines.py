"""Baselines of labels: naive Bayes against scikit-learn, the others by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB

from lmgen.evaluation import baselines
from lmgen.evaluation.baselines import FrequentTag, Majority, NaiveBayes
from lmgen.labelled.examples import Example
from support import invented_words

TAGGED = [
    Example(("time", "flies"), tags=("N", "V")),
    Example(("flies", "like", "time"), tags=("N", "V", "N")),
    Example(("flies",), tags=("V",)),
]


def texts(count, seed=0, most=12):
    """Lines of words that depend on the number of the line modulo 5."""
    rng, words = np.random.default_rng(seed), invented_words(60)
    odds = np.random.default_rng(99).dirichlet(np.full(60, 0.3), 5)
    return [" ".join(rng.choice(words, rng.integers(0, most), p=odds[k % 5])) for k in range(count)]


def features(training, others):
    """The counts of 1- and 2-grams of texts, by scikit-learn."""
    vectorizer = CountVectorizer(ngram_range=(1, 2), analyzer="word", token_pattern=r"\S+", lowercase=False)
    return vectorizer.fit_transform(training), vectorizer.transform(others)


def test_naive_bayes_is_that_of_scikit_learn():
    training, others = texts(300), texts(200, seed=1)
    names = [f"label {k % 5}" for k in range(300)]
    X, Y = features(training, others)
    expected = MultinomialNB().fit(X, names).predict(Y)
    found = NaiveBayes().fit(Example(text, (name,)) for text, name in zip(training, names, strict=True))
    assert [found.predict(Example(text)) for text in others] == [(name,) for name in expected]
    assert len({*expected}) == 5


def test_naive_bayes_of_several_labels_says_yes_or_no_to_each():
    training, others = texts(300), texts(200, seed=1)
    names = [
        tuple(name for name, of in (("even", (0, 2, 4)), ("small", (0, 1)), ("four", (4,))) if k % 5 in of) for k in range(300)
    ]
    X, Y = features(training, others)
    found = NaiveBayes().fit(Example(text, some) for text, some in zip(training, names, strict=True))
    predicted = [found.predict(Example(text)) for text in others]
    for label in ("even", "small", "four"):
        expected = MultinomialNB().fit(X, [label in some for some in names]).predict(Y)
        assert [label in some for some in predicted] == expected.tolist()


def test_naive_bayes_reads_tokens_and_letters():
    examples = [Example(("a b", "c"), ("x",)), Example(("a", "b c"), ("y",))]
    assert [NaiveBayes().fit(examples).predict(example) for example in examples] == [("x",), ("y",)]
    letters = NaiveBayes("char").fit([Example("aaab", ("x",)), Example("abbb", ("y",))])
    assert [letters.predict(Example(text)) for text in ("aa", "bb")] == [("x",), ("y",)]


def test_a_label_of_every_sequence_is_always_likelier():
    found = NaiveBayes().fit([Example("a", ("x", "y")), Example("b", ("x",))])
    assert [found.predict(Example(text)) for text in ("a", "b", "")] == [("x", "y"), ("x",), ("x",)]


def test_naive_bayes_counts_so_many_grams_and_no_more(monkeypatch):
    monkeypatch.setattr(baselines, "MOST_GRAMS", 2)
    found = NaiveBayes().fit([Example("a a b", ("x",)), Example("c", ("y",))])
    assert [*found.grams] == ["a", "b"]
    assert found.predict(Example("a")) == ("x",)


def test_the_most_frequent_tag_of_each_word():
    found = FrequentTag().fit(TAGGED)
    assert found.predict(Example("time flies like an arrow")) == ("N", "V", "V", "N", "N")


@pytest.mark.parametrize(
    ("of", "examples", "answer"),
    [
        ("tags", TAGGED, ("N", "N")),  # three of each: the first by name
        ("labels", [Example("a", ("x",)), Example("b", ("y",)), Example("c", ("y",))], ("y",)),
        ("labels", [Example("a", ("x", "y")), Example("b"), Example("c")], ()),
    ],
)
def test_the_majority(of, examples, answer):
    assert Majority(of).fit(examples).predict(Example("two words")) == answer


def test_nothing_to_learn_from_predicts_nothing():
    assert NaiveBayes().fit([]).predict(Example("a b")) == Majority("labels").fit([]).predict(Example("a b")) == ()
