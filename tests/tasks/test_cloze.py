"""Two directions: what a cloze model sees, that its measures are exact, and how it fills blanks.

Shapes: T time, B batch, V vocabulary.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

import lmgen
from equations import by_hand
from lmgen.data.corpus import encode
from lmgen.data.reading import Piece
from lmgen.data.vocab import EOS, UNK, Vocab
from lmgen.data.windows import Windows
from lmgen.defaults.config import TrainingConfig
from lmgen.errors import InputError
from lmgen.evaluation.scores import PseudoMeasures, measure, scores
from lmgen.generation import filling
from lmgen.generation.sampling import Settings, samples
from lmgen.models.recurrent import Cloze, Recurrent
from lmgen.models.scoring import stream_nats
from lmgen.nn import model
from lmgen.nn.cells import CELLS
from lmgen.tasks import task_of
from lmgen.training.step import begin, step

V = 11
VOCAB = Vocab("char", tuple("abcdefghi"))
TINY = model.NetworkConfig(V, "lstm", size=6, embedding=5, layers=2, direction="both")
LINES = ["cab", "a", "bfacegi", "", "higfedcbahgf", "iiaab", "gg", "abcdefghiabcdefghiabcdefghi"]


def random_params(config, seed=0):
    """Weights of normal size everywhere, the biases too."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(partial(model.init, config), jax.random.key(0))
    return jax.tree.map(lambda a: rng.normal(0, 0.3, a.shape).astype(np.float32), shapes)


def cloze(**changes):
    config = replace(TINY, **changes)
    return Cloze(config, random_params(config), VOCAB)


def stream_of(lines):
    return np.concatenate([[EOS], *([*VOCAB.encode(line), EOS] for line in lines)]).astype(np.int32)


def expected_nats(lm, stream):
    """Symbol by symbol from the definition, in float64: one stack reads all before it, the other all after it from the end, where
    an EOS begins what is read from there."""
    p = jax.tree.map(np.float64, lm.params)

    def last_output(stack, ids):
        xs = p["embedding"][ids][:, None]
        for weights in stack["layers"]:
            zero = {name: np.zeros((1, lm.config.size)) for name in ("h", "c")}
            _, xs = by_hand("lstm", weights, zero, xs, (ids == EOS)[:, None] & (not lm.carry))
        return xs[-1, 0]

    nats = np.zeros(len(stream) - 1)
    for t in range(1, len(stream)):
        if stream[t] != EOS or lm.carry:
            left, right = last_output(p, stream[:t]), last_output(p["back"], np.append(stream[t + 1 :], EOS)[::-1])
            logits = np.concatenate([left, right]) @ p["head"]["W"] + p["head"]["b"]
            nats[t - 1] = np.log(np.exp(logits).sum()) - logits[stream[t]]
    return nats


# ---- what it sees ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_each_symbol_is_predicted_from_all_others_and_never_from_itself(cell):
    """By gradient, in a sequence of different symbols: none is moved by its own prediction, all others are."""
    config = replace(TINY, cell=cell, layers=1)
    window, params = np.arange(10, dtype=np.int32)[:, None], random_params(config)  # EOS, UNK, a, …, h
    start = model.start(config, 1)

    @jax.jit
    @jax.grad
    def slope(params, weight):
        _, hs = model.read_between(config, "f32", params, start, start, window)
        return (
            model.nats(params, hs, np.full((8, 1), 9), "f32") * weight
        ).sum()  # always the same target: only what is read counts

    for t in range(8):
        moved = np.asarray(slope(params, np.eye(8, dtype=np.float32)[t][:, None])["embedding"]).any(axis=1)
        if cell == "tdnn":  # it sees four symbols more than its neighbour
            wanted = [k for k in range(10) if k != t + 1 and abs(k - t - 1) <= 5]
        else:
            wanted = [k for k in range(10) if k != t + 1]
        assert np.flatnonzero(moved).tolist() == wanted


@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize(("batch", "window"), [(1, 64), (4, 8), (64, 2)])
def test_nats_are_those_of_the_definition_whatever_batch_and_window(carry, batch, window):
    """Also where the text ends in the middle of a window; an EOS is predicted only where the state is carried over it."""
    lm, stream = cloze(carry=carry), stream_of(LINES)
    np.testing.assert_allclose(stream_nats(lm, stream, batch, window), expected_nats(lm, stream), rtol=1e-5, atol=1e-6)


