"""The Python side: texts of every kind, a training that is shown and stopped, results that print with their measures."""

from __future__ import annotations

import inspect
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import lmgen as library
from lmgen.data.reading import whole
from lmgen.errors import InputError
from lmgen.options import table
from lmgen.training import run

SMALL = {"steps": 4, "size": 8, "embedding": 4, "batch": 2, "window": 8}
LINES = [f"{a}{b}{c}" for a in "bdgk" for b in "aeiou" for c in "nrst"]


def counted(*files: object, **options: object) -> library.Model:
    """An n-gram model: the fastest that is trained."""
    return library.train(*files, cell="ngram", order=2, **options)


def read(model: library.Model) -> str:
    """The text that a model was trained on."""
    return "".join(Path(name).read_text(model.trained_on.encoding) for name in model.trained_on.files)


def cache_folder() -> set[Path]:
    return {path for path in Path(os.environ["XDG_CACHE_HOME"]).rglob("*") if path.is_file()}


# ---- what a text may be ------------------------------------------------------------------------------------------------

WAYS = {
    "names": lambda path: (str(path), str(path)),
    "a list of names": lambda path: ([str(path), path],),
    "a path": lambda path: (path, path),
    "a list of strings": lambda path: (LINES * 2,),
    "a tuple": lambda path: (tuple(LINES * 2),),
    "lines of a file": lambda path: (iter(path.read_text().splitlines(keepends=True) * 2),),
    "a generator": lambda path: ((line for line in LINES * 2),),
    "NumPy": lambda path: (np.array(LINES * 2),),
    "open files": lambda path: (open(path), open(path, "rb")),  # noqa: SIM115
    "a list of open files": lambda path: ([open(path), open(path, "rb")],),  # noqa: SIM115
    "in memory": lambda path: (io.StringIO(path.read_text()), io.BytesIO(path.read_bytes())),
    "mixed": lambda path: (path, LINES),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore:.*unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_text_may_come_in_many_ways_and_is_the_same(tmp_path, way):
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"{line}\n" for line in LINES))
    model = counted(*WAYS[way](path))
    assert read(model).splitlines() == LINES * 2
    assert model.evaluate(path) == counted(path, path).evaluate(path)
    assert model.path.parent == Path("checkpoints")


def test_text_from_python_is_called_so(tmp_path):
    model = counted(LINES)
    assert model.path == Path("checkpoints/python")
    assert "| text | text from Python |" in (model.path / "README.md").read_text()
    assert counted(iter(LINES)).path == Path("checkpoints/python-2")
    with open(tmp_path / "names.txt", "w+") as file:
        file.write("\n".join(LINES))
        file.seek(0)
        assert counted(file).path == Path("checkpoints/names")
    (name,) = model.trained_on.files
    assert Path(name).parent == Path(os.environ["XDG_CACHE_HOME"], "lmgen", "corpora")
    Path(name).unlink()
    with pytest.raises(InputError, match=r"trained on came from Python and is gone"):
        model.evaluate()


def test_each_string_is_a_sequence():
    poems = ["a rose\nis a rose\n\nis a rose", "so much\ndepends", "upon"]
    assert read(counted([*poems[1:]] * 3, sequence="paragraph")) == "so much\ndepends\n\nupon\n\n" * 3
    by_file = counted(poems, sequence="file")
    assert list(whole(by_file.trained_on.open(carry=False)[0])) == poems
    assert by_file.evaluate(["a rose"]).symbols == 7
    assert read(counted(["zoé"] * 9, encoding="utf-16")) == "zoé\n" * 9


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ("Anna\nBert\n", {}, "is itself a text: give its lines, text.splitlines()"),
        ("the cat sat on the mat", {}, "to train on the string itself give it in a list"),
        ("", {}, "names no file"),
        (["lines.txt", "missing.txt"], {}, "there is no missing.txt"),
        (["mising.txt"], {}, "there is no mising.txt"),
        (["a\nb"], {}, "string 1 is more than one line, and each must be a sequence: give sequence='paragraph'"),
        (["a", "b\n\nc"], {"sequence": "paragraph"}, "string 2 is more than one paragraph"),
        (["a", 3], {}, "the text holds 3 as string 2: give strings"),
        (["a", "\udc80"], {}, r"'\udc80' of the text cannot be encoded as utf-8"),
        (["日"], {"encoding": "latin-1"}, "'日' of the text cannot be encoded as latin-1"),
        (["a"], {"encoding": "klingon"}, "no encoding 'klingon'"),
        (b"lines.txt", {}, "is not a text: give the name of a file"),
        (5, {}, "5 is not a text"),
        (None, {}, "None is not a text"),
        ([], {}, "there is no text in"),
        ({"a": 1}.values(), {}, "the text holds 1"),
    ],
)
def test_what_is_no_text_is_said_and_leaves_no_model(given, options, message):
    Path("lines.txt").write_text("".join(f"{line}\n" for line in LINES))
    with pytest.raises(InputError) as caught:
        counted(given, **options)
    assert message in str(caught.value)
    assert not Path("checkpoints").exists()
    with pytest.raises(InputError):
        counted("lines.txt", valid=given if given is not None else 5, **options)
    assert not Path("checkpoints").exists()


