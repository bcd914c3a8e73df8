"""Writing by label: nats, samples and mixtures are those of the definition; known and new depend on the label."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lmgen
from equations import by_hand
from lmgen.applied.writer import Writer
from lmgen.data.vocab import EOS, UNK, UNKNOWN_MARK, Vocab
from lmgen.errors import InputError
from lmgen.evaluation.cards import bylabel
from lmgen.evaluation.scores import scores
from lmgen.generation.sampling import Settings, samples
from lmgen.labelled.examples import Example
from lmgen.networks import writing
from lmgen.networks.writing import WriterConfig
from lmgen.nn.cells import CELLS

LABELS = ("Greek", "Irish", "New, old: all")
VOCAB = Vocab("char", tuple("abcdefg"))
TINY = WriterConfig(len(VOCAB), size=7, embedding=5, labels=LABELS)
TEXTS = ["abba", "", "gfedcbaabcdefg", "a?c"]


def writer(cell="lstm", seed=0, scale=0.7, **changes) -> Writer:
    config = WriterConfig(**{**vars(TINY), "cell": cell, **changes})
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(partial(writing.init, config), jax.random.key(0))
    params = jax.tree.map(lambda a: jnp.asarray(rng.normal(0, scale, a.shape), jnp.float32), shapes)
    return Writer(config, params, VOCAB)


def expected_logits(lm: Writer, weights: dict[str, float], ids: list[int]) -> np.ndarray:
    """What follows EOS and each of the ids, in float64: each is read with the mean vector of the labels added to its own."""
    p = jax.tree.map(np.float64, lm.params)
    total = sum(weights.values())
    label = sum(weight / total * p["labels"][LABELS.index(name)] for name, weight in weights.items())
    xs = (p["embedding"][[EOS, *ids]] + label)[:, None]
    start = jax.tree.map(np.asarray, CELLS[lm.config.cell].start(1, lm.config.size))
    hs = by_hand(lm.config.cell, p["layers"][0], start, xs, np.zeros((len(xs), 1), bool))[1][:, 0]
    return hs @ p["head"]["W"] + p["head"]["b"]


def expected_nats(lm: Writer, weights: dict[str, float], text: str) -> np.ndarray:
    """−ln p of each symbol of a text and of its EOS, given the label."""
    ids = lm.vocab.encode(text).tolist()
    logits = expected_logits(lm, weights, ids)
    return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(logits)), [*ids, EOS]]


MIXTURES = [{"Irish": 1.0}, {"Greek": 0.7, "Irish": 0.3}, {"Greek": 2, "Irish": 1, "New, old: all": 5}]


# ---- scoring -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", MIXTURES, ids=len)
@pytest.mark.parametrize("cell", ["lstm", "gru", "elman", "min-gru"])
def test_nats_are_those_of_the_definition_given_the_label(cell, weights):
    """The label itself costs nothing; the symbols are those of the text alone."""
    lm = writer(cell).by(weights)
    for score, text in zip(scores(lm, TEXTS), TEXTS, strict=True):
        wanted = expected_nats(writer(cell), weights, text)
        np.testing.assert_allclose([nats for _, nats in score.symbols], wanted, rtol=1e-4, atol=1e-5)
        assert "".join(symbol for symbol, _ in score.symbols) == text.replace("?", UNKNOWN_MARK)
        assert score.nats == pytest.approx(wanted.sum(), rel=1e-5)


def test_labels_differ():
    nats = {label: [score.nats for score in scores(writer().by({label: 1.0}), TEXTS)] for label in LABELS}
    assert len({tuple(one) for one in nats.values()}) == len(LABELS)


def test_eval_by_label_is_the_sum_of_the_scores_by_each_label():
    lm = writer()
    examples = [Example(text, (label,)) for label in LABELS[:2] for text in TEXTS]
    every, *rows = bylabel.measure(lm, "text", examples)
    assert [row.label for row in rows] == [*LABELS[:2]]
    for row in rows:
        assert row.nats == pytest.approx(sum(expected_nats(lm, {row.label: 1.0}, text).sum() for text in TEXTS), rel=1e-5)
        assert (row.sequences, row.symbols, row.unknown) == (len(TEXTS), sum(len(text) + 1 for text in TEXTS), 1)
    assert every.nats == pytest.approx(sum(row.nats for row in rows))


# ---- sampling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", MIXTURES, ids=len)
@pytest.mark.parametrize(("cell", "prompt"), [("lstm", ""), ("lstm", "ab"), ("gru", ""), ("elman", "b")])
def test_likeliest_sample_is_that_of_the_definition(cell, prompt, weights):
    """By the compiled sampler and by the JAX loop: the label is read before the prompt, and UNK is never written."""
    lm, text = writer(cell), prompt
    for _ in range(12 - len(prompt)):
        logits = expected_logits(lm, weights, lm.vocab.encode(text).tolist())[-1]
        logits[UNK] = -np.inf
        if (best := int(logits.argmax())) == EOS:
            break
        text += lm.vocab.spell(best)
    settings = Settings(temperature=0, max_length=12 - len(prompt))
    assert next(samples(lm.by(weights), settings, 0, prompt, wanted=1)).text == text


def test_samples_come_as_often_as_they_are_probable():
    """First letters of 4,000 samples, against the probabilities of the definition."""
    lm, weights = writer(scale=1.0), {"Greek": 0.6, "Irish": 0.4}
    p = np.exp(expected_logits(lm, weights, [])[0])
    p[UNK] = 0
    drawn = samples(lm.by(weights), Settings(max_length=1), 3, wanted=4_000)
    ids = [lm.vocab.encode(next(drawn).text) for _ in range(4_000)]
    found = np.bincount([int(one[0]) if len(one) else EOS for one in ids], minlength=len(p)) / 4_000
    np.testing.assert_allclose(found, p / p.sum(), atol=0.04)


def test_nats_of_a_sample_are_those_of_its_score():
    lm = writer().by({"Irish": 1.0})
    drawn = samples(lm, Settings(max_length=400, unknown=True), 0, wanted=5)
    for sample in (next(drawn) for _ in range(5)):
        if sample.ended and UNKNOWN_MARK not in sample.text:
            assert sample.nats == pytest.approx(next(scores(lm, [sample.text])).nats, rel=1e-4)


# ---- labels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("Irish", {"Irish": 1.0}),
        ("Greek:0.7,Irish:0.3", {"Greek": 0.7, "Irish": 0.3}),
        ("Greek, Irish:3", {"Greek": 1.0, "Irish": 3.0}),
        ("New, old: all", {"New, old: all": 1.0}),
        ("Welsh", {"Welsh": 1.0}),
    ],
)
def test_weights_are_read_as_they_are_written(text, weights):
    assert writer().parsed(text) == weights


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("Irsh", "this model knows no label 'Irsh': did you mean Irish\\?"),
        ("irish", "did you mean Irish\\?"),
        ("Klingon", "no label 'Klingon': the labels are Greek, Irish, New, old: all$"),
        ("Greek:0", "'Greek' has the weight 0.0: give positive ones"),
        ("Greek:-1,Irish:2", "the weight -1.0"),
        ("Greek:nan", "the weight nan"),
        ("Greek:inf", "the weight inf"),
        ("Greek:much", "no label 'Greek:much'"),
        ("", "no label ''"),
    ],
)
def test_labels_that_cannot_be_used_get_a_sentence(label, message):
    lm = writer()
    with pytest.raises(InputError, match=message):
        lm.by(lm.parsed(label))


@pytest.mark.parametrize("weights", [{}, [], ["Irish"], None, 5])
def test_what_names_no_label_gets_a_sentence(weights):
    with pytest.raises(InputError, match="names no label: give one, such as A, or several with weights, as A:0"):
        writer().by(weights)
    with pytest.raises(InputError, match="the label 'Irish' has the weight much: give positive ones"):
        writer().by({"Irish": "much"})


def test_a_message_does_not_list_thousands_of_labels():
    names = tuple(f"label {k}" for k in range(5_000))
    lm = writer(labels=names, vocab=len(VOCAB) + 5_000)
    with pytest.raises(InputError) as error:
        lm.by({"Greek": 1.0})
    assert len(str(error.value)) < 500


def test_a_label_must_be_given():
    for ask in (lambda: next(samples(writer(), Settings())), lambda: next(scores(writer(), ["a"]))):
        with pytest.raises(InputError, match="this model writes by label: give --label, one of Greek, Irish"):
            ask()


# ---- by lmgen.train ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """By Irish words of a and b, by Greek words of x and y; "ab" is a word of both."""
    folder = tmp_path_factory.mktemp("writer")
    random = np.random.default_rng(0)
    words = {
        label: {"".join(random.choice([*letters], random.integers(3, 8))) for _ in range(500)} for label, letters in FOR.items()
    }
    text = folder / "names.tsv"
    text.write_text("".join(f"{label}\t{word}\n" for label, own in words.items() for word in [*sorted(own), "ab"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        options = {"size": 24, "embedding": 8, "batch": 8, "window": 16, "learning_rate": 0.02, "dropout": 0.0}
        yield lmgen.train(text, output=folder / "m", task="generate", steps=250, **options), words


FOR = {"Irish": "abcde", "Greek": "xyzab"}


def test_samples_are_of_their_label(trained):
    model, _ = trained
    assert model.conditions
    for label, others in (("Irish", "xyz"), ("Greek", "cde")):
        drawn = model.by(label).sample(count=40, seed=0)
        assert sum(any(letter in one.text for letter in others) for one in drawn) <= 4
    mixed = "".join(one.text for one in model.by("Irish:0.5,Greek:0.5").sample(count=60, seed=0))
    assert set(mixed) & {*"cde"}
    assert set(mixed) & {*"xyz"}


def test_known_and_new_are_of_the_label(trained):
    """A name of one language is new by another, but for a name of both."""
    model, words = trained
    irish, greek = (model.by(label).lm for label in ("Irish", "Greek"))
    own = {label: next(iter(sorted(words[label] - words[other]))) for label, other in (("Irish", "Greek"), ("Greek", "Irish"))}

    def known(lm, text):
        return bool(np.isin(np.array(lm.fingerprints(text), np.uint64), lm.known).any())

    assert [known(lm, own["Irish"]) for lm in (irish, greek)] == [True, False]
    assert [known(lm, own["Greek"]) for lm in (irish, greek)] == [False, True]
    assert all(known(lm, "ab") for lm in (irish, greek))
    assert not known(irish, "abcdeabcde")
    for label in words:
        for one in model.by(label).sample(count=60, seed=1):
            assert one.known == (one.text in {*words[label], "ab"})
        novel = model.by(label).sample(count=20, seed=1, novel=True)
        assert novel
        assert not {one.text for one in novel} & {*words[label], "ab"}


def test_scores_and_eval_by_label_of_a_trained_model(trained):
    """A name is likelier by its own label, and eval of the held-out names says the same."""
    model, words = trained
    for label, other in (("Irish", "Greek"), ("Greek", "Irish")):
        own = sorted(words[label] - words[other])[:20]
        assert sum(one.nats for one in model.by(label).score(own)) < sum(one.nats for one in model.by(other).score(own))
    ((_, (every, *rows)),) = model.by_label()
    assert {row.label for row in rows} == {"Irish", "Greek"}
    assert every.nats_per_symbol == pytest.approx(float(model.lm.provenance.about["valid_nats"]), rel=1e-3)


def test_commands_write_and_score_by_label(trained, lmgen):
    path = trained[0].path
    code, out, _ = lmgen("sample", path, "--label", "Irish", "-n", "5", "--seed", "1")
    assert (code, out.split()) == (0, [one.text for one in trained[0].by("Irish").sample(count=5, seed=1)])
    code, out, _ = lmgen("score", path, "--label", "Greek", stdin="xyzzy\n")
    assert (code, float(out.split()[0])) == (0, pytest.approx(trained[0].by("Greek").score("xyzzy").nats, abs=1e-3))
    for command in ("sample", "score"):
        code, _, err = lmgen(command, path, "--label", "Irsh", stdin="a\n")
        assert (code, "did you mean Irish?" in err) == (2, True)
        code, _, err = lmgen(command, path, stdin="a\n")
        assert (code, "give --label, one of Greek, Irish" in err) == (2, True)


@pytest.mark.parametrize("cell", ["ngram", "lstm"])
def test_other_models_refuse_a_label_with_a_sentence(tmp_path, words_file, lmgen, cell, model_path):
    path = model_path
    if cell == "ngram":
        path = tmp_path / "m"
        lmgen("train", words_file, "--cell", "ngram", "-o", path)
    for command in ("sample", "score"):
        code, _, err = lmgen(command, path, "--label", "Irish", stdin="a\n")
        assert code == 2
        assert "cannot write by label: train one on labelled text with --task generate" in err
