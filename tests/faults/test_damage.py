"""Files cut at any length and flipped in any bit are noticed, with what there is and what should be; resume goes one back."""

from __future__ import annotations

import random
import re
import shutil
from pathlib import Path

import pytest
import save

import faults
import lmgen
from lmgen.errors import CheckpointError
from lmgen.system import checkpoint
from lmgen.training import run
from support import SMALL

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "format-2"


@pytest.fixture
def copy(model_path, tmp_path) -> Path:
    """A trained model and its snapshots, to be damaged."""
    return shutil.copytree(model_path, tmp_path / "m")


@pytest.fixture
def tiny(tmp_path) -> Path:
    """A directory of a few hundred bytes a file."""
    path = tmp_path / "tiny"
    save.make(path)
    save.save(path, 1)
    save.save(path, 2)
    return path


def test_every_length_and_every_bit_of_a_small_checkpoint(tiny):
    """Of the bits, in the quick level, one in thirteen."""
    for path, read in faults.every_file(tiny).items():
        if not path.exists():
            continue
        whole = path.read_bytes()
        noticed, tried = faults.caught(path, faults.cuts(whole), read)
        assert noticed == tried == len(whole) + 1, path.name
        bits = range(0, 8 * len(whole), 1 if faults.LONG else 13)
        noticed, tried = faults.caught(path, (faults.flipped(whole, bit) for bit in bits), read)
        assert noticed == tried == len(bits), path.name


def test_lengths_and_bits_of_every_file_of_a_model(copy):
    """Of a real one: some lengths and some bits, or, in the long level, every length and thousands of bits."""
    draw = random.Random(5)
    for path, read in faults.every_file(copy).items():
        whole = path.read_bytes()
        step, flips = (1, 2000) if faults.LONG else (len(whole) // 50 + 1, 100)
        noticed, tried = faults.caught(path, faults.cuts(whole, step), read)
        assert noticed == tried > 10, path.name
        noticed, tried = faults.caught(path, faults.flips(whole, flips, draw), read)
        assert noticed == tried == flips, path.name
    assert lmgen.load(copy).sample(2)


@pytest.mark.parametrize("name", ["classes", "tags", "writer"])
def test_any_damage_to_a_labelled_model_is_noticed(tmp_path, name):
    """Every length of every file, and some bits, or in the long level all."""
    copy, draw = shutil.copytree(GOLDEN / name, tmp_path / "m"), random.Random(6)
    for path, read in faults.every_file(copy).items():
        whole = path.read_bytes()
        for damaged in (faults.cuts(whole, 1 if faults.LONG else 37), faults.flips(whole, 5000 if faults.LONG else 60, draw)):
            noticed, tried = faults.caught(path, damaged, read)
            assert noticed == tried > 2, path.name
    assert lmgen.load(copy).path == copy


def test_the_sentence_says_what_there_is_and_what_should_be(tiny):
    path = tiny / "model.safetensors"
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        need = len(whole) if length >= header else header if length >= 8 else 8
        more = "" if length >= header else " and more"
        with pytest.raises(CheckpointError, match=re.escape(f"is damaged (have {length:,} bytes, need {need:,}{more})")):
            checkpoint.read_model(tiny)


def test_resume_falls_back_and_says_so(lmgen, words_file):
    """The newest snapshot is cut; the training goes on from the one before and ends as if nothing had been."""
    options = ["--steps", 400, "--patience", 0, *SMALL]
    assert lmgen("train", words_file, "-o", "whole", *options)[0] == 0
    assert lmgen("train", words_file, "-o", "m", *options)[0] == 0
    newest, before = checkpoint.snapshots(Path("m"))
    newest.write_bytes(newest.read_bytes()[:-9])
    code, _, err = lmgen("train", "--resume", "m")
    assert code == 0
    have, need = newest.name, "going back to the snapshot before it"
    assert f"{have} is damaged (have " in err.splitlines()[0]
    assert need in err.splitlines()[0]
    assert f"from step {int(before.stem[5:])}" in err.splitlines()[1]
    assert faults.digests(Path("m")) == faults.digests(Path("whole"))


def test_without_a_whole_snapshot_resume_ends_with_exit_code_3(copy, lmgen):
    for snapshot in checkpoint.snapshots(copy):
        snapshot.write_bytes(snapshot.read_bytes()[:100])
    code, _, err = lmgen("train", "--resume", copy)
    assert code == 3
    assert "is damaged (have 100 bytes" in err


@pytest.mark.parametrize("name", ["config.json", "vocab.json"])
def test_resume_does_not_go_on_with_other_settings(copy, lmgen, name):
    """One bit of what a snapshot belongs to."""
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    code, _, err = lmgen("train", "--resume", copy)
    assert code == 3
    assert f"{name} is damaged or of another model" in err


def test_a_damaged_model_is_written_anew_by_the_next_validation(copy):
    """Resume needs its snapshot only; that the weights beside it are damaged is said, and mended."""
    (copy / "model.safetensors").write_bytes(b"rubbish")
    resumed, complaints = run.resume(copy, steps=70)
    assert ["model anew" in complaint for complaint in complaints] == [True]
    for _ in resumed:
        pass
    assert lmgen.load(copy).sample(1)


def test_torn_lines_of_the_metrics_are_dropped(copy):
    """What is no line of ours, or no text at all, does not keep a training from going on."""
    with open(copy / "metrics.jsonl", "ab") as file:
        file.write(b'\xff\xfe\n{"step": "x"}\n[1]\n' + b"[" * 100_000 + b'\n{"step": 61}\n{"ste')
    before = (copy / "metrics.jsonl").read_bytes().splitlines()
    run.resume(copy)
    assert (copy / "metrics.jsonl").read_bytes().splitlines() == before[: len(before) - 6]
