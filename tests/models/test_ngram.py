"""The n-gram model against Kneser-Ney smoothing written down with dictionaries, a table worked by hand, and KenLM."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from few_letters import VOCAB, fitted, lines, stream_of
from hypothesis import given, settings
from hypothesis import strategies as st

import lmgen
from lmgen.cli.main import cli
from lmgen.data.vocab import EOS, UNK
from lmgen.errors import CheckpointError, InputError
from lmgen.generation import sampling
from lmgen.models import ngram, scoring
from lmgen.training import counting


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


def test_unknown_symbols_have_a_probability():
    model = fitted(["ab", "ba"], 3)
    nats = scoring.stream_nats(model, np.array([EOS, UNK, EOS]))
    assert np.isfinite(nats).all()
