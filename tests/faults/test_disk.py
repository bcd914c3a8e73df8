"""A disk that is full, over quota or broken: one sentence, the old checkpoint is intact, training goes on and tries again."""

from __future__ import annotations

import errno
import json
import os
import shutil
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
import save

import faults
import lmgen
from lmgen.defaults.config import StepReport
from lmgen.errors import InputError, LmgenError
from lmgen.models import arpa, provenance
from lmgen.system import checkpoint, files
from lmgen.training import metrics, run

strace = pytest.mark.skipif(not faults.STRACE, reason="strace is not installed")


@strace
def test_an_error_at_any_system_call_of_a_save_is_one_sentence_and_loses_nothing(tmp_path):
    """Of mkdir, openat, write, fsync, rename and close; the save after it succeeds and leaves no rubbish."""
    save.make(tmp_path / "saved")
    save.save(tmp_path / "saved", 1)
    save.save(tmp_path / "saved", 2)
    fresh = shutil.copytree(tmp_path / "saved", tmp_path / "fresh")
    for number, call in enumerate(faults.writing(faults.calls(fresh, 3))):
        for error in [*faults.ERRORS] if faults.LONG else [[*faults.ERRORS][number % 3]]:
            path = tmp_path / "m"
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(tmp_path / "saved", path)
            done = faults.traced(path, 3, f"{call.name}:error={error}:when={call.number}")
            assert done.returncode == 1, (call, error, done.stderr)
            (line,) = done.stderr.splitlines()
            assert line.startswith("cannot save ")
            assert faults.ERRORS[error] in line
            assert " bytes" in line
            assert "the previous version is intact" in line
            assert set(faults.states(path)) <= {2, 3}
            save.save(path, 4)
            assert faults.states(path) == (4, 4)
            assert not list(path.rglob(".*.part"))


@strace
def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path):
    save.make(tmp_path / "m")
    (call,) = [call for call in faults.calls(shutil.copytree(tmp_path / "m", tmp_path / "fresh"), 1) if call.name == "mkdir"]
    done = faults.traced(tmp_path / "m", 1, f"mkdir:error=ENOSPC:when={call.number}")
    assert done.returncode == 1
    assert "cannot make" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_files_that_may_not_grow_end_a_training_with_a_sentence(tmp_path, words_file):
    """RLIMIT_FSIZE lets the texts through, but neither weights nor snapshot: the training goes to its end, with exit code 1."""
    options = ["--steps", "120", "--seed", "1", "--size", "64", "--embedding", "64", "--batch", "4", "--window", "8", "--valid"]
    valid = tmp_path / "valid.txt"
    valid.write_text("ba\nki\n" * 20)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))"
    process = faults.training(words_file, "-o", "m", *options, valid, first=limit)
    _, err = process.communicate()
    assert process.returncode == 1, err
    assert "Traceback" not in err
    told = [line for line in err.splitlines() if "cannot save" in line]
    assert len(told) == 2  # once when it happens, once at the end
    assert "training continues" in told[0]
    assert "File too large" in told[1]
    assert told[1].endswith("free some space, then train again")
    assert {p.name for p in tmp_path.iterdir()} <= {"words.txt", "valid.txt", ".cache"}


SMALL = {"size": 12, "embedding": 6, "batch": 4, "window": 8, "learning_rate": 1e-2, "patience": 0}


def begun(path: Path, corpus: Path, steps: int) -> run.Run:
    return run.new(path, provenance.TextSettings((str(corpus),), (), "line", "utf-8", "strict"), **SMALL, steps=steps)


def to_the_end(training: run.Run) -> list[str]:
    """The troubles told with each validation."""
    with closing(iter(training)) as reports:
        return [report.trouble for report in reports if report.valid_nats is not None]


def test_the_next_interval_tries_again_and_the_end_is_as_if_nothing_had_been(tmp_path, words_file, monkeypatch):
    """Saves fail for a while, in the middle of which the best validation falls; then the disk has room again."""
    to_the_end(begun(tmp_path / "peaceful", words_file, 1000))
    write, full = files.write_bytes, [False]

    def failing(path: Path, content: bytes) -> None:
        if full[0]:
            raise LmgenError(f"cannot save {path} ({len(content):,} bytes): No space left on device")
        write(path, content)

    monkeypatch.setattr(files, "write_bytes", failing)
    training = begun(tmp_path / "m", words_file, 1000)
    troubles = []
    with closing(iter(training)) as reports:
        for report in reports:
            if report.valid_nats is not None:
                troubles.append(report.trouble)
                full[0] = len(troubles) in (1, 2)
    assert [bool(trouble) for trouble in troubles[:4]] == [False, True, True, False]
    assert training.trouble == ""
    assert faults.digests(tmp_path / "m") == faults.digests(tmp_path / "peaceful")


