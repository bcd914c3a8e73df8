"""N + M steps = N steps, a stop, a resume, M steps: to the bit, in every array and every line; and the same bits on any core."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import resumes

import faults
from lmgen.nn.cells import CELLS


@pytest.mark.parametrize("case", resumes.CASES if faults.LONG else resumes.CASES[:: len(resumes.CASES) // 4], ids=resumes.name_of)
def test_a_resumed_training_is_the_same_to_the_bit(tmp_path, case):
    """Across the end of an epoch, with dropout; sha256 of every array of the snapshot and the model, and every line."""
    whole, parts = resumes.stopped_and_resumed(tmp_path, case)
    assert parts.keys() == whole.keys()
    assert parts == whole


@pytest.mark.parametrize("case", resumes.LABELLED, ids=resumes.name_of)
def test_a_resumed_training_of_labels_is_the_same_to_the_bit(tmp_path, case):
    """Whole sequences in columns, drawn anew in each epoch; letters, tags, labels, both, and writing by label."""
    whole, parts = resumes.stopped_and_resumed(tmp_path, case)
    assert parts == whole


def test_the_cases_are_many():
    """Every cell, characters and words, independent and carried, at least forty in all."""
    assert {case["cell"] for case in resumes.CASES} == set(CELLS)
    assert {case["unit"] for case in resumes.CASES} >= {"char", "word"}
    assert {case["carry"] for case in resumes.CASES} == {False, True}
    assert len(resumes.CASES) >= 40


@pytest.mark.parametrize("native", ["", "off"], ids=["kernels", "without"])
def test_two_runs_give_the_same_bits(tmp_path, words_file, native):
    """With the kernels on one core and on all; by XLA alone, whose sums depend on how many there are, twice on all."""
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("there is one core only")
    found = []
    for name, pinned in (("first", cores if native else {min(cores)}), ("second", cores)):
        words = [words_file, "-o", name, "--steps", "40", "--size", "256", "--batch", "16", "--window", "16", "--dropout", "0.2"]
        process = faults.training(*words, first=f"import os; os.sched_setaffinity(0, {pinned})", LMGEN_NATIVE=native)
        _, err = process.communicate()
        assert process.returncode == 0, err
        found.append(faults.digests(Path(name)))
    assert found[0] == found[1]