def test_files_that_cannot_be_read_are_said(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes(b"caf\xe9\n" * 30)
    with open(path, encoding="utf-8") as file, pytest.raises(InputError, match=r"cannot read .*can't decode"):
        counted(file)
    with pytest.raises(InputError, match="closed file"):
        counted(file)
    with open(tmp_path / "w", "w") as file, pytest.raises(InputError, match="not readable"):
        counted(file)


# ---- a training --------------------------------------------------------------------------------------------------------


def test_help_names_every_option():
    parameters = inspect.signature(library.train).parameters
    for option in table.TRAIN:
        assert parameters[option.name].default == option.default
        assert f"    {option.name}: {option.described}" in library.train.__doc__
    assert [*parameters][:2] == ["files", "progress"]
    sample, samples = (inspect.signature(method).parameters for method in (library.Model.sample, library.Model.samples))
    assert [*sample] == [*samples] == ["self", "count", "prompt", "seed", "novel", "distinct", "settings"]


def test_progress_is_shown_where_asked(words_file, capfd):
    library.train(words_file, **SMALL)
    assert capfd.readouterr() == ("", "")
    library.train(words_file, progress=True, **SMALL)
    out, err = capfd.readouterr()
    assert out == ""
    assert "step 4" in err
    with pytest.raises(InputError, match="progress 'yes' cannot be used"):
        library.train(words_file, progress="yes", **SMALL)


def test_a_callback_sees_every_report_and_can_stop(words_file):
    seen = []
    library.train(words_file, progress=lambda report: seen.append(report.step), **SMALL)
    assert seen == [1, 2, 3, 4]
    model = library.train(words_file, output="m", progress=lambda report: report.step < 2, **{**SMALL, "steps": 1000})
    assert model.sample(2)
    resumed = library.train(resume="m", steps=5, progress=lambda report: seen.append(report.step))
    assert seen[4:] == [3, 4, 5]
    assert resumed.path == Path("m")


def test_a_callback_that_raises_leaves_a_training_that_goes_on(words_file):
    def fail(report):
        if report.step == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        library.train(words_file, output="m", progress=fail, **SMALL)
    assert run.resume(Path("m"))[0].progress.step == 3


@pytest.fixture
def _usual_signals():
    """Ctrl-C as Python starts with; a shell that starts the tests in its background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_usual_signals")
def test_ctrl_c_saves_and_says_how_to_go_on(words_file):
    """As in a notebook: the signal comes in the middle of a step, the exception after the save."""
    before = signal.getsignal(signal.SIGINT)

    def interrupt(report):
        if report.step == 2:
            threading.Thread(target=lambda: (time.sleep(0.001), os.kill(os.getpid(), signal.SIGINT))).start()

    with pytest.raises(KeyboardInterrupt, match=r"stopped at step \d+ and saved; go on with: lmgen.train\(resume='m'\)"):
        library.train(words_file, output="m", progress=interrupt, **{**SMALL, "steps": 1_000_000, "patience": 0})
    assert signal.getsignal(signal.SIGINT) is before
    stopped = run.resume(Path("m"))[0].progress.step
    assert stopped >= 2
    assert library.train(resume="m", steps=stopped + 1).sample(1)


@pytest.mark.usefixtures("_usual_signals")
def test_ctrl_c_twice_ends_at_once(words_file):
    def interrupt(report):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        library.train(words_file, output="m", progress=interrupt, **SMALL)
    assert not caught.value.args


def test_a_training_works_in_another_thread(words_file):
    found = []
    thread = threading.Thread(target=lambda: found.append(library.train(words_file, **SMALL)))
    thread.start()
    thread.join()
    assert found[0].sample(1)


def test_a_taken_directory_is_left_alone_before_the_text_is_read(model_path):
    def strings() -> Iterator[str]:
        raise AssertionError("read")
        yield

    before = cache_folder()
    with pytest.raises(InputError, match="nothing is overwritten"):
        counted(strings(), output=model_path)
    assert cache_folder() == before


# ---- a model -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def model(model_path):
    return library.load(model_path)


def test_one_text_gets_one_score(model):
    assert model.score("bade") == next(model.score(["bade"]))
    assert [one.text for one in model.score(iter(["ba", "de"]))] == ["ba", "de"]


def test_results_print_with_their_measures(model, words_file):
    measures = model.evaluate(words_file)
    shown = str(measures)
    assert shown == repr(measures)
    for name in ("nats_per_symbol", "perplexity", "bits_per_byte"):
        assert f"{name}={getattr(measures, name):.4g}" in shown
    assert f"{measures.symbols:,} symbols" in shown
    (one,) = model.sample(1, seed=1)
    assert repr(one.text) in repr(one)
    assert f"{one.nats:.2f} nats" in repr(one)
    score = model.score("bade")
    assert repr(score) == f"Score('bade', {score.nats:.2f} nats, 5 symbols)"


def test_samples_are_drawn_anew_and_name_the_seed_that_repeats_them(model):
    first, second = model.sample(20), model.sample(20)
    assert [one.text for one in first] != [one.text for one in second]
    assert model.sample(20, seed=first[0].seed) == first
    assert len({one.seed for one in first}) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temprature": 2}, "there is no option temprature: did you mean temperature?"),
        ({"n": 3}, "there is no option n: did you mean count?"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": None}, "temperature"),
        ({"top_k": 2.5}, "top-k"),
        ({"unknown": 1}, "unknown"),
        ({"count": "7"}, "Invalid value for '--count': '7' is not a whole number"),
        ({"count": -1}, "-1 cannot be used"),
        ({"seed": 1 << 63}, "9223372036854775808 cannot be used"),
        ({"seed": 1.5}, "1.5 is not a whole number"),
        ({"prompt": 5}, "5 is not a string"),
    ],
)
def test_a_wrong_way_to_draw_gets_a_sentence(model, wrong, message):
    with pytest.raises(InputError) as caught:
        model.sample(**wrong)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.score(5), "5 is not a text: give a string"),
        (lambda m: list(m.score(["a", 5])), "5 is not a string, so it cannot be scored"),
        (lambda m: m.evaluate(5), "5 is not a text"),
        (lambda m: m.evaluate("cities", errors="ignore"), "'ignore' is not one of strict, replace"),
        (lambda m: m.evaluate("cities", encoding=5), "5 is not a string"),
        (lambda m: library.load(m.path, precision="f16"), "'f16' is not one of auto, f32, bf16"),
        (lambda m: library.load(m.path, precison="f32"), "there is no option precison: did you mean precision?"),
        (lambda m: m.score("a", symbls=True), "there is no option symbls"),
        (lambda m: m.evaluate("cities", windw=3), "there is no option windw: did you mean window?"),
        (lambda m: m.judge(widow=3), "did you mean window?"),
        (lambda m: m.sources("cities", encodng="utf-8"), "did you mean encoding?"),
        (lambda m: m.fill("a_", cont=3), "did you mean count?"),
        (lambda m: m.save("x", fce=True), "there is no option fce"),
    ],
)
def test_a_wrong_way_to_measure_gets_a_sentence(model, call, message):
    with pytest.raises(InputError) as caught:
        call(model)
    assert message in str(caught.value)


def test_a_model_knows_its_place_and_can_be_put_elsewhere(model, model_path, tmp_path):
    assert model.path == model_path
    copy = model.save(tmp_path / "deep" / "copy")
    assert copy == tmp_path / "deep" / "copy"
    assert library.load(copy).sample(5, seed=3) == model.sample(5, seed=3)
    names = {p.relative_to(model_path) for p in model_path.rglob("*") if p.name != "lock"}
    assert {p.relative_to(copy) for p in copy.rglob("*")} == names
    assert [p.name for p in copy.parent.iterdir()] == ["copy"]
    assert run.resume(copy)[0].progress.step == 60
    before = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    with pytest.raises(InputError, match=f"nothing is overwritten: choose another, as {copy}-2"):
        model.save(copy)
    assert before == {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    with pytest.raises(InputError, match="is not a path"):
        model.save("")


@pytest.mark.slow
def test_types_are_checked(tmp_path):
    """The package is typed, and what a user writes passes."""
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text(
        "import lmgen\n"
        "model = lmgen.train('a.txt', ['b'], steps=3, progress=True)\n"
        "x: float = model.score('Anna').nats\n"
        "y: list[float] = [s.nats for s in model.score(['a', 'b'])]\n"
        "z: str = model.sample(3, temperature=0.5)[0].text\n"
    )
    environment = {**os.environ, "MYPYPATH": str(Path(library.__file__).parent.parent)}
    words = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--ignore-missing-imports", "user.py"]
    checked = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
