"""What is made of a network at the end of its training, where validation gains: n-grams mixed in, an evaluation temperature."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import jax
import numpy as np
import pytest

import lmgen as library
import support
from lmgen import loading
from lmgen.data.vocab import Vocab
from lmgen.errors import InputError
from lmgen.models import scoring
from lmgen.models.mixed import Mixed
from lmgen.models.provenance import Provenance
from lmgen.models.recurrent import Recurrent
from lmgen.nn import model
from lmgen.nn.model import NetworkConfig
from lmgen.system import arrayfile, checkpoint
from lmgen.training.finishing import finish, mixture, temperature

TINY = {"size": 8, "embedding": 4, "batch": 4, "window": 8, "learning_rate": 1e-2}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("".join(f"{word}\n" for word in support.invented_words(1000)), "utf-8")
    return path


def arrays_of(path) -> dict[str, bytes]:
    files = {"model.safetensors": "model", checkpoint.MIXTURE: "mixture"}
    return {
        f"{file}/{name}": array.tobytes()
        for file, kind in files.items()
        for name, array in arrayfile.read_arrays(path / file, kind)[0].items()
    }


# ---- mixtures ----------------------------------------------------------------------------------------------------------


def test_a_language_model_is_mixed_with_ngrams_of_its_text(text, tmp_path):
    model = library.train(text, output=tmp_path / "model", steps=3, **TINY)
    assert isinstance(model.lm, Mixed)
    alone, whole = library.load(tmp_path / "model", mixture=False), model
    assert isinstance(alone.lm, Recurrent)
    ngrams = library.train(text, output=tmp_path / "ngrams", cell="ngram")
    nats = [one.evaluate().nats_per_symbol for one in (whole, alone, ngrams)]
    assert nats[0] <= min(nats[1:]) + 1e-6
    assert model.lm.provenance.about["valid_nats"] == pytest.approx(nats[0], rel=1e-5)


def test_eval_is_the_sum_of_the_scores_and_of_the_bits_of_compress(text, tmp_path):
    pytest.importorskip("constriction")
    from lmgen.evaluation import compression

    model = library.train(text, output=tmp_path / "model", steps=3, **TINY)
    lines = support.invented_words(40, seed=1)
    test = tmp_path / "test.txt"
    test.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    measures = model.evaluate(test)
    assert sum(one.nats for one in model.score(lines)) == pytest.approx(measures.nats, rel=1e-5)
    content = test.read_bytes()
    packed = compression.compress(model.lm, content)
    assert compression.decompress(model.lm, packed) == content
    bits = 8 * (len(packed) - compression.HEADER.size)
    assert bits == pytest.approx(measures.nats / math.log(2), abs=70)  # whole words of 32 bits, and the rounding of the coder
    alone = library.load(tmp_path / "model", mixture=False)
    with pytest.raises(InputError, match="another model"):
        compression.decompress(alone.lm, packed)
    with pytest.raises(InputError, match="by the network of this model alone: add --no-mixture"):
        compression.decompress(model.lm, compression.compress(alone.lm, content))


def test_a_resumed_training_ends_with_the_same_mixture(text, tmp_path):
    library.train(text, output=tmp_path / "whole", steps=6, **TINY)
    stop = lambda report: report.step < 3  # noqa: E731
    library.train(text, output=tmp_path / "parts", steps=6, progress=stop, **TINY)
    assert not (tmp_path / "parts" / checkpoint.MIXTURE).exists()
    library.train(resume=tmp_path / "parts")
    assert arrays_of(tmp_path / "parts") == arrays_of(tmp_path / "whole")


def test_more_training_makes_the_mixture_anew(text, tmp_path):
    library.train(text, output=tmp_path / "model", steps=3, **TINY)
    before = arrays_of(tmp_path / "model")
    library.train(resume=tmp_path / "model", steps=200)
    after = arrays_of(tmp_path / "model")
    assert after[f"{checkpoint.MIXTURE}/ngrams/0/log_p"] == before[f"{checkpoint.MIXTURE}/ngrams/0/log_p"]
    assert after["model.safetensors/embedding"] != before["model.safetensors/embedding"]
    assert isinstance(loading.load(tmp_path / "model"), Mixed)  # which belongs to the new weights


@pytest.mark.parametrize("options", [{"mixture": False}, {"no_valid": True}, {"direction": "both"}])
def test_some_trainings_make_no_mixture(text, tmp_path, options):
    model = library.train(text, output=tmp_path / "model", steps=2, **TINY, **options)
    assert not isinstance(model.lm, Mixed)
    assert not (tmp_path / "model" / checkpoint.MIXTURE).exists()


def test_ngrams_that_gain_nothing_are_left_out():
    vocab = Vocab("char", ("a", "b"))
    network = Recurrent(NetworkConfig(vocab=4, size=4, embedding=2), {}, vocab)
    stream = np.array([0, *([2, 3] * 50), 0])
    ngrams = mixture.fitted(stream, stream, vocab, False).lm
    assert mixture.mixture(network, np.full(len(stream) - 1, 1e-3, np.float32), ngrams, stream) is None


def test_a_long_text_is_counted_in_part(text, monkeypatch):
    from lmgen.models.provenance import TextSettings

    data = TextSettings((str(text),)).load()
    assert mixture.counted(data, False, None).lm.levels[1].keys.size > 20
    few = mixture.counted(data, False, 1e-3)  # a budget of a millisecond: 50 symbols
    assert few.lm.levels[0].keys.size > 0
    assert sum(len(level.keys) for level in few.lm.levels[1:2]) <= 50


# ---- the command line --------------------------------------------------------------------------------------------------


def test_the_commands_use_the_mixture_unless_told_otherwise(text, tmp_path, lmgen):
    code, _, err = lmgen("train", text, "-o", tmp_path / "model", "--steps", 3, *support.SMALL)
    assert code == 0
    assert "mixed with a Kneser-Ney model of order" in err
    path = tmp_path / "model"
    code, out, _ = lmgen("eval", path, "--json", "--no-baselines")
    card = json.loads(out)
    assert code == 0
    assert card["network_alone"]["nats_per_symbol"] > card["nats_per_symbol"]
    alone = json.loads(lmgen("eval", path, "--json", "--no-baselines", "--no-mixture")[1])
    assert "network_alone" not in alone
    assert alone["nats_per_symbol"] == pytest.approx(card["network_alone"]["nats_per_symbol"], rel=1e-6)
    assert "its network alone" in lmgen("eval", path, "--no-baselines")[1]
    for command in (("sample", "-n", 5, "--seed", 1), ("top", 5)):
        both = [lmgen(command[0], path, *command[1:], *flag) for flag in ((), ("--no-mixture",))]
        assert [code for code, _, _ in both] == [0, 0]
        assert both[0][1] != both[1][1]
    facts = json.loads(lmgen("show", path, "--json")[1])
    assert facts["valid_nats"] < facts["network_nats"]
    assert facts["mixture_bytes"] == (path / checkpoint.MIXTURE).stat().st_size
    assert facts["ngrams"] > 100
    assert "mixed with" in lmgen("show", path)[1]
    assert "| mixed with |" in (path / "README.md").read_text()
    assert lmgen("remove", path, "--yes")[0] == 0


@pytest.mark.parametrize("flags", [(), ("--no-mixture",)])
def test_a_receipt_knows_the_mixture(text, tmp_path, lmgen, flags):
    library.train(text, output=tmp_path / "model", steps=3, **TINY)
    receipt = tmp_path / "receipt.json"
    code, out, _ = lmgen("sample", tmp_path / "model", "-n", 4, "--receipt", receipt, *flags)
    assert code == 0
    assert lmgen("verify", receipt)[1] == out
    (tmp_path / "model" / checkpoint.MIXTURE).unlink()
    assert lmgen("verify", receipt)[0] == (0 if flags else 2)


def test_damaged_parts_give_a_sentence(text, tmp_path, lmgen):
    library.train(text, output=tmp_path / "model", steps=3, **TINY)
    file = tmp_path / "model" / checkpoint.MIXTURE
    file.write_bytes(file.read_bytes()[:-10])
    for command in ("sample", "show", "eval"):
        code, _, err = lmgen(command, tmp_path / "model")
        assert code == 3
        assert "mixture.safetensors is damaged" in err
    assert lmgen("sample", tmp_path / "model", "--no-mixture", "-n", 2)[0] == 0


# ---- the temperature ---------------------------------------------------------------------------------------------------

SHAPES = [{}, {"layer_norm": True}, {"tie": True}, {"tie": True, "layer_norm": True}, {"tie": True, "size": 4}]


@pytest.mark.parametrize("shape", SHAPES)
def test_tempered_weights_divide_the_logits(shape):
    config = NetworkConfig(**{"vocab": 7, "size": 8, "embedding": 4, **shape})
    params = jax.tree.map(lambda a: a + 0.1, model.init(config, jax.random.key(0)))
    cooler = model.tempered(params, 0.5)
    if shape == {"tie": True, "size": 4}:
        assert cooler is None  # there the head is the embedding, which the layers read
        return
    ids = np.array([[0], [3], [5]], np.int32)
    before, after = (
        model.logits(p, model.read(config, "f32", p, model.start(config, 1), ids)[1], "f32") for p in (params, cooler)
    )
    np.testing.assert_allclose(after, before / 0.5, rtol=1e-5)


def written() -> tuple[Recurrent, np.ndarray]:
    """A network, and a text that it wrote itself."""
    vocab = Vocab("char", ("a", "b", "c", "d"))
    config = NetworkConfig(vocab=6, size=8, embedding=4)
    params = jax.tree.map(lambda a: 4 * a, model.init(config, jax.random.key(1)))
    true = Recurrent(config, params, vocab, "f32", Provenance())
    state, ids, rng = true.start(1), [0], np.random.default_rng(0)
    for _ in range(3000):
        state, logits = true.read(state, np.array([[ids[-1]]], np.int32))
        p = np.exp(np.float64(logits[0, 0]))
        ids.append(int(rng.choice(6, p=p / p.sum())))
    return true, np.array([*ids, 0])


def test_the_temperature_is_the_one_that_the_network_was_made_with():
    true, stream = written()
    sharp = replace(true, params=model.tempered(true.params, 0.8))
    found, nats, fitted = temperature.tempered(sharp, scoring.stream_nats(sharp, stream), stream)
    assert fitted == pytest.approx(1.25, abs=0.1)
    assert nats.sum() == pytest.approx(scoring.stream_nats(true, stream).sum(), rel=2e-3)
    assert nats.sum() == pytest.approx(scoring.stream_nats(found, stream).sum())
    same = temperature.tempered(true, scoring.stream_nats(true, stream), stream)
    assert same[0] is true
    assert same[2] == 1


# ---- members -----------------------------------------------------------------------------------------------------------


def test_networks_are_trained_one_after_the_other(text, tmp_path):
    model = library.train(text, output=tmp_path / "model", steps=25, members=3, **TINY)
    alone = library.train(text, output=tmp_path / "alone", steps=25, **TINY)
    first, second, third = (
        model.lm.network.arrays(),
        *(checkpoint.read_member(tmp_path / "model", k) for k in (1, 2)),
    )
    np.testing.assert_array_equal(first["embedding"], alone.lm.network.arrays()["embedding"])
    assert len({one["embedding"].tobytes() for one in (first, second, third)}) == 3
    lines = [json.loads(line) for line in (tmp_path / "model" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == sorted({line["step"] for line in lines})
    assert lines[-1]["step"] == 75


def test_networks_that_help_are_averaged():
    true, stream = written()
    ngrams = mixture.fitted(stream, stream[:500], true.vocab, False, 1)

    def wrong(seed: int) -> Recurrent:
        head = {**true.params["head"], "b": true.params["head"]["b"] + jax.random.normal(jax.random.key(seed), (6,))}
        return replace(true, params={**true.params, "head": head})

    found = finish.finished([wrong(1), wrong(2), wrong(3)], ngrams, stream)
    assert len(found.mixed.networks) > 1
    best = found.best.provenance.about["valid_nats"]
    assert best == pytest.approx(scoring.stream_nats(found.mixed, stream).mean(), rel=1e-4)
    assert best < found.network.provenance.about["valid_nats"]


@pytest.mark.parametrize("stop", [4, 12, 14])
def test_members_resume_to_the_bit(text, tmp_path, stop):
    library.train(text, output=tmp_path / "whole", steps=12, members=2, **TINY)
    library.train(text, output=tmp_path / "parts", steps=12, members=2, progress=lambda r: r.step < stop, **TINY)
    assert not (tmp_path / "parts" / checkpoint.MIXTURE).exists()
    library.train(resume=tmp_path / "parts")
    assert arrays_of(tmp_path / "parts") == arrays_of(tmp_path / "whole")


@pytest.mark.parametrize("stop", [4, 10])
def test_a_training_among_few_words_resumes_to_the_bit(text, tmp_path, stop):
    how = {"unit": "word", "sampled": 3, "steps": 12, "mixture": False, **TINY}
    library.train(text, output=tmp_path / "whole", **how)
    library.train(text, output=tmp_path / "parts", progress=lambda r: r.step < stop, **how)
    library.train(resume=tmp_path / "parts")
    library.train(text, output=tmp_path / "all", **{**how, "sampled": 0})
    whole, parts, among_all = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts", "all"))
    assert parts == whole != among_all


def test_a_cloze_model_predicts_among_all(text, tmp_path):
    with pytest.raises(InputError, match="a cloze network has no sampled"):
        library.train(text, output=tmp_path / "model", steps=2, sampled=3, direction="both")


def test_a_network_that_does_not_help_is_left_out():
    vocab = Vocab("char", ("a", "b"))
    config = NetworkConfig(vocab=4, size=4, embedding=2)
    stream = np.array([0, *([2, 3] * 200), 0])
    ngrams = mixture.fitted(stream, stream, vocab, False, 1)
    good, bad = (Recurrent(config, model.init(config, jax.random.key(k)), vocab) for k in (0, 1))
    bad.params["head"]["b"] = bad.params["head"]["b"].at[0].set(50.0)  # is sure of EOS
    found = finish.finished([good, bad], ngrams, stream)
    assert len(found.mixed.networks if found.mixed else [found.network]) == 1


@pytest.mark.parametrize("options", [{"no_valid": True}, {"mixture": False}])
def test_members_need_validation(text, options):
    with pytest.raises(InputError, match="--members are kept where validation gains"):
        library.train(text, steps=2, members=2, **options)


def test_members_need_enough_text(tmp_path):
    with pytest.raises(InputError, match="too short to hold some back: give --valid"):
        library.train(["ab", "abc"], output=tmp_path / "model", steps=2, members=2)
