"""The n-gram model against Kneser-Ney smoothing written down with dictionaries, a table worked by hand, and KenLM."""

from __future__ import annotations

import io
import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import lmgen
from lmgen.cli.main import cli
from lmgen.data import corpus, reading
from lmgen.data.vocab import EOS, UNK, Vocab
from lmgen.errors import CheckpointError, InputError
from lmgen.generation import sampling
from lmgen.models import arpa, ngram, scoring
from lmgen.training import counting

LETTERS = "abcd"
VOCAB = Vocab("char", tuple(LETTERS))
lines = st.lists(st.text(LETTERS, max_size=8), min_size=1, max_size=12)


def stream_of(sequences: list[str]) -> np.ndarray:
    return np.concatenate([[EOS], *([*VOCAB.encode(s), EOS] for s in sequences)]).astype(np.int64)


def fitted(sequences: list[str], order: int, carry: bool = False) -> ngram.NGramModel:
    return counting.fitted(stream_of(sequences), None, VOCAB, carry, order).lm


class Slow:
    """Interpolated modified Kneser-Ney as the paper writes it, in dictionaries and float64."""

    def __init__(self, sequences: list[list[int]], vocab: int, order: int):
        self.vocab, self.order = vocab, order
        raw = [Counter(s[i : i + k] for s in map(tuple, sequences) for i in range(len(s) - k + 1)) for k in range(order + 2)]
        raw[1] = Counter((w,) for s in sequences for w in s[1:])
        self.counts = [Counter()] * (order + 1)
        for k in range(1, order + 1):
            left = defaultdict(set)
            for gram in raw[k + 1]:
                left[gram[1:]].add(gram[0])
            adjusted = {g: raw[k][g] if k > 1 and g[0] == EOS else len(left[g]) for g in raw[k]}
            self.counts[k] = raw[k] if k == order else Counter(adjusted)
        self.discounts = [self.of(counts.values()) for counts in self.counts]

    @staticmethod
    def of(counts) -> list[float]:
        n = Counter(counts)
        if not all(n[j] for j in (1, 2, 3, 4)):
            return [0, *ngram.FALLBACK]
        y = n[1] / (n[1] + 2 * n[2])
        d = [j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3)]
        return [0, *(d if all(0 < d[j] <= j + 1 for j in range(3)) else ngram.FALLBACK)]

    def p(self, w: int, context: tuple[int, ...]) -> float:
        context = context[len(context) - min(len(context), self.order - 1) :]
        k = len(context) + 1
        counts, d = self.counts[k], self.discounts[k]
        followers = {g: c for g, c in counts.items() if g[:-1] == context and c}
        shorter = self.p(w, context[1:]) if context else 1 / self.vocab
        if not followers:
            return shorter
        total = sum(followers.values())
        gamma = sum(d[min(c, 3)] for c in followers.values()) / total
        c = followers.get((*context, w), 0)
        return (c - d[min(c, 3)]) / total + gamma * shorter


def slow_nats(sequences: list[str], read: list[str], order: int) -> list[float]:
    padded = [[EOS, *map(int, VOCAB.encode(s)), EOS] for s in sequences]
    slow = Slow(padded, len(VOCAB), order)
    nats = []
    for s in read:
        ids = [EOS, *map(int, VOCAB.encode(s)), EOS]
        nats += [-math.log(slow.p(ids[i], tuple(ids[:i]))) for i in range(1, len(ids))]
    return nats


@settings(max_examples=80, deadline=None)
@given(lines, lines, st.integers(1, 5))
def test_equals_kneser_ney_in_dictionaries(sequences, read, order):
    found = scoring.stream_nats(fitted(sequences, order), stream_of(read))
    np.testing.assert_allclose(found, slow_nats(sequences, read, order), rtol=2e-5, atol=2e-6)


@settings(max_examples=30, deadline=None)
@given(lines, lines, st.integers(1, 4))
def test_contexts_that_reach_back_over_eos_are_those_of_one_long_sequence(sequences, read, order):
    whole = [int(w) for w in stream_of(sequences)]
    slow = Slow([whole], len(VOCAB), order)
    slow.counts = [Counter()] * (order + 1)
    for k in range(1, order + 1):  # EOS is a symbol like others; before the first one stands the beginning, which is none of them
        grams = [tuple(whole[i : i + k]) for i in range(1 if k == 1 else 0, len(whole) - k + 1)]
        left = defaultdict(set)
        for i in range(1 if k == 1 else 0, len(whole) - k + 1):
            left[tuple(whole[i : i + k])].add(whole[i - 1] if i else None)
        slow.counts[k] = Counter(grams) if k == order else Counter({g: len(s) for g, s in left.items()})
    slow.discounts = [Slow.of(c.values()) for c in slow.counts]
    ids = [int(w) for w in stream_of(read)]
    wanted = [-math.log(slow.p(ids[i], tuple(ids[:i]))) for i in range(1, len(ids))]
    np.testing.assert_allclose(scoring.stream_nats(fitted(sequences, order, True), np.array(ids)), wanted, rtol=2e-5, atol=2e-6)