def test_a_kill_after_a_failed_save_loses_no_best_weights(tmp_path, words_file, monkeypatch):
    """A snapshot never tells of better weights than those on the disk: what is resumed from it writes them again."""
    to_the_end(begun(tmp_path / "peaceful", words_file, 1000))
    write, validations = checkpoint.write_model, [0]

    def failing(*words) -> None:
        validations[0] += 1
        if validations[0] == 2:
            raise LmgenError("cannot save model.safetensors: No space left on device")
        write(*words)

    monkeypatch.setattr(checkpoint, "write_model", failing)
    with closing(iter(begun(tmp_path / "m", words_file, 1000))) as reports:
        for report in reports:
            if report.trouble:
                break  # as a kill would
    step = checkpoint.read_snapshot(tmp_path / "m")[1]["progress"]["step"]
    assert checkpoint.read_model(tmp_path / "m")[1]["step"] == step < report.step
    to_the_end(run.resume(tmp_path / "m")[0])
    assert faults.digests(tmp_path / "m") == faults.digests(tmp_path / "peaceful")


def test_lines_that_cannot_be_written_wait(tmp_path, monkeypatch):
    """A file that takes a few bytes at a time, then none, then all: no line is lost, doubled or torn."""

    class Stubborn:
        written, room = b"", 7

        def write(self, content: bytes) -> int:
            taken = content[: min(3, self.room)]
            if not taken:
                raise OSError(28, "No space left on device")
            self.written, self.room = self.written + taken, self.room - len(taken)
            return len(taken)

    def report(step):
        return StepReport(step, step, 1.0, 0.5, 9.0, 0.1, train_nats=2.0)

    lines, file = metrics.Writer(tmp_path / "metrics.jsonl"), Stubborn()
    monkeypatch.setattr(metrics, "open", lambda *_, **__: nullcontext(file), raising=False)
    lines.add(report(1))
    assert "No space left on device" in lines.trouble
    lines.add(report(2))
    file.room = 1000
    lines.add(report(3))
    assert lines.trouble == ""
    assert [json.loads(line)["step"] for line in file.written.splitlines()] == [1, 2, 3]


def test_from_python_a_failed_last_save_is_an_error(tmp_path, words_file, monkeypatch):
    def failing(*_):
        raise LmgenError("cannot save it: No space left on device")

    monkeypatch.setattr(checkpoint, "write_snapshot", failing)
    with pytest.raises(LmgenError, match="No space left"):
        lmgen.train(words_file, output=tmp_path / "m", steps=20, **SMALL)
    assert os.listdir(tmp_path / "m")


@pytest.mark.parametrize("validated", [True, False])
def test_what_is_not_finite_is_never_saved(tmp_path, words_file, validated):
    """Weights that became infinite on a way that no check of the gradient sees: neither snapshot nor model takes them."""
    if not validated:
        words_file.write_text("bade\n")
    training = begun(tmp_path / "m", words_file, 1000)
    with closing(iter(training)) as reports:
        next(report for report in reports if report.step == 60)
    training.save()
    before = faults.listing(tmp_path / "m")
    state = training.training.state
    training.training.state = state._replace(params={**state.params, "embedding": state.params["embedding"] * float("inf")})
    training.progress.step += 1
    training.save()
    assert faults.listing(tmp_path / "m") == before


@pytest.mark.parametrize("call", ["write", "fsync", "link"])
def test_an_arpa_file_is_whole_or_not_there(call, tmp_path, words_file, lmgen, monkeypatch):
    """Written beside and renamed; also where the file system has no links, and never over a file that came meanwhile."""
    lmgen("train", words_file, "--cell", "ngram", "--order", 2, "-o", "m")
    before = sorted(os.listdir())
    if call == "link":
        monkeypatch.setattr(os, "link", lambda *_: raised(OSError(errno.EPERM, "Operation not permitted")))
        assert lmgen("arpa", "write", "m", "-o", "m.arpa")[0] == 0
        assert Path("m.arpa").read_text().endswith("\\end\\\n")
        assert sorted(os.listdir()) == sorted([*before, "m.arpa"])
        return
    full = OSError(errno.ENOSPC, "No space left on device")
    place, name = (arpa, "_unigrams") if call == "write" else (os, "fsync")
    monkeypatch.setattr(place, name, lambda *_: raised(full))
    code, out, err = lmgen("arpa", "write", "m", "-o", "m.arpa")
    assert (code, out) == (2, "")
    assert err == "lmgen: cannot write m.arpa: No space left on device; choose another --output\n"
    assert sorted(os.listdir()) == before


def test_a_file_that_comes_meanwhile_stays(tmp_path):
    def write() -> None:
        with files.new(Path("mine"), text=True) as file:
            file.write("new")
            Path("mine").write_text("mine")

    with pytest.raises(InputError, match="cannot write mine: File exists"):
        write()
    assert Path("mine").read_text() == "mine"
    assert os.listdir() == ["mine"]


def raised(error: OSError) -> None:
    raise error
