"""Compression gives back any bytes at all, and its size is what the model claims."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import lmgen
from lmgen.cli.main import cli
from lmgen.data import corpus
from lmgen.data.reading import Text
from lmgen.errors import InputError
from lmgen.evaluation import scores
from lmgen.evaluation.compression import HEADER, compress, decompress, identity
from lmgen.models.ngram import NGramConfig, NGramModel

pytest.importorskip("constriction")
TEXT = "the cat sat\non the mat\n\nthe dog ran\nto the cat, and the <unk> sat\n" * 12


def trained(folder, name, **options):
    path = folder / f"{name}.txt"
    path.write_text(TEXT)
    return lmgen.train(path, output=folder / name, **options).lm


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    net = {"steps": 3, "size": 8, "embedding": 4, "batch": 2, "window": 8, "precision": "f32"}
    return {
        "char": trained(folder, "char", cell="ngram", order=3),
        "carry": trained(folder, "carry", cell="ngram", order=3, carry=True),
        "word": trained(folder, "word", cell="ngram", order=2, unit="word", unk_token="<unk>"),
        "word-punct": trained(folder, "punct", cell="ngram", order=2, unit="word-punct", carry=True, unk_token="<unk>"),
        "subword": trained(folder, "subword", cell="ngram", order=2, unit="subword"),
        "paragraph": trained(folder, "paragraph", cell="ngram", order=3, sequence="paragraph"),
        "file": trained(folder, "file", cell="ngram", order=3, sequence="file", carry=True),
        "lstm": trained(folder, "lstm", **net),
        "gru": trained(folder, "gru", cell="gru", carry=True, unit="word", **net),
    }


KINDS = ("char", "carry", "subword", "word", "word-punct", "paragraph", "file", "lstm", "gru")
any_bytes = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=40).map(lambda s: s.encode("utf-8", "surrogatepass")),
    st.lists(
        st.sampled_from(["the cat", " sat ", "\n", "\r\n", "\n\n", " \t\n", "<unk>", "\ufeff", "Zoë", "\x00"]), max_size=12
    ).map(lambda parts: "".join(parts).encode()),
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=any_bytes)
@example(b"")
@example(b"\n")
@example(b"\xef\xbb\xbf")
@example(b"\xff\xfe\r\n\r")
@example(b" the  cat\n")
def test_any_bytes_come_back(models, kind, content):
    assert decompress(models[kind], compress(models[kind], content)) == content


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_is_what_eval_claims(models, kind, tmp_path):
    lm = models[kind]
    read = "the cat ran on the dog\nmatted, the <unk> cat\nÅ cat\n" * 40
    read = read.replace("\nÅ", "\n\nÅ") if lm.sequence == "paragraph" else read
    (tmp_path / "t.txt").write_text(read)
    ids = corpus.encode(iter(Text([tmp_path / "t.txt"], lm.sequence, lm.carry)), lm.vocab)
    claimed = scores.measure(lm, ids).spelt_nats / math.log(2) / 8
    size = len(compress(lm, read.encode()))
    assert claimed * 0.999 - 4 <= size <= claimed * 1.001 + 64


def test_another_model_is_refused(models):
    data = compress(models["char"], b"the cat\n")
    with pytest.raises(InputError, match="another model"):
        decompress(models["carry"], data)
    assert len({identity(lm) for lm in models.values()}) == len(models)


def test_every_flipped_bit_and_every_truncation_is_refused(models):
    data = compress(models["char"], b"the cat sat\n")
    for at in range(len(data)):
        for bit in (1, 128):
            wrong = bytearray(data)
            wrong[at] ^= bit
            with pytest.raises(InputError, match=r"damaged|newer|no file that"):
                decompress(models["char"], bytes(wrong))
        with pytest.raises(InputError, match=r"damaged|no file that"):
            decompress(models["char"], data[:at])


def test_models_that_cannot_compress(tmp_path):
    with pytest.raises(InputError, match="cannot write plain text"):
        compress(trained(tmp_path, "cloze", direction="both", steps=1, size=4), b"x")
    with pytest.raises(InputError, match="word-punct"):
        compress(trained(tmp_path, "only", cell="ngram", order=2, unit="word-only"), b"x")


def test_the_command_line_writes_once_and_gives_back(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, content = str(models["char"].path), bytes(range(256)) + b"the cat\r\n"
    (tmp_path / "x.bin").write_bytes(content)
    run = CliRunner().invoke(cli, ["compress", model, "x.bin"])
    assert run.exit_code == 0
    size = (tmp_path / "x.bin.lmz").stat().st_size
    assert f"{8 * (size - HEADER.size) / len(content):.4f} bits per byte, and a header of {HEADER.size} bytes" in run.stderr
    assert isinstance(CliRunner().invoke(cli, ["compress", model, "x.bin"]).exception, InputError)
    (tmp_path / "x.bin").unlink()
    assert CliRunner().invoke(cli, ["decompress", model, "x.bin.lmz"]).exit_code == 0
    assert (tmp_path / "x.bin").read_bytes() == content
    run = CliRunner().invoke(cli, ["decompress", model, "x.bin.lmz", "-o", "-"])
    assert run.stdout_bytes == content
    assert CliRunner().invoke(cli, ["decompress", model, "x.bin"]).exit_code == 2
    assert CliRunner().invoke(cli, ["compress", model, "-"], input=b"a").exit_code == 2


def test_the_coder_is_an_extra(models, monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(InputError, match="pip install constriction"):
        compress(models["char"], b"x")


def test_a_uniform_model_takes_the_bits_of_its_vocabulary(models):
    lm = models["char"]
    flat = [level._replace(log_p=np.full_like(level.log_p, -math.log(len(lm.vocab)))) for level in lm.levels[:1]]
    uniform = NGramModel(NGramConfig(len(lm.vocab), 1, False), flat, lm.vocab)
    text = b"the cat sat\n" * 200
    wanted = len(text) * math.log2(len(lm.vocab)) / 8
    assert wanted <= len(compress(uniform, text)) <= wanted * 1.001 + 64