def test_each_line_alone_has_the_nats_it_has_among_others():
    """Where sequences are independent; `scores` gives the same."""
    lm = cloze()
    alone = np.concatenate([stream_nats(lm, stream_of([line])) for line in LINES])
    np.testing.assert_allclose(stream_nats(lm, stream_of(LINES)), alone, rtol=1e-5, atol=1e-6)
    for score, line in zip(scores(lm, LINES), LINES, strict=True):
        assert [symbol for symbol, _ in score.symbols] == list(line)
        assert score.nats == pytest.approx(float(stream_nats(lm, stream_of([line])).sum(dtype=float)), rel=1e-5)


def test_scores_of_running_text_are_those_of_the_whole():
    """Each line goes on from the last one and sees the next; its EOS is a symbol as others are."""
    lm = cloze(carry=True)
    found = [nats for score in scores(lm, LINES) for _, nats in score.symbols]
    np.testing.assert_allclose(found, expected_nats(lm, stream_of(LINES)), rtol=1e-5, atol=1e-6)


def test_validation_in_columns_is_near_the_exact_one():
    """A window of what is around each column is read first."""
    lm = cloze(carry=True)
    stream = stream_of(LINES * 40)
    near, exact = (stream_nats(lm, stream, 8, 64, exact=exact) for exact in (False, True))
    np.testing.assert_allclose(near[:-64], exact[:-64], atol=1e-4)
    assert near.mean() == pytest.approx(exact.mean(), abs=1e-4)


def test_measures_are_pseudo_and_named_so():
    """Nothing of it can be taken for a perplexity or for bits of the text; EOS is counted where it is predicted."""
    symbols = sum(map(len, LINES))
    for carry, count in ((False, symbols), (True, symbols + len(LINES))):
        lm = cloze(carry=carry)
        ids = encode((Piece(line, True, True, 1) for line in [*LINES[:-1], LINES[-1] + "z"]), VOCAB)
        m = measure(lm, ids)
        assert isinstance(m, PseudoMeasures)
        assert (m.symbols, m.unknown) == (count + 1, 1)
        assert m.pseudo_perplexity == pytest.approx(
            math.exp(expected_nats(lm, np.int32(ids.stream)).sum() / (count + 1)), rel=1e-4
        )
        assert all("pseudo" in name for name in m.as_dict() if "nats" in name or "perplexity" in name)
        assert not any("bits" in name for name in m.as_dict())


def test_text_without_symbols_has_nothing_to_guess():
    with pytest.raises(InputError, match="nothing to predict"):
        measure(cloze(), encode((Piece(line, True, True, 1) for line in ["", ""]), VOCAB))


# ---- training ----------------------------------------------------------------------------------------------------------


def test_windows_of_a_cloze_model_look_one_symbol_further():
    ids = encode((Piece(line, True, True, 1) for line in LINES), VOCAB)
    for carry in (False, True):
        plain, ahead = (Windows(ids, 2, 8, carry, 0, more) for more in (0, 1))
        for k in range(5):
            assert ahead[k].shape == (10, 2)
            np.testing.assert_array_equal(ahead[k][:-1], plain[k])


def test_some_symbols_are_blanked_in_training_and_no_eos():
    """A tenth is read as UNK; the targets stay as they are. By networks whose outputs are what they read, one-hot."""
    config = model.NetworkConfig(V, "elman-linear", size=V, embedding=V, direction="both")
    window = np.random.default_rng(0).integers(0, V, (52, 40)).astype(np.int32)
    one, zero, start = np.eye(V, dtype=np.float32), np.zeros((V, V), np.float32), model.start(config, 40)
    stack = {"layers": [{"W": one, "U": zero, "b": zero[0]}]}
    params = {"embedding": one, "head": {"W": np.zeros((2 * V, V)), "b": zero[0]}, "back": stack} | stack
    _, hs = model.read_between(config, "f32", params, start, start, window, dropout=jax.random.key(0))
    for ids, read in zip((window[:-2], window[2:]), np.split(np.asarray(hs), 2, -1), strict=True):
        read = read.argmax(-1)
        changed = ids != read
        assert set(read[changed].tolist()) == {UNK}
        assert not (ids[changed] == EOS).any()
        assert changed.mean() == pytest.approx(model.BLANKED * np.isin(ids, [EOS, UNK], invert=True).mean(), abs=0.02)


