"""The command export, and what any format promises: whole files, nothing overwritten, a sentence for what it cannot hold."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import exports
import numpy as np
import pytest
from exports import drawn, in_node, ngrams

import lmgen as library
from lmgen.data.vocab import Vocab
from lmgen.errors import InputError
from lmgen.evaluation.scores import scores
from lmgen.exporting import table
from lmgen.generation import sampling
from lmgen.generation.sampling import Settings
from lmgen.options import commands
from lmgen.system import files
from support import ROOT

GOLDEN = ROOT / "tests" / "golden" / "format-2"
HOSTILE = Vocab("word", ("</script>", '"""', "'''\\", "\u202e", "\ud800", "{0}", "\0"))


def run(path: Path, *words: str, stdin: str = "") -> str:
    """What a program prints, in a process that finds no lmgen."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = f"import sys; sys.modules['lmgen'] = None; sys.argv = {[str(path), *words]!r}; exec(open({str(path)!r}).read())"
    done = subprocess.run([sys.executable, "-c", code], input=stdin, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# ---- the command -------------------------------------------------------------------------------------------------------


def test_the_options_name_every_format():
    assert commands.FORMAT.kind.names == tuple(table.TARGETS)


def test_a_model_becomes_a_page_of_its_name(lmgen, model_path):
    note = f"wrote {model_path.name}.html, one page that writes, scores and explains in a browser, without a network\n"
    assert lmgen("export", model_path) == (0, "", note)
    assert Path(f"{model_path.name}.html").read_bytes() == table.contents(library.load(model_path).lm, "html")[""]


def test_the_suffix_chooses_the_format_and_stdout_is_a_file_too(lmgen, model_path):
    assert lmgen("export", model_path, "-o", "own.py")[0] == 0
    code, out, _ = lmgen("export", model_path, "--format", "numpy", "-o", "-")
    assert code == 0
    assert out == Path("own.py").read_text("utf-8")


def test_nothing_is_overwritten_without_force(lmgen, model_path):
    Path("own.html").write_text("mine")
    code, _, err = lmgen("export", model_path, "-o", "own.html")
    assert code == 2
    assert err == "lmgen: cannot write own.html: it exists, and nothing is overwritten; choose another --output, or add --force\n"
    assert Path("own.html").read_text() == "mine"
    assert lmgen("export", model_path, "-o", "own.html", "--force")[0] == 0
    assert "<!doctype html>" in Path("own.html").read_text("utf-8")
    Path("folder.html").mkdir()
    Path("folder.html", "mine").touch()
    code, _, err = lmgen("export", model_path, "-o", "folder.html", "--force")
    assert code == 2
    assert "is not what an export wrote" in err
    assert {path.name for path in Path.cwd().iterdir()} - {".cache"} == {"own.html", "folder.html"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--bits", "8", "--format", "numpy"), "--bits means nothing for --format numpy"),
        (("--format", "hmtl"), "did you mean html"),
        (("-o", "no/such/folder.html"), "No such file or directory"),
    ],
    ids=str,
)
def test_a_mistake_gives_a_sentence(lmgen, model_path, words, sentence):
    code, out, err = lmgen("export", model_path, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert sentence in err


def test_what_a_format_does_not_hold_is_refused(lmgen):
    for kind, noun in (("trees", "a network over trees"), ("graph", "a network of graphs")):
        code, _, err = lmgen("export", GOLDEN / kind)
        why = f"this model is {noun}, which --format html does not hold"
        assert (code, err) == (2, f"lmgen: {why}: choose another --format (hub)\n")


def test_a_damaged_model_is_refused(lmgen, model_path, tmp_path):
    copy = shutil.copytree(model_path, tmp_path / "copy")
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-3] ^= 255
    (copy / "model.safetensors").write_bytes(content)
    assert lmgen("export", copy)[0] == 3
    assert not Path("copy.html").exists()


def test_python_exports_as_the_command_does(model_path):
    model = library.load(model_path)
    assert model.export("own.html", bits="8") == Path("own.html")
    assert model.export(format="numpy") == Path(f"{model_path.name}.py")
    for wrong in ({"bit": "8"}, {"format": "pdf"}, {"bits": "4"}, {}):
        with pytest.raises(InputError):
            model.export("own.html", **wrong)


# ---- directories -------------------------------------------------------------------------------------------------------


def test_a_directory_is_written_whole_or_not_at_all(tmp_path):
    path, made = tmp_path / "export", {"a.txt": b"1", "b.txt": b"2"}
    files.put(path, made)
    assert {one.name: one.read_bytes() for one in path.iterdir()} == made
    with pytest.raises(InputError, match="nothing is overwritten"):
        files.put(path, {"a.txt": b"3"})
    files.put(path, {"a.txt": b"3", "b.txt": b"4"}, force=True)
    (path / "mine").touch()
    with pytest.raises(InputError, match="is not what an export wrote"):
        files.put(path, made, force=True)
    with pytest.raises(InputError, match="is not what an export wrote"):
        files.put(path / "mine", made, force=True)
    assert (path / "a.txt").read_bytes() == b"3"
    assert [one.name for one in tmp_path.iterdir() if "export" in one.name] == ["export"]


# ---- the program -------------------------------------------------------------------------------------------------------


def test_the_program_runs_without_lmgen(lmgen, model_path):
    lm = library.load(model_path, "f32").lm
    assert lmgen("export", model_path, "-o", "own.py")[0] == 0
    expected = [one.text for one in islice(sampling.samples(lm, Settings(top_k=5), 7, "ba"), 4)]
    found = run(Path("own.py"), "sample", "--count", "4", "--seed", "7", "--prompt", "ba", "--top-k", "5")
    assert found.splitlines() == expected
    found = run(Path("own.py"), "score", stdin="bade\nxyz\n").splitlines()
    assert [line.split("\t")[1] for line in found] == ["bade", "xyz"]
    assert [float(line.split("\t")[0]) for line in found] == pytest.approx(
        [one.nats for one in scores(lm, ["bade", "xyz"])], abs=1e-3
    )


@pytest.mark.parametrize(
    ("name", "words", "stdin"),
    [
        ("classes", ("predict",), "bade kimo"),
        ("tags", ("predict",), "bade kimo"),
        ("pairs", ("translate",), "bade then re"),
        ("pairs", ("score-pairs",), "bade then re\tre re"),
        ("writer", ("sample", "--label", "bade:0.5, kimo:0.5"), ""),
        ("counts", ("sample",), ""),
    ],
)
def test_every_kind_of_model_is_a_program(name, words, stdin, tmp_path):
    path = library.load(GOLDEN / name).export(tmp_path / "own.py")
    assert run(path, *words, stdin=f"{stdin}\n").strip()


def test_a_mistake_in_a_program_gives_a_sentence(tmp_path):
    for name, label, sentence in (
        ("writer", "bad", "there is no label 'bad': give one of bade, kimo"),
        ("network", "x", "does not write"),
    ):
        path = library.load(GOLDEN / name).export(tmp_path / f"{name}.py")
        words = [sys.executable, path, "sample", "--label", label]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert sentence in done.stderr


@pytest.mark.parametrize("kind", exports.KINDS)
def test_a_program_imports_numpy_alone_and_defines_what_it_uses(kind):
    tree = ast.parse(table.contents(drawn(kind), "numpy")[""])
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported - sys.stdlib_module_names == {"numpy"}
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert defined <= used | {"main"}


def test_hostile_symbols_and_names_are_text(tmp_path):
    lm = drawn("language", vocab=HOSTILE)
    module = exports.program(table.contents(lm, "numpy")[""], tmp_path)
    assert module.MODEL["symbols"] == HOSTILE.symbols
    page = table.contents(lm, "html")[""]
    assert in_node(page, "MODEL.symbols") == [*HOSTILE.symbols]
    named = shutil.copytree(GOLDEN / "network", tmp_path / '"""\\ <img src=x>${1}')
    lm = library.load(named).lm
    assert exports.program(table.contents(lm, "numpy")[""], tmp_path).MODEL["name"] == named.name
    page = table.contents(lm, "html")[""]
    assert b"<img" not in page
    assert in_node(page, "MODEL.name") == named.name


