"""Every format gives the numbers of lmgen: formats × cells × what is learnt."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import exports
import jax
import numpy as np
import pytest
from exports import WORDS, drawn, folder_of, in_node, ngrams, program

from lmgen.data.vocab import UNITS, Vocab
from lmgen.data.writing.normalization import Normalization
from lmgen.evaluation.scores import scores
from lmgen.exporting import table
from lmgen.generation import sampling
from lmgen.generation.compiled import uniform
from lmgen.generation.sampling import Settings
from lmgen.nn.cells import CELLS
from lmgen.structured.pairs import Pair
from lmgen.system import devices

NETWORKS = [
    (cell, changes) for cell in CELLS for changes in ({}, {"layers": 3, "residual": True, "layer_norm": True, "tie": True})
]
NETWORKS += [
    (cell, changes) for cell in ("gru", "attention") for changes in ({"layers": 2, "carry": True}, {"tie": True, "size": 4})
]
NETWORKS += [
    (cell, {"layers": 3, "skip": True, "layer_norm": norm, "residual": norm})
    for cell in ("lstm", "min-gru")
    for norm in (False, True)
]
TEXTS = ["abc", "bad cab-é漢🎈", "zz a"]
SENTENCES = [
    "from Oslo to New York now",
    "Paris",
    "to <i> 1984 Ünder-way Ünder-wayy NEW x1y2 ١٢ ²x İstanbul \udc80x",
    "now " * 70,
]


class Numpy:
    """A model by its program in NumPy."""

    error = 1e-4

    def __init__(self, lm, folder):
        self.module = program(table.contents(lm, "numpy")[""], folder)

    def score(self, text, label=""):
        return self.module.score(text, label) if label else self.module.score(text)

    def pseudo_score(self, text):
        return self.module.pseudo_score(text)

    def sample(self, count, prompt, seed, **settings):
        return self.module.sample(count, prompt, seed, **settings)

    def predict(self, text):
        return self.module.predict(text)

    def translate(self, source):
        return self.module.translate(source)

    def score_pair(self, source, target):
        return self.module.score_pair(source, target)

    def encode(self, text):
        return self.module.encode(text)


class Torch(Numpy):
    """A model by its network in PyTorch."""

    def __init__(self, lm, folder):
        pytest.importorskip("torch")
        self.module = folder_of(table.contents(lm, "torch"), folder)


class Page:
    """A model by the engine of its page, with weights of 16 bits."""

    error = 1e-3

    def __init__(self, lm, folder):
        self.page = table.contents(lm, "html")[""]

    def score(self, text, label=""):
        by = "vectorOf({[b]: 1})" if label else "null"
        return in_node(
            self.page, f"Array.from(scored(encode(a), {by}), ({{id, p}}) => [spell(id), -Math.log(p[id])])", text, label
        )

    def pseudo_score(self, text):
        return in_node(self.page, "Array.from(scoredBetween(encode(a)), ({id, p}) => [spell(id), -Math.log(p[id])])", text)

    def sample(self, count, prompt, seed, **settings):
        names = {"top_k": "topK", "top_p": "topP", "min_p": "minP", "max_length": "maxLength"}
        how = {names.get(name, name): value for name, value in settings.items()}
        label = how.pop("label", "")
        by = "vectorOf({[e]: 1})" if label else "null"
        code = "Array.from({length: a}, (_, k) => decode(Array.from(written(encode(b), c, k, {...d, by: %s}), ({id}) => id)))"
        return in_node(self.page, code % by, count, prompt, seed, how, label)

    def predict(self, text):
        found = in_node(self.page, "predict(a)", text)
        tags = zip(found["symbols"], found.pop("tags", ()), strict=False)
        return {name: [tuple(one) for one in found[name]] for name in ("labels",) if name in found} | {
            "tags": [(symbol, *tag) for symbol, tag in tags]
        }

    def translate(self, source):
        code = "[...translated(a)].reduce(([s, n], {symbol, p}) => [[...s, symbol], n - Math.log(p)], [[], 0])"
        symbols, nats = in_node(self.page, code, source)
        return UNITS["word"].join(symbols[:-1] if symbols and symbols[-1] == "" else symbols), nats

    def score_pair(self, source, target):
        return in_node(self.page, "scorePair(a, b)", source, target)

    def encode(self, text):
        return in_node(self.page, "encode(a)", text)


FORMATS = {"numpy": Numpy, "html": Page, "torch": Torch}


@pytest.fixture(params=["numpy", "html", pytest.param("torch", marks=pytest.mark.oracle)])
def exported(request, tmp_path):
    """A function that exports a model to each of the formats; None for a model that the format does not hold."""
    target = table.TARGETS[request.param]
    return lambda lm: None if table.lack(lm, target) else FORMATS[request.param](lm, tmp_path)


def assert_scores(found, expected, error):
    assert [symbol for symbol, _ in found] == [symbol for symbol, _ in expected]
    assert [nats for _, nats in found] == pytest.approx([nats for _, nats in expected], abs=error)


# ---- the numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["numpy", "html"])
@pytest.mark.parametrize("changes", [{}, {"carry": True, "layers": 2, "cell": "gru"}], ids=str)
def test_a_mixture_is_that_of_lmgen(format, changes, tmp_path):
    lm = exports.mixture(**changes)
    model = FORMATS[format](lm, tmp_path)
    for text, score in zip(TEXTS, scores(lm, TEXTS) if not lm.carry else (next(scores(lm, [t])) for t in TEXTS), strict=True):
        assert_scores(model.score(text), score.symbols, model.error)
    expected = [one.text for one in islice(sampling.samples(lm, Settings(max_length=40, top_k=6), 5, "ab"), 3)]
    assert model.sample(3, "ab", 5, max_length=40, top_k=6) == expected


@pytest.mark.parametrize("format", ["torch", "onnx"])
def test_a_format_without_mixtures_holds_the_network_and_says_so(format):
    pytest.importorskip("onnx" if format == "onnx" else "safetensors")
    lm = exports.mixture()
    assert table.contents(lm, format) == table.contents(lm.network, format)
    assert table.left_out(lm, format) == (
        f"the network is written without what is mixed with it: n-grams are nothing that --format {format} holds"
    )
    assert not table.left_out(lm.network, format)
    assert not table.left_out(lm, "numpy")


@pytest.mark.parametrize("format", ["numpy", "html"])
def test_of_several_networks_the_first_is_written_with_the_ngrams(format):
    one = exports.mixture()
    several = replace(one, networks=2 * [one.network])
    assert table.contents(several, format) == table.contents(one, format)
    assert table.left_out(several, format) == (
        f"the first of 2 networks is written with the n-grams: --format {format} holds no more"
    )
    assert not table.left_out(several, "hub")


@pytest.mark.parametrize(("cell", "changes"), NETWORKS, ids=str)
def test_nats_are_those_of_lmgen(cell, changes, exported):
    lm = drawn("language", cell=cell, **changes)
    other = exported(lm)
    assert_scores(other.score(TEXTS[1]), next(scores(lm, [TEXTS[1]])).symbols, other.error)


@pytest.mark.parametrize("cell", ["attention", "transformer"])
def test_attention_forgets_what_is_further_back_than_its_context(cell, exported):
    lm = drawn("language", cell=cell, layers=2, context=3, heads=2)
    other = exported(lm)
    assert_scores(other.score("abcdefgabcdefg"), next(scores(lm, ["abcdefgabcdefg"])).symbols, other.error)


@pytest.mark.few("cell", "lstm", "gru", "transformer")
@pytest.mark.parametrize("cell", CELLS)
def test_pseudo_nats_are_those_of_lmgen(cell, exported):
    for carry in (False, True):
        lm = drawn("cloze", cell=cell, carry=carry, layers=2)
        other = exported(lm)
        assert_scores(other.pseudo_score(TEXTS[1]), next(scores(lm, [TEXTS[1]])).symbols, other.error)


@pytest.mark.few("cell", "lstm", "gru", "transformer")
@pytest.mark.parametrize("cell", CELLS)
def test_tags_are_those_of_lmgen(cell, exported):
    lm = drawn("tag", cell=cell, layers=2, layer_norm=True)
    other = exported(lm)
    for text, expected in zip(SENTENCES[:2], lm.predict(SENTENCES[:2]), strict=True):
        found = other.predict(text)["tags"]
        assert [(symbol, tag) for symbol, tag, _ in found] == [
            (s, t) for s, (t, _) in zip(expected.symbols, expected.tags, strict=True)
        ]
        assert [p for *_, p in found] == pytest.approx([p for _, p in expected.tags], abs=other.error)


def test_marks_are_apart_as_lmgen_reads_them(exported):
    lm = drawn("tag", vocab=Vocab("word", (*WORDS.symbols, ".", "(", "U.S.", "“")), words=13)
    other = exported(lm)
    for text in ("(to “Oslo”, U.S.).", "now. (", "New. York"):
        found = [(symbol, tag) for symbol, tag, _ in other.predict(text)["tags"]]
        (expected,) = lm.predict([text])
        assert found == [(s, t) for s, (t, _) in zip(expected.symbols, expected.tags, strict=True)]


@pytest.mark.parametrize("hashed", [False, True])
def test_vectors_are_those_of_a_word_in_lower_case_as_in_lmgen(hashed, exported):
    lm = drawn("classify", vocab=Vocab("word", ("to", "oslo", "rome")), vectors=3, words=4, hashed=hashed)
    other = exported(lm)
    for text in ("to Oslo", "TO Rome to", "to İstanbul"):
        (expected,) = lm.predict([text])
        assert dict(other.predict(text)["labels"]) == pytest.approx(dict(expected.labels), abs=other.error)


@pytest.mark.few("cell", "lstm", "gru", "transformer")
@pytest.mark.parametrize("cell", CELLS)
def test_labels_are_those_of_lmgen(cell, exported):
    lm = drawn("classify", cell=cell, pool="last")
    other = exported(lm)
    for text, expected in zip(SENTENCES[:2], lm.predict(SENTENCES[:2]), strict=True):
        assert dict(other.predict(text)["labels"]) == pytest.approx(dict(expected.labels), abs=other.error)


@pytest.mark.parametrize(
    "changes", [{"several": True}, {"pool": "mean", "direction": "both"}, {"vectors": 3, "words": 4}], ids=str
)
def test_labels_of_any_text(changes, exported):
    """With letters that are no letters elsewhere, long texts, and nothing."""
    lm = drawn("classify", **changes)
    other = exported(lm)
    for text, expected in zip(SENTENCES, lm.predict(SENTENCES), strict=True):
        assert dict(other.predict(text)["labels"]) == pytest.approx(dict(expected.labels), abs=other.error)
    assert not other.predict("").get("labels")


@pytest.mark.few("cell", "lstm", "gru", "transformer")
@pytest.mark.parametrize("cell", CELLS)
def test_translations_are_those_of_lmgen(cell, exported):
    lm = drawn("pairs", cell=cell, layers=2)
    other = exported(lm)
    sources = [SENTENCES[0], "Paris to Paris Rome"]
    for source, expected in zip(sources, lm.predict(sources), strict=True):
        text, nats = other.translate(source)
        assert (text, nats) == (expected.text, pytest.approx(expected.nats, abs=other.error, rel=1e-3))


@pytest.mark.parametrize(
    "changes", [{}, {"copy": False}, {"copy": False, "attention": False}, {"tie": True}, {"layer_norm": True}], ids=str
)
def test_nats_of_pairs_are_those_of_lmgen(changes, exported):
    lm = drawn("pairs", **changes)
    other = exported(lm)
    for pair in (Pair("from Oslo Rome", "to Rome Oslo York Bonn"), Pair("now", "")):
        expected = next(lm.score([pair]))
        assert_scores(other.score_pair(*pair[:2]), expected.symbols, other.error)
    for source, expected in zip(SENTENCES[:2], lm.predict(SENTENCES[:2]), strict=True):
        assert other.translate(source)[0] == expected.text


def test_a_writer_writes_by_label(exported):
    lm = drawn("generate", layer_norm=True, tie=True)
    other = exported(lm)
    for label in ("x", "y:z"):
        by = lm.by({label: 1.0})
        assert_scores(other.score(TEXTS[1], label), next(scores(by, [TEXTS[1]])).symbols, other.error)
        expected = [one.text for one in islice(sampling.samples(by, Settings(max_length=20), 3), 4)]
        assert other.sample(4, "", 3, max_length=20, label=label) == expected


@pytest.mark.parametrize("carry", [False, True])
def test_ngrams_are_those_of_lmgen(carry, exported):
    for order in (1, 4):
        lm = ngrams(order, carry)
        other = exported(lm)
        if other is None:
            pytest.skip("the format holds no n-gram models")
        for text in TEXTS:
            assert_scores(other.score(text), next(scores(lm, [text])).symbols, other.error)


# ---- the same text for a seed ------------------------------------------------------------------------------------------

SETTINGS = [
    {},
    {"temperature": 0.7, "top_p": 0.8},
    {"temperature": 0},
    {"top_k": 3},
    {"min_p": 0.1, "temperature": 2.0},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_seed_gives_the_text_of_lmgen(settings, exported):
    for lm in (drawn("language"), drawn("language", cell="attention", carry=True), ngrams()):
        if (other := exported(lm)) is None:
            continue
        for seed, prompt in ((0, ""), (2**40 + 7, "ab")):
            drawing = Settings(max_length=50, **settings)
            expected = [one.text for one in islice(sampling.samples(lm, drawing, seed, prompt), 3)]
            assert other.sample(3, prompt, seed, max_length=50, **settings) == expected


def test_random_numbers_are_those_of_jax(tmp_path):
    lm = drawn("language")
    module, page = Numpy(lm, tmp_path).module, table.contents(lm, "html")[""]
    for seed in (0, 1, 2**31, 2**32 - 1, 2**32, 2**53 - 1):
        key = jax.random.fold_in(devices.random_key(seed), 5)
        expected = np.asarray(uniform(key[None], np.array([64]), 32))[:, 0]
        own = module.uniform(module.fold_in(module.fold_in(module.key_of(seed), 5), 64), 32)
        assert own.dtype == np.float32
        assert own.tolist() == expected.tolist()
        assert in_node(page, "[...uniform(foldIn(foldIn(keyOf(a), 5), 64), 32)]", seed) == expected.tolist()


# ---- text --------------------------------------------------------------------------------------------------------------

HOSTILE = [
    "",
    " ",
    "a\nb\r\n\tc",
    "the cat  (sat), <unk>.",
    "Ünder-way '98’s x_1 ١٢ ²³ ½Ⅷ\u0301\u200d\ufeff\x1c\x85",
    "🎈é漢\ud800x\udc80",
    "</script><!--",
]


@pytest.mark.parametrize("form", [None, "nfc", "nfkc"])
@pytest.mark.parametrize("lowercase", [False, True])
def test_texts_have_the_form_that_lmgen_gives_them(lowercase, form, exported):
    """--lowercase and --normalize are of the model, so an exported one reads each text in that form, too."""
    vocab = exports.Vocab("char", tuple("abcdefghiß ½1⁄2İiıσςΣſAEe\u0307é\u0301ﬁＡ漢"), normal=Normalization(lowercase, form))
    other = exported(drawn("language", vocab=vocab))
    for text in [*HOSTILE, "e\u0301 É ½ Ａﬁ", "ΣΑΣ Σ. ΟΔΟΣ", "İI ẞ ſ Å", "\u1e9b\u0323 가"]:
        assert other.encode(text) == vocab.encode(text).tolist(), text


@pytest.mark.parametrize("unit", [name for name, unit in UNITS.items() if not unit.language])  # no format holds a segmenter
def test_texts_are_cut_as_lmgen_cuts_them(unit, exported):
    if unit == "subword":
        pytest.importorskip("tokenizers")
    vocab = exports.BYTES if unit == "subword" else exports.Vocab(unit, exports.MARKED.symbols, "<unk>")
    lm = drawn("language", vocab=vocab)
    other = exported(lm)
    for text in HOSTILE:
        assert other.encode(text) == vocab.encode(text).tolist(), text