def overfitted(lines, unit="char", steps=200, **changes):
    vocab = Vocab.of(Counter(itertools.chain.from_iterable(Vocab(unit, ("a",)).split(line) for line in lines)), unit)
    network = model.NetworkConfig(len(vocab), size=24, embedding=8, direction="both", **changes)
    config = TrainingConfig(batch=4, window=16, learning_rate=0.02, steps=steps, weight_decay=0.0)
    task = task_of(network, "f32")
    batches = task.batches(encode((Piece(line, True, True, 1) for line in lines), vocab), 4, 16, seed=0)
    state = begin(task, config)
    for number in range(steps):
        state, nats, _ = step(task, config.optimiser, state, batches[number], 0.02, number)
    return Cloze(network, state.params, vocab), float(nats)


def test_it_learns_both_contexts():
    """In "xay" and "xbz" the second letter follows from the third, in "pcq" and "rdq" from the first."""
    lm, nats = overfitted(["xay", "xbz", "pcq", "rdq"] * 8)
    assert nats < 0.35  # x before a blank is certain; what is blanked beside it is not
    for text, filled in (("x_y", "xay"), ("x_z", "xbz"), ("p_q", "pcq"), ("r_q", "rdq")):
        best = filling.fillings(lm, text)[0]
        assert (best.text, best.probability > 0.9) == (filled, True)


# ---- blanks ------------------------------------------------------------------------------------------------------------


def without_specials(lm):
    """The model with next to no probability for EOS and UNK, which fill no blank."""
    params = {**lm.params, "head": {**lm.params["head"], "b": lm.params["head"]["b"].copy()}}
    params["head"]["b"][: UNK + 1] = -100
    return replace(lm, params=params)


@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize("text", ["ca_ed", "ca_edf", "ca_edfg"])  # with an EOS on each side below, at and above a padded length
def test_one_blank_has_the_probabilities_of_the_definition(carry, text):
    lm = cloze(carry=carry)
    found = {filling.text: filling.probability for filling in filling.fillings(lm, text, 99)}
    assert len(found) == V - 2
    for text, probability in found.items():
        assert -math.log(probability) == pytest.approx(expected_nats(lm, stream_of([text]))[2], rel=1e-5)


def test_probabilities_of_all_fillings_sum_to_one_and_come_in_order(monkeypatch):
    """Of two blanks, if none is dropped on the way."""
    monkeypatch.setattr(filling, "BEAM", 1000)
    found = filling.fillings(without_specials(cloze()), "_b_", 1000)
    assert len(found) == 81
    assert len({filling.symbols for filling in found}) == 81
    assert sum(filling.probability for filling in found) == pytest.approx(1, abs=1e-5)
    assert [f.probability for f in found] == sorted((f.probability for f in found), reverse=True)


def test_later_blanks_are_read_as_unknown_and_earlier_ones_as_filled():
    lm = cloze()
    best = filling.fillings(lm, "a_c_", 1)[0]
    first, second = best.text[1], best.text[3]
    unknown_after, filled_before = stream_of([f"a{first}c?"]), stream_of([best.text])
    nats = expected_nats(lm, unknown_after)[1] + expected_nats(lm, filled_before)[3]
    assert unknown_after[4] == UNK
    assert best.symbols == (first, second)
    assert -math.log(best.probability) == pytest.approx(nats, rel=1e-5)


def test_narrow_beam_finds_the_likeliest_of_the_wide_one(monkeypatch):
    lm = overfitted(["xay", "xbz", "pcq", "rdq"] * 8)[0]
    wide = filling.fillings(lm, "__q", 3)
    monkeypatch.setattr(filling, "BEAM", 3)
    assert [f.text for f in filling.fillings(lm, "__q", 3)] == [f.text for f in wide]
    assert {f.text for f in wide[:2]} == {"pcq", "rdq"}


