"""Any input at all: lmgen works or says in a sentence why not, and no input ends it with a traceback.

A few hundred inputs of each kind, always the same; with LMGEN_LONG=1 (`make fuzz`) many thousand that are new each time.
"""

from __future__ import annotations

import pytest
from drawing import level
from fuzzing import KINDS
from hypothesis import given


@pytest.mark.parametrize("kind", KINDS)
def test_any_input_works_or_is_refused_in_a_sentence(kind):
    inputs, use, quick, long, _ = KINDS[kind]

    @level(quick, long)
    @given(inputs)
    def run(drawn):
        use(drawn)

    run()


FOUND = [
    ("vocabularies", (b"\x80", "")),
    ("configurations", ("net", [("seed", 1 << 70)])),
    ("configurations", ("trees", [("temperature", {"nodes": 5e-324})])),
    ("options", (["compress", "running", "/dev/zero", "--output", "x"], b"")),
    ("options", (["score", "grams", "folder"], b"")),
    ("options", (["train", "text.txt", "--output", "."], b"")),
    ("options", (["arpa", "read", "grams.arpa", "--output", "/"], b"")),
    ("options", (["serve", "net", "--key-file", "/dev/zero"], b"")),
    ("options", (["serve", "net", "--port", "0"], b"")),
]


@pytest.mark.parametrize(("kind", "drawn"), FOUND, ids=str)
def test_what_was_found_stays_mended(kind, drawn):
    """Inputs that once ended in a traceback, or not at all."""
    KINDS[kind][1](drawn)
