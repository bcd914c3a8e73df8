"""Whole sequences in columns: all are there, whole and once an epoch, with few places left over; a step depends on its number."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from lmgen.data.vocab import EOS
from lmgen.errors import InputError
from lmgen.labelled import packing
from lmgen.labelled.packing import LONGEST, Packing, best_fit, block, sizes, taken

SHAPES = {
    "one": [5],
    "even": [7] * 50,
    "various": np.random.default_rng(0).integers(1, 30, 400).tolist(),
    "skewed": [*np.random.default_rng(1).integers(1, 20, 300).tolist(), 150, 171],
    "symbols": [1] * 33,
}


def text(lengths):
    """A stream in which every symbol is different, and the places of the sequences in it."""
    lengths = np.array(lengths, np.int32)
    starts = 1 + np.cumsum(lengths + 1) - (lengths + 1)
    stream = np.zeros(int((lengths + 1).sum()) + 1, np.int32)
    inner = np.concatenate([np.arange(start, start + n) for start, n in zip(starts, lengths, strict=True)])
    stream[inner] = 100 + inner
    return stream, starts, lengths


def sequences_of(block, stream):
    """The sequences that the columns of a block hold, read as the network reads them: from EOS to EOS."""
    ids, found = taken(stream, block.places), []
    for column in ids.T:
        assert column[0] == column[-1] == EOS
        places = np.flatnonzero(column == EOS)
        found += [tuple(column[a + 1 : b].tolist()) for a, b in pairwise(places) if b > a + 1]
    return found


@pytest.mark.parametrize("lengths", SHAPES.values(), ids=SHAPES)
def test_each_epoch_holds_every_sequence_whole_and_once(lengths):
    stream, starts, lengths = text(lengths)
    wanted = sorted(tuple(stream[a : a + n].tolist()) for a, n in zip(starts, lengths, strict=True))
    packing = Packing(starts, lengths, 128, seed=3)
    for epoch in range(2):
        steps = [packing[epoch * packing.per_epoch + k] for k in range(packing.per_epoch)]
        assert sorted(one for step in steps for one in sequences_of(step, stream)) == wanted


@pytest.mark.parametrize("lengths", SHAPES.values(), ids=SHAPES)
def test_a_block_says_where_each_sequence_is(lengths):
    stream, starts, lengths = text(lengths)
    packing = Packing(starts, lengths, 128, seed=0)
    for step in range(packing.per_epoch):
        found = packing[step]
        ids, K = taken(stream, found.places), len(found.first)
        np.testing.assert_array_equal(found.slots == K, ids == EOS)
        for slot, k in enumerate(found.of.tolist()):
            if k < 0:
                assert not (found.slots == slot).any()
                continue
            rows = slice(found.first[slot], found.last[slot] + 1)
            np.testing.assert_array_equal(ids[rows, found.column[slot]], stream[starts[k] : starts[k] + lengths[k]])
            assert np.argwhere(found.slots == slot).tolist() == [
                [row, found.column[slot]] for row in range(found.first[slot], found.last[slot] + 1)
            ]


def test_blocks_of_a_size_have_one_shape():
    """So that few programs are compiled: two sizes at most, whatever the step."""
    _, starts, lengths = text(SHAPES["skewed"])
    packing = Packing(starts, lengths, 128, seed=0)
    shapes = {tuple(part.shape for part in packing[k]) for k in range(3 * packing.per_epoch)}
    assert len(shapes) == len(sizes(lengths)) == 2


def test_a_few_long_sequences_have_blocks_of_their_own():
    """Read in columns as long as the longest, all others would cost as much as it does."""
    stream, starts, lengths = text(SHAPES["skewed"])
    square = 2 * 176**2
    found = [*packing.blocks(starts, lengths, 32, square)]
    assert [one.places.shape for one in found] == [(24, 32)] * 5 + [(24, 32)] * (len(found) - 6) + [(176, 2)]
    assert sorted(k for one in found for k in one.of[one.of >= 0].tolist()) == [*range(len(lengths))]
    assert sorted(len(one) for block in found for one in sequences_of(block, stream)) == sorted(lengths.tolist())


def test_a_step_is_a_function_of_its_number_and_the_seed():
    """Whatever was drawn before, as resuming needs; another epoch and another seed draw otherwise."""
    _, starts, lengths = text(SHAPES["various"])
    packing, fresh = (Packing(starts, lengths, 200, seed=5) for _ in range(2))
    per = packing.per_epoch
    drawn = [packing[k] for k in range(3 * per)]
    for k in (3 * per - 1, 0, per, 1):
        for one, other in zip(drawn[k], fresh[k], strict=True):
            np.testing.assert_array_equal(one, other)
    orders = {str([drawn[epoch * per + k].of.tolist() for k in range(per)]) for epoch in range(3)}
    assert len(orders) == 3
    other = Packing(starts, lengths, 200, seed=6)
    assert any((drawn[k].of != other[k].of).any() for k in range(per))


def naive_best_fit(lengths, rows):
    """By looking at every column: the fullest that has room, the one filled last among equals."""
    columns = []
    for k in sorted(range(len(lengths)), key=lambda k: -lengths[k]):
        fitting = [c for c in columns if c["left"] >= lengths[k] + 1]
        best = max(fitting, key=lambda c: (-c["left"], c["turn"]), default=None)
        if best is None:
            best = {"left": rows - 1, "of": []}
            columns.append(best)
        best["of"].append(k)
        best["left"] -= lengths[k] + 1
        best["turn"] = sum(len(c["of"]) for c in columns)
    return [c["of"] for c in columns]


@pytest.mark.parametrize("seed", range(5))
def test_best_fit_is_that_of_the_definition(seed):
    lengths = np.random.default_rng(seed).integers(0, 23, 200)
    assert [*best_fit(lengths, 24 + 8 * seed)] == naive_best_fit(lengths.tolist(), 24 + 8 * seed)


def test_filler_is_what_is_counted_and_little():
    stream, starts, lengths = text(SHAPES["various"])
    packing = Packing(starts, lengths, 32, seed=0)  # one column a step
    read = sum(packing[k].places.size for k in range(packing.per_epoch))
    assert packing.filler == pytest.approx(1 - (len(stream) - 1) / read)
    assert packing.filler < 0.1


def test_a_few_long_sequences_do_not_make_the_columns_of_all_long():
    _, _, lengths = text(SHAPES["skewed"])
    few, longest = sizes(lengths)
    assert few < 40 < 171 + 2 <= longest
    assert sizes(np.array([3, 5, 9])) == [16]


def test_an_empty_sequence_has_a_slot_and_no_place():
    found = block([[0, 1]], np.array([1, 3]), np.array([1, 0]), rows=8, width=1, most=2)
    assert found.of.tolist() == [0, 1]
    assert np.flatnonzero(found.slots[:, 0] != 2).tolist() == [1]
    assert (found.last - found.first + 1).tolist() == [1, 0]


def test_a_sequence_too_long_to_be_read_whole_is_refused():
    with pytest.raises(InputError, match="65,537 symbols is too long to be labelled as a whole"):
        sizes(np.array([5, LONGEST + 1]))
    assert sizes(np.array([5, LONGEST]))


def test_sequences_are_packed_some_at_a_time(monkeypatch):
    """Each sequence once, and no more filler than of two parts that are packed alone; kinds are those of a stable sort."""
    monkeypatch.setattr(packing, "AT_A_TIME", 100)
    lengths = np.random.default_rng(0).integers(1, 30, 250)
    starts = np.cumsum([1, *(lengths[:-1] + 1)])
    columns = best_fit(lengths, 32)
    assert sorted(k for column in columns for k in column) == list(range(250))
    assert all(sum(lengths[k] + 1 for k in column) <= 31 for column in columns)
    assert len(columns) == sum(len(best_fit(lengths[k : k + 100], 32)) for k in (0, 100, 200))
    assert columns.sums(lengths).tolist() == [lengths[column].sum() for column in columns]
    found = Packing(starts, lengths, 320, 0)
    assert sorted(k for step in range(found.per_epoch) for k in found[step].of.tolist() if k >= 0) == list(range(250))
    by_length = np.argsort(lengths, kind="stable")
    wanted = np.split(by_length, np.flatnonzero(np.diff(lengths[by_length])) + 1)
    assert [group.tolist() for group in packing._by_kind(lengths)] == [group.tolist() for group in wanted]