def test_words_take_their_space_along():
    """A blank after a space is filled by words with a space before them, one in brackets by words without; the text is whole."""
    vocab = Vocab("word-punct", (" the", " cat", " sat", " (", "cat", "sat", ")", ".", "  "))
    config = replace(TINY, vocab=len(vocab))
    lm = Cloze(config, random_params(config), vocab)
    spaced = {f.text for f in filling.fillings(lm, "the ___ sat.", 99)}
    assert spaced == {f"the {word} sat." for word in ("the", "cat", "sat", "(")}
    assert {f.symbols for f in filling.fillings(lm, "the (___)", 99)} == {(word,) for word in ("cat", "sat", ")", ".")}


def test_what_the_model_does_not_know_stays_in_the_text():
    assert all(f.text.startswith("Ça") for f in filling.fillings(cloze(), "Ça_b", 3))


# ---- from the outside --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A cloze model of three-letter words: a vowel between equal consonants."""
    folder = tmp_path_factory.mktemp("cloze")
    corpus = folder / "words.txt"
    corpus.write_text("".join(f"{c}{v}{c}\n" for c in "bdfgklmnprst" for v in "aeiou"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        options = {"size": 24, "embedding": 8, "batch": 8, "window": 8, "learning_rate": 0.02, "dropout": 0.0}
        yield lmgen.train(corpus, valid=corpus, output=folder / "model", direction="both", steps=150, **options), corpus


def test_trained_model_fills_and_measures_and_does_not_sample(trained):
    loaded, corpus = trained
    assert isinstance(loaded.lm, Cloze)
    assert {f.text for f in loaded.fill("k_k", 5)} == {"kak", "kek", "kik", "kok", "kuk"}
    assert loaded.fill("_at", 1)[0].text == "tat"
    held_out, whole = loaded.evaluate(), loaded.evaluate(corpus)
    assert held_out.pseudo_perplexity < 5
    assert whole.symbols == 180
    with pytest.raises(InputError, match=r"cloze network and cannot write plain text.*lmgen fill.*--direction"):
        loaded.sample(1)


def test_model_of_one_direction_explains_why_it_cannot_fill():
    config = replace(TINY, direction="forward")
    with pytest.raises(InputError, match=r"a language model and cannot fill blanks: .*--direction both"):
        lmgen.Model(Recurrent(config, random_params(config), VOCAB)).fill("a_b")
    with pytest.raises(InputError, match="cannot write plain text"):
        next(samples(cloze(), Settings()))


def test_commands_of_a_cloze_model(trained, lmgen):
    """eval, score and fill say pseudo; sample is one sentence and exit code 2."""
    loaded, corpus = trained
    path = loaded.lm.path
    code, out, _ = lmgen("fill", path, "t_t", "_ob", "-n", 2)
    groups = [group.split("\n") for group in out.strip().split("\n\n")]
    assert (code, [len(group) for group in groups]) == (0, [2, 2])
    assert groups[1][0].endswith("\tbob")
    code, out, _ = lmgen("fill", path, "b_b", "--json", "-n", 1)
    (line,) = map(json.loads, out.splitlines())
    assert list(line) == ["text", "symbols", "probability"]
    code, out, _ = lmgen("eval", path, corpus)
    assert code == 0
    assert "pseudo-perplexity" in out
    assert "bits" not in out
    code, out, _ = lmgen("eval", path, corpus, "--json")
    assert {"pseudo_nats", "pseudo_perplexity", "symbols"} <= set(json.loads(out))
    code, out, _ = lmgen("score", path, corpus, "--json")
    assert list(json.loads(out.splitlines()[0])) == ["text", "pseudo_nats", "symbols", "unknown"]
    code, out, err = lmgen("sample", path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "cannot write plain text" in err
    code, out, err = lmgen("fill", path, "b b_", "-n", 1)
    assert code == 0
    assert "does not know ' ': read as unknown" in err
    code, out, err = lmgen("fill", path, "bob")
    assert (code, out) == (2, "")
    assert "no blank" in err
    code, out, _ = lmgen("show", path)
    assert "both" in out
