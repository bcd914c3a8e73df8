"""Samples given a constraint: always as asked, and distributed as the model's own texts that fit are."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from itertools import islice, product

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmgen as library
from lmgen.constraints.constraint import constraint
from lmgen.data.vocab import EOS, UNK, Vocab
from lmgen.errors import InputError
from lmgen.evaluation.scores import scores
from lmgen.generation import conditional
from lmgen.generation.sampling import Settings, samples
from lmgen.models import ngram
from lmgen.models.recurrent import Recurrent
from lmgen.nn.model import NetworkConfig, init

LONGEST = 6
DRAWS = 1_000


def network(scale: float = 2.5, **config) -> Recurrent:
    settled = NetworkConfig(**{"vocab": 5, "size": 7, "embedding": 7} | config)
    params = jax.tree.map(lambda w: scale * w, init(settled, jax.random.key(3)))
    return Recurrent(settled, params, Vocab("char", tuple("abc")))


def trigrams() -> ngram.NGramModel:
    stream = np.array([0, 2, 3, 3, 0, 2, 4, 0, 3, 2, 2, 0, 4, 4, 3, 2, 0, 2, 3, 0, 3, 0, 2, 2, 3, 4, 0])
    return ngram.NGramModel(
        ngram.NGramConfig(5, 3), ngram.smoothed(ngram.Counts(stream, 5, False), 3), Vocab("char", tuple("abc"))
    )


MODELS = {"lstm": network(), "gru": network(cell="gru"), "n-grams": trigrams()}


@cache
def logits(lm) -> dict[str, np.ndarray]:
    """Those of what follows each text of at most LONGEST symbols."""
    found = {}
    for length in range(LONGEST + 1):
        texts = ["".join(letters) for letters in product("abc", repeat=length)]
        ids = np.array([[EOS, *lm.vocab.encode(text)] for text in texts]).T
        found |= dict(zip(texts, np.asarray(lm.read(lm.start(len(texts)), ids)[1][-1], np.float64), strict=True))
    return found


def probabilities(lm, wanted: Settings, prompt: str = "") -> dict[str, float]:
    """The probability of every whole text of at most LONGEST symbols, symbol by symbol in float64."""
    found, left = {}, [(prompt, 0.0)]
    while left:
        text, log_p = left.pop()
        z = logits(lm)[text].copy()
        z[UNK] = -np.inf
        z -= np.log(np.exp(z).sum())
        z[[*{*lm.vocab.encode(text).tolist()}]] *= wanted.repetition_penalty
        z /= wanted.temperature
        z -= np.log(np.exp(z).sum())
        found[text] = np.exp(log_p + z[EOS])
        if len(text) < LONGEST:
            left += [(text + lm.vocab.spell(id), log_p + z[id]) for id in range(2, len(lm.vocab))]
    return found


def chi_square(counts: Counter[str], expected: dict[str, float]) -> float:
    """χ² against the probabilities, over its 99.99 % point (Wilson & Hilferty 1931); rare texts count together."""
    n, common = counts.total(), [text for text, p in expected.items() if p * counts.total() >= 8]
    observed, means = [counts[text] for text in common], [n * expected[text] for text in common]
    observed.append(n - sum(observed))
    means.append(max(1e-9, n - sum(means)))
    if means[-1] < 1:
        assert observed[-1] <= 12
        observed, means = observed[:-1], means[:-1]
    degrees = max(1, len(means) - 1)
    limit = degrees * (1 - 2 / (9 * degrees) + 3.72 * (2 / (9 * degrees)) ** 0.5) ** 3
    return sum((o - m) ** 2 / m for o, m in zip(observed, means, strict=True)) / limit


CASES = [
    ({"ends_with": "ab"}, ""),
    ({"contains": "cc"}, ""),
    ({"starts_with": "ca"}, ""),
    ({"matches": "(ab|c)*b?"}, ""),
    ({"matches": "b.*c", "ban": "ba", "temperature": 0.7}, ""),
    ({"length": "3:4"}, ""),
    ({"min_length": 3, "ban": "a", "temperature": 1.5}, "b"),
    ({"contains": "ab", "repetition_penalty": 1.8}, "c"),
]
ON_MODELS = [(name, *case) for k, case in enumerate(CASES) for name in [*MODELS, *MODELS][k % 3 :][: 1 + 2 * (k == 0)]]


@pytest.mark.parametrize(("model", "asked", "prompt"), ON_MODELS, ids=str)
def test_samples_are_distributed_as_the_texts_that_fit(model, asked, prompt):
    """χ² against p(text) / Σ p over all texts that fit, listed; the share that was in vain leaves no trace."""
    lm, wanted = MODELS[model], Settings(**asked, max_length=LONGEST + 1 - len(prompt))
    ids = lm.vocab.encode(prompt).astype(np.int32)
    every = {text: p for text, p in probabilities(lm, wanted, prompt).items() if fits(lm, text, wanted, ids)}
    drawn = [*islice(samples(lm, wanted, 1, prompt), DRAWS)]
    assert all(one.ended and one.text in every for one in drawn)
    total = sum(every.values())
    assert chi_square(Counter(one.text for one in drawn), {text: p / total for text, p in every.items()}) < 1


def fits(lm, text: str, wanted: Settings, prompt: np.ndarray) -> bool:
    found, drawn = constraint(lm.vocab, wanted, prompt), lm.vocab.encode(text)[len(prompt) :]
    state = found.start
    for number, id in enumerate([*drawn.tolist(), EOS]):
        if not found.allowed(np.array([state]), np.array([number]))[0, id]:
            return False
        state = found.after(state, id)
    return found.ended(state)


def test_a_mask_alone_would_be_another_distribution():
    """The χ² of these tests tells the two apart: what a draw from the symbols that may follow gives fails it."""
    lm, wanted = MODELS["lstm"], Settings(ends_with="ab", max_length=LONGEST + 1)
    every = {text: p for text, p in probabilities(lm, wanted).items() if text.endswith("ab")}
    total, found, draw = sum(every.values()), constraint(lm.vocab, wanted, np.zeros(0, np.int32)), np.random.default_rng(0)
    counts: Counter[str] = Counter()
    for _ in range(1000):
        text, state, id = "", found.start, UNK
        while id != EOS:
            p = np.exp(logits(lm)[text]) * found.allowed(np.array([state]), np.array([len(text)]))[0]
            id = int(draw.choice(5, p=p / p.sum()))
            state, text = found.after(state, id), text + lm.vocab.spell(id)
        counts[text] += 1
    assert chi_square(counts, {text: p / total for text, p in every.items()}) > 2


@pytest.mark.parametrize("asked", [{"contains": "cb"}, {"matches": "a.*|b.*b"}], ids=str)
def test_samples_are_distributed_as_those_that_rejection_keeps(asked):
    """Two samples of texts, one of plain samples that fit, one under the constraint; with transforms that only the loop has."""
    lm, how = MODELS["gru"], {"top_k": 3, "typical": 0.95, "max_length": LONGEST + 1}
    pattern = re.compile(asked.get("matches") or ".*cb.*")
    plain = (one.text for one in samples(lm, Settings(**how), 5) if one.ended and pattern.fullmatch(one.text))
    kept, ours = Counter(islice(plain, 800)), Counter(one.text for one in islice(samples(lm, Settings(**how, **asked), 6), 800))
    texts = {text for text in kept | ours if kept[text] + ours[text] >= 10}
    rest = [counts.total() - sum(counts[text] for text in texts) for counts in (kept, ours)]
    pairs = [(kept[text], ours[text]) for text in texts] + ([(rest[0], rest[1])] if sum(rest) >= 10 else [])
    statistic = sum((a - b) ** 2 / (a + b) for a, b in pairs)
    degrees = len(pairs) - 1
    assert statistic < degrees * (1 - 2 / (9 * degrees) + 3.72 * (2 / (9 * degrees)) ** 0.5) ** 3


@pytest.mark.parametrize("most", [1, 30])
def test_a_full_tree_changes_no_distribution(most, monkeypatch):
    monkeypatch.setattr(conditional, "MOST_PREFIXES", most)
    test_samples_are_distributed_as_the_texts_that_fit("lstm", {"matches": "(ab|c)*b?"}, "")


def test_what_was_in_vain_is_not_tried_again(monkeypatch):
    """A beginning of fewer than 1 in 10⁸ texts is found within some thousand symbols."""
    monkeypatch.setattr(conditional, "MOST_SYMBOLS", 20_000)
    lm, beginning = MODELS["lstm"], "cabcabcabbcaacb"
    (score,) = scores(lm, [beginning])
    assert sum(nats for _, nats in score.symbols[:-1]) > np.log(1e8)
    assert all(one.text.startswith(beginning) for one in islice(samples(lm, Settings(starts_with=beginning), 0), 20))


def test_running_text_is_whole_lines_that_fit_together():
    lm = network(carry=True, scale=3)
    drawn = [*islice(samples(lm, Settings(matches="(?s)a.*\n.*c\n[ab]*", lines=3, max_length=60), 0), 20)]
    assert len({one.text for one in drawn}) > 5
    for one in drawn:
        assert one.ended
        assert re.fullmatch("(?s)a.*\n.*c\n[ab]*", one.text)
        assert one.text.count("\n") == 2


def test_the_state_of_running_text_starts_anew_with_every_trial():
    """The nats of a sample are its score, although other texts were begun and given up in its row."""
    lm = network(carry=True, scale=3)
    for one in islice(samples(lm, Settings(ends_with="ab", lines=1), 2), 100):
        assert one.nats == pytest.approx(next(scores(lm, [one.text])).nats, rel=1e-4)


def test_the_seed_alone_decides():
    lm = MODELS["gru"]
    many = [*islice(samples(lm, Settings(ends_with="cb"), 4, wanted=40), 40)]
    assert [*islice(samples(lm, Settings(ends_with="cb"), 4, wanted=3), 3)] == many[:3]
    assert [*islice(samples(lm, Settings(ends_with="cb"), 5), 40)] != many


@settings(deadline=None, max_examples=12)
@given(st.lists(st.sampled_from(["a", "b", ".", "[ab]", "(a|bc)", "c*", "(ab)?", ".{0,2}"]), min_size=1, max_size=4).map("".join))
def test_a_sample_matches_whatever_the_expression(pattern):
    for one in islice(samples(MODELS["n-grams"], Settings(matches=pattern, max_length=20), 0), 8):
        assert one.ended
        assert re.fullmatch(pattern, one.text)


def test_what_the_settings_never_draw_is_a_sentence():
    lm = MODELS["lstm"]
    likeliest = next(samples(lm, Settings(temperature=0), 0)).text
    other = "b" if not likeliest.startswith("b") else "a"
    assert next(samples(lm, Settings(temperature=0, matches=re.escape(likeliest)), 0)).text == likeliest
    with pytest.raises(InputError, match="with these settings the model never draws what is asked for"):
        next(samples(lm, Settings(temperature=0, starts_with=other), 0))


def test_what_is_too_rare_is_a_sentence_with_its_share(monkeypatch):
    """The estimate agrees with the listed probabilities; samples that were found come first."""
    lm = MODELS["lstm"]
    wanted = Settings(matches=".*(abcabc|ccbbaa)", max_length=7)
    share = sum(p for text, p in probabilities(lm, wanted).items() if re.fullmatch(".*(abcabc|ccbbaa)", text))
    monkeypatch.setattr(conditional, "MOST_PREFIXES", 1)
    monkeypatch.setattr(conditional, "MOST_SYMBOLS", 2_000)
    with pytest.raises(InputError, match=r"fewer than 1 in|about 1 in") as error:
        [*islice(samples(lm, wanted, 0), 1000)]
    stated = int(re.search(r"1 in ([\d,]+)", str(error.value))[1].replace(",", ""))
    assert share / 5 < 1 / stated < 5 * share or "fewer" in str(error.value)


def test_a_stop_ends_a_sample_which_may_else_be_cut_off():
    """Without other wishes, a stop is a rule about where to end, so the texts are those of the model, cut."""
    lm = MODELS["lstm"]
    drawn = [*islice(samples(lm, Settings(stop=["b"], max_length=5), 0), 400)]
    assert not any("b" in one.text for one in drawn)
    assert all(one.symbols <= 5 and (one.ended or len(one.text) == 5) for one in drawn)
    assert {one.ended for one in drawn} == {True, False} or all(one.ended for one in drawn)
    assert [one.text for one in drawn] == [
        one.text.partition("b")[0] for one in islice(samples(lm, Settings(max_length=5), 0), 400)
    ]
    expected: Counter[str] = Counter()
    for text, p in probabilities(lm, Settings()).items():
        expected[text.partition("b")[0]] += p
    short = {text: p for text, p in expected.items() if len(text) < 4}
    counts = Counter(one.text for one in drawn if len(one.text) < 4)
    assert chi_square(counts, {text: p / sum(short.values()) for text, p in short.items()}) < 1


def test_constraints_work_for_python_and_the_command_line(model_path, lmgen):
    model = library.load(model_path)
    drawn = model.sample(5, seed=3, starts_with="ba", ends_with="i", novel=True)
    assert len({one.text for one in drawn}) == 5
    assert all(re.fullmatch("ba.*i", one.text) and not one.known for one in drawn)
    code, out, err = lmgen("sample", model_path, "-n", 5, "--seed", 3, "--starts-with", "ba", "--ends-with", "i", "--novel")
    assert (code, out.splitlines(), err) == (0, [one.text for one in drawn], "")
    words = ["--contains", "ka", "--contains", "to", "--ban", "i", "--ban", "u", "--length", "6:", "--stop", "z", "--stop", "y"]
    code, out, _ = lmgen("sample", model_path, "-n", 3, "--seed", 3, *words)
    assert code == 0
    assert all("ka" in line and "to" in line and not {*"iu"} & {*line} and len(line) >= 6 for line in out.splitlines())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--length", "5:3"], "'5:3' is an empty range"),
        (["--matches", "(a"], "is no regular expression"),
        (["--matches", r"(a)\1"], "back-reference"),
        (["--starts-with", "9"], "the model knows no '9'"),
        (["--starts-with", "ba", "--ban", "b"], "leave one of them out"),
        (["--repetition-penalty", "0.5"], "1 or more"),
        (["--typical", "0"], "more than 0"),
        (["--stop", ""], "is in every text"),
    ],
)
def test_hostile_wishes_are_sentences(lmgen, model_path, words, sentence):
    code, out, err = lmgen("sample", model_path, *words)
    assert (code, out) == (2, "")
    assert sentence in err