def test_bigrams_worked_by_hand():
    # Of "ab", "ab", "ac" the bigrams are ^a 3, ab 2, ac 1, b$ 2, c$ 1. No counts of counts: discounts 0.5, 1, 1.5.
    # Before a stands ^, before b and c stands a, before $ stand b and c: continuation counts a 1, b 1, c 1, $ 2, all in all 5,
    # less 0.5 0.5 0.5 1 = 2.5 of 5 for the 6 symbols that there are: each gets 1/12.
    unigram = {"a": 0.1 + 1 / 12, "b": 0.1 + 1 / 12, "c": 0.1 + 1 / 12, "$": 0.2 + 1 / 12}
    # After a: (2 - 1)/3 for b, (1 - 0.5)/3 for c, 1.5/3 is left; after b: (2 - 1)/2 for $; after ^: (3 - 1.5)/3 for a.
    model = fitted(["ab", "ab", "ac"], 2)
    p = np.exp(-scoring.stream_nats(model, stream_of(["ab", "ac", "d"])).astype(np.float64))
    first, half = 1.5 / 3 + 0.5 * unigram["a"], 0.5
    expected = [first, 1 / 3 + half * unigram["b"], 1 / 2 + half * unigram["$"]]
    expected += [first, 0.5 / 3 + half * unigram["c"], 0.5 + half * unigram["$"]]
    expected += [half / 12, unigram["$"]]  # d was never seen, and nothing is known of what follows it
    np.testing.assert_allclose(p, expected, rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(lines, lines, st.integers(1, 5), st.booleans())
def test_all_that_may_follow_sums_to_one_and_is_what_scoring_says(sequences, read, order, carry):
    model = fitted(sequences, order, carry)
    ids = stream_of(read)[:, None]
    after, logits = model.read(model.start(1), ids)
    np.testing.assert_allclose(np.exp(logits.astype(np.float64)).sum(-1), 1, atol=1e-5)
    state, nats = model.nats(model.start(1), ids)
    np.testing.assert_allclose(nats[:, 0], -logits[np.arange(len(ids) - 1), 0, ids[1:, 0]], rtol=1e-6)
    np.testing.assert_array_equal(after, model.read(state, ids[-1:])[0])


@given(lines, lines, st.integers(1, 4), st.booleans(), st.integers(1, 5), st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_neither_batch_nor_window_changes_a_score(sequences, read, order, carry, batch, window):
    model, ids = fitted(sequences, order, carry), stream_of(read)
    np.testing.assert_array_equal(scoring.stream_nats(model, ids), scoring.stream_nats(model, ids, batch, window))


def test_discounts_that_counts_of_counts_give():
    counts = np.repeat([1, 2, 3, 4, 9], [50, 20, 10, 5, 7])
    y = 50 / 90
    np.testing.assert_allclose(ngram.discounts(counts), [0, 1 - 2 * y * 20 / 50, 2 - 3 * y * 10 / 20, 3 - 4 * y * 5 / 10])
    assert list(ngram.discounts(counts[counts != 3])) == [0, *ngram.FALLBACK]


def test_the_order_is_what_validation_wants():
    rng = np.random.default_rng(0)
    words = ["abcd" * 2, "dcba", "badc"]
    train, valid = ([words[k] for k in rng.integers(3, size=n)] for n in (200, 40))
    found = counting.fitted(stream_of(train), stream_of(valid), VOCAB, False)
    best = min(found.tried, key=found.tried.__getitem__)
    assert found.lm.config.order == best
    assert len(found.tried) == best + 1
    with pytest.raises(InputError, match="order 33"):
        counting.fitted(stream_of(train), None, VOCAB, False, 33)


# ---- the interface of every model --------------------------------------------------------------------------------------


@pytest.fixture
def names(tmp_path) -> Path:
    rng = np.random.default_rng(1)
    first, last = ["an", "be", "cla", "do"], ["na", "ra", "la", "ris", "n"]
    made = sorted({"".join(rng.choice(first, 2)) + rng.choice(last) for _ in range(60)})
    (tmp_path / "names.txt").write_text("\n".join(made) + "\n")
    return tmp_path / "names.txt"


def test_train_sample_score_and_measure_as_a_network(names, tmp_path):
    model = lmgen.train(names, valid=names, cell="ngram", order=3, output=tmp_path / "three")
    drawn = model.sample(5, seed=3)
    assert [s.text for s in drawn] == [s.text for s in lmgen.load(tmp_path / "three").sample(5, seed=3)]
    assert all(s.ended and s.known is not None for s in drawn)
    for one, score in zip(drawn, model.score([s.text for s in drawn]), strict=True):
        assert one.nats == pytest.approx(score.nats, rel=1e-4)
    measures = model.evaluate(names)
    assert measures.nats == pytest.approx(sum(s.nats for s in model.score(names.read_text().split())), rel=1e-6)
    assert model.evaluate().symbols > 0
    prompted = model.sample(3, prompt="cla", temperature=0.5, top_k=3)
    assert all(s.text.startswith("cla") for s in prompted)


def test_samples_come_as_often_as_the_model_says():
    model = fitted(["ab", "ab", "ac", "b"], 2)
    drawn = [s.text for _, s in zip(range(1600), sampling.samples(model, sampling.Settings(unknown=True)), strict=False)]
    wanted = {s: math.exp(-sum(slow_nats(["ab", "ab", "ac", "b"], [s], 2))) for s in ("ab", "ac", "b", "a", "")}
    for s, p in wanted.items():
        assert drawn.count(s) / 1600 == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 1600))


