"""Tags: schemes from sets, spans against seqscore, Viterbi against every sequence."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqscore.encoding import get_encoding

from lmgen.labelled import tagging
from lmgen.labelled.tagging import Span

BIO = ["O", "B-x", "I-x", "B-y", "I-y"]
IOBES = [*BIO, "E-x", "S-x", "E-y", "S-y"]
TAGS = {"BIO": BIO, "IOBES": IOBES}


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("O B-per I-per", "BIO"),
        ("O B-per", "BIO"),
        ("O I-per", "BIO"),
        ("B-a I-a B-b-c", "BIO"),
        ("B I O", "BIO"),
        ("B I", "BIO"),
        ("O B-a I-a E-a S-a", "IOBES"),
        ("O B-a I-a L-a U-a", "IOBES"),
        ("B M E S", "IOBES"),
        ("O", None),
        ("", None),
        ("NOUN VERB ADJ", None),
        ("N V A", None),
        ("B S", None),
        ("I-5 I-95", None),
        ("O B-per I-per X", None),
        ("O-a B-a I-a", None),
        ("B-side A-side", None),
    ],
)
def test_the_scheme_is_told_by_the_set_of_tags(tags, scheme):
    assert tagging.scheme(tags.split()) == scheme


def test_very_many_tags_are_no_scheme():
    assert [tagging.scheme(f"B-{k}" for k in range(n)) for n in (4096, 4097)] == ["BIO", None]


@given(st.lists(st.sampled_from(BIO), min_size=1, max_size=12))
def test_spans_are_those_of_conlleval(tags):
    encoding = get_encoding("BIO")
    mentions = encoding.decode_labels(encoding.repair_labels(tags, "conlleval"))
    assert tagging.spans(tags, "BIO") == [(one.type, one.span.start, one.span.end) for one in mentions]


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("B-x I-x E-x S-y O", [("x", 0, 3), ("y", 3, 4)]),
        ("B-x M-x L-x U-y W-y", [("x", 0, 3), ("y", 3, 4), ("y", 4, 5)]),
        ("E-x E-x", [("x", 0, 1), ("x", 1, 2)]),  # an end ends, and begins a span where there is none
        ("I-x E-x I-x", [("x", 0, 2), ("x", 2, 3)]),
        ("B-x E-y", [("x", 0, 1), ("y", 1, 2)]),
        ("B-x S-x I-x O", [("x", 0, 1), ("x", 1, 2), ("x", 2, 3)]),
        ("B-x O I-x", [("x", 0, 1), ("x", 2, 3)]),
        ("B M E S B E", [("", 0, 3), ("", 3, 4), ("", 4, 6)]),
        ("NOUN X-x B-x", [("x", 2, 3)]),
        ("", []),
    ],
)
def test_spans_of_iobes_by_hand(tags, spans):
    assert tagging.spans(tags.split(), "IOBES") == [Span(*span) for span in spans]


@given(st.sampled_from([*TAGS]), st.data())
def test_tags_are_allowed_where_they_are_those_of_their_spans(scheme, data):
    """What may be written is what one gets by writing spans in the scheme."""
    tags = data.draw(st.lists(st.sampled_from(TAGS[scheme]), min_size=1, max_size=6))
    written = ["O"] * len(tags)
    for label, start, end in tagging.spans(tags, scheme):
        written[start:end] = [f"I-{label}"] * (end - start)
        written[start] = f"B-{label}"
        if scheme == "IOBES":
            written[end - 1] = f"{'E' if end - start > 1 else 'S'}-{label}"
    table, K = tagging.allowed(TAGS[scheme], scheme), len(TAGS[scheme])
    path = [K, *(TAGS[scheme].index(tag) for tag in tags), K]
    assert table[path[:-1], path[1:]].all() == (written == tags)


def test_rules_that_cannot_be_kept_do_not_bind():
    ids = [3, 0, 1, 3]
    for tags, scheme in [(["O", "I-x", "B-y"], "BIO"), (["O", "B-x", "I-x"], "IOBES"), (["O", "E-x", "S-y"], "IOBES")]:
        assert tagging.allowed(tags, scheme)[ids[:-1], ids[1:]].all()


@st.composite
def problems(draw):
    n, K = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    numbers = st.floats(-9, 0) | st.just(-np.inf)
    log_p = np.array(draw(st.lists(st.lists(numbers, min_size=K, max_size=K), min_size=n, max_size=n)))
    allowed = np.array(draw(st.lists(st.booleans(), min_size=(K + 1) ** 2, max_size=(K + 1) ** 2))).reshape(K + 1, K + 1)
    return log_p, allowed


@given(problems())
def test_viterbi_finds_the_best_of_all_sequences(problem):
    log_p, allowed = problem
    n, K = log_p.shape

    def merit(ids):
        """Fewest broken rules first, then the fewest impossible tags, then the likeliest."""
        path = np.array([K, *ids, K])
        chosen = log_p[np.arange(n), list(ids)]
        possible = np.isfinite(chosen)
        return -int((~allowed[path[:-1], path[1:]]).sum()), int(possible.sum()), round(float(chosen[possible].sum()), 6)

    assert merit(tagging.viterbi(log_p, allowed)) == max(map(merit, product(range(K), repeat=n)))


def test_viterbi_of_a_long_text_obeys_the_scheme():
    log_p = np.log(np.random.default_rng(0).dirichlet(np.ones(len(IOBES)), 5000)).astype(np.float32)
    table, K = tagging.allowed(IOBES, "IOBES"), len(IOBES)
    ids = tagging.viterbi(log_p, table)
    assert table[np.append(K, ids), np.append(ids, K)].all()
    assert tagging.viterbi(log_p[:0], table).shape == (0,)


@pytest.mark.parametrize("scheme", TAGS)
def test_breaks_are_where_a_naive_loop_finds_them(scheme):
    names = TAGS[scheme]
    ids = np.random.default_rng(0).integers(-1, len(names), 300)
    table = tagging.allowed(names, scheme)
    expected = [not table[before if before >= 0 else len(names)][after if after >= 0 else -1] for before, after in pairwise(ids)]
    assert tagging.breaks(ids, table).tolist() == expected
    assert any(expected)
