"""What the corpora that ship promise."""

from __future__ import annotations

import re
import sys
from collections import Counter
from datetime import date

import pytest

from lmgen.data.finding import shipped
from support import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import corpora


def test_each_line_of_names_by_language_is_a_language_and_one_of_the_names():
    lines = shipped("names-by-language").read_text("utf-8").split("\n")
    assert lines.pop() == ""
    rows = [tuple(line.split("\t")) for line in lines]
    assert all(len(row) == 2 and all(part and part == part.strip() for part in row) for row in rows)
    assert rows == sorted(rows)
    names = [name for _, name in rows]
    assert len(set(names)) == len(names)
    assert set(names) <= set(shipped("names").read_text("utf-8").splitlines())


def test_each_line_of_dates_is_a_date_and_the_same_in_the_iso_form():
    rows = [line.split("\t") for line in shipped("dates").read_text("utf-8").splitlines()]
    assert len({source for source, _ in rows}) == len(rows) == 4000
    for source, target in rows:
        day = date.fromisoformat(target)
        assert str(day.year) in source
        name = f"{day:%B}"
        assert name[:3] in source or str(day.month) in re.findall("[1-9][0-9]*", source)
        assert str(day.day) in re.findall("[1-9][0-9]*", source)


def test_names_by_language_has_enough_names_of_each_language():
    counts = Counter(line.split("\t")[0] for line in shipped("names-by-language").read_text("utf-8").splitlines())
    assert "Irish" in counts
    assert len(counts) >= 16
    assert min(counts.values()) >= 150


@pytest.mark.parametrize("name", corpora.MADE)
def test_an_invented_corpus_is_what_its_program_writes(name):
    assert shipped(name).read_text("utf-8") == corpora.text(name)


def test_every_bar_of_the_tunes_is_full():
    for tune in shipped("tunes").read_text("utf-8").split("\n\n"):
        metre, _, *parts = tune.split()
        eighths = {"M:4/4": 8, "M:6/8": 6, "M:3/4": 6}[metre]
        for bar in re.findall("[A-Ga-g0-9]+", "".join(parts)):
            assert sum(int(length or 1) for _, length in re.findall("([A-Ga-g])([0-9]?)", bar)) == eighths


def test_every_gene_is_read_in_codons():
    for gene in shipped("genes").read_text("utf-8").split():
        codons = re.fullmatch("TATAAT[AT]{5,9}AGGAGG[ACGT]ATG((?:[ACGT]{3})+)", gene)[1]
        assert [k for k in range(0, len(codons), 3) if codons[k : k + 3] in corpora.STOPS] == [len(codons) - 3]