# ---- the page ----------------------------------------------------------------------------------------------------------


def test_fewer_bits_make_a_smaller_page_and_larger_errors():
    """16 bits cost less than 1e-3 nats a symbol, 8 bits less than 0.1."""
    lm = drawn("language", size=64, embedding=32)
    expected = [nats for _, nats in next(scores(lm, ["bad cab abc"])).symbols]
    worst, sizes = {}, {}
    for bits in ("16", "8"):
        page = table.contents(lm, "html", bits=bits)[""]
        found = in_node(page, "Array.from(scored(encode(a)), ({id, p}) => -Math.log(p[id]))", "bad cab abc")
        worst[bits], sizes[bits] = float(np.abs(np.subtract(found, expected)).max()), len(page)
    assert worst["16"] < 1e-3 < worst["8"] < 0.1
    assert sizes["8"] < sizes["16"]


def test_a_page_is_one_file_that_names_no_other():
    for lm in (drawn("language"), drawn("tag"), ngrams()):
        text = table.contents(lm, "html")[""].decode()
        assert "http" not in text.replace("http-equiv", "")
        assert "src=" not in text
        assert text.count("</script>") == 4


def test_the_default_model_of_cities_is_below_a_megabyte():
    """Its size depends on its configuration alone."""
    symbols = tuple(map(chr, range(0x21, 0x21 + 96)))
    lm = drawn("language", vocab=Vocab("char", symbols), size=192, embedding=64)
    page = table.contents(lm, "html")[""]
    arrays = json.loads(page.decode().split('id="model">')[1].split("</script>")[0])["arrays"]
    assert sum(int(np.prod(shape)) for *_, shape in arrays) > 200_000
    assert len(page) < 1_000_000