def test_the_command_line_counts(names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(cli, ["train", "names.txt", "--valid", "names.txt", "--cell", "ngram"])
    assert run.exit_code == 0
    assert "order 2: validation" in run.stderr
    assert "lmgen sample names" in run.stderr
    line = json.loads((tmp_path / "checkpoints/names/metrics.jsonl").read_text())
    assert line["valid_nats"] > 0
    assert line["symbols"] > 0
    shown = CliRunner().invoke(cli, ["show"])
    assert "ngram order" in shown.stdout
    assert "Kneser-Ney" in (tmp_path / "checkpoints/names/README.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cell", "ngram", "--size", "8"], "has no size"),
        (["--cell", "ngram", "--budget", "5s"], "has no budget"),
        (["--order", "3"], "a language model has no order"),
        (["--cell", "ngram", "--order", "99"], "99 cannot be used: give 1 or more, 32 at most"),
        (["--cell", "ngrm"], "did you mean ngram"),
    ],
)
def test_what_an_ngram_model_cannot_have(names, tmp_path, words, message):
    import subprocess
    import sys

    run = subprocess.run([sys.executable, "-m", "lmgen", "train", "names.txt", *words], cwd=tmp_path, capture_output=True)
    assert run.returncode == 2
    assert message in run.stderr.decode()
    assert not (tmp_path / "checkpoints").exists()


def test_there_is_nothing_to_resume(names, tmp_path):
    lmgen.train(names, cell="ngram", output=tmp_path / "m")
    from lmgen.training import run as runs

    with pytest.raises(CheckpointError, match="nothing to resume"):
        runs.resume(tmp_path / "m")


@pytest.mark.parametrize("what", ["keys", "order", "finite", "gap"])
def test_arrays_that_lead_nowhere_are_refused(names, tmp_path, what):
    from lmgen.system import checkpoint

    path = tmp_path / "m"
    lmgen.train(names, cell="ngram", order=3, output=path)
    arrays, about, _ = checkpoint.read_model(path)
    arrays = {name: a.copy() for name, a in arrays.items()}
    if what == "keys":
        arrays["1/keys"][-1] = 1 << 60
    elif what == "order":
        arrays["2/keys"][:2] = arrays["2/keys"][1::-1]
    elif what == "finite":
        arrays["0/log_p"][0] = np.nan
    else:
        del arrays["2/backoff"]
    about.pop("files"), about.pop("format"), about.pop("kind")
    checkpoint.write_model(path, arrays, about)
    with pytest.raises(CheckpointError, match=r"n-grams of order|lacks the array"):
        lmgen.load(path)


# ---- ARPA --------------------------------------------------------------------------------------------------------------

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


def test_unknown_symbols_have_a_probability():
    model = fitted(["ab", "ba"], 3)
    nats = scoring.stream_nats(model, np.array([EOS, UNK, EOS]))
    assert np.isfinite(nats).all()


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
