"""Windows read all of a text: each symbol is predicted once an epoch, after the one before it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmgen.data.corpus import Ids
from lmgen.data.vocab import EOS
from lmgen.data.windows import Windows

shapes = {"batch": st.integers(1, 7), "window": st.integers(1, 9), "seed": st.integers(0, 3)}

some_lengths = st.lists(st.integers(1, 6), min_size=1, max_size=12)


def ids_of(lengths: list[int]) -> Ids:
    """Sequences of these lengths in which every symbol occurs once, so that a symbol tells its place."""
    symbols = iter(range(2, 2 + sum(lengths)))
    stream = [EOS]
    for length in lengths:
        stream += [*(next(symbols) for _ in range(length)), EOS]
    return Ids(np.array(stream, np.uint16), len(lengths), 0, 0, 0)


def epoch_of(windows: Windows, epoch: int) -> list[np.ndarray]:
    return [windows[epoch * windows.per_epoch + k] for k in range(windows.per_epoch)]


def sequences_in(ring: list[int]) -> list[tuple[int, ...]]:
    """A ring that begins with an EOS, cut at each."""
    cuts = [k for k, id in enumerate(ring) if id == EOS]
    return [tuple(ring[a:b]) for a, b in pairwise([*cuts, len(ring)])]


@settings(deadline=None)
@given(lengths=some_lengths, carry=st.booleans(), **shapes)
def test_every_epoch_predicts_every_symbol_after_the_one_before_it(lengths, carry, batch, window, seed):
    ids = ids_of(lengths)
    windows = Windows(ids, batch, window, carry, seed)
    for epoch in range(3):
        # Shuffled or not: an EOS follows each last symbol and precedes each first one.
        pairs = [(a, b) for rows in epoch_of(windows, epoch) for column in rows.T.tolist() for a, b in pairwise(column)]
        assert set(pairs) == set(pairwise(ids.stream.tolist()))
        assert len(pairs) == windows.per_epoch * batch * window
    assert (windows.per_epoch - 1) * batch * window < ids.symbols <= windows.per_epoch * batch * window


@settings(deadline=None)
@given(lengths=some_lengths, carry=st.booleans(), **shapes)
def test_a_window_goes_on_where_the_last_one_ended(lengths, carry, batch, window, seed):
    windows = Windows(ids_of(lengths), batch, window, carry, seed)
    for step in range(1, 3 * windows.per_epoch):
        if carry or step % windows.per_epoch:
            assert windows[step][0].tolist() == windows[step - 1][-1].tolist()


@settings(deadline=None)
@given(lengths=some_lengths, carry=st.booleans(), order=st.permutations(range(12)), **shapes)
def test_a_window_depends_on_nothing_but_its_number(lengths, carry, order, batch, window, seed):
    ids = ids_of(lengths)
    asked, fresh = Windows(ids, batch, window, carry, seed), Windows(ids, batch, window, carry, seed)
    got = {step: asked[step].tolist() for step in order}
    assert got == {step: fresh[step].tolist() for step in range(12)}
    assert [asked.begins(step).tolist() for step in order] == [fresh.begins(step).tolist() for step in order]


def test_windows_worked_by_hand():
    ids = ids_of([2, 1, 3])  # the ring is 0 2 3 0 4 0 5 6 7
    windows = Windows(ids, batch=2, window=3, carry=True, seed=0)
    assert [windows[k].T.tolist() for k in range(3)] == [
        [[0, 2, 3, 0], [4, 0, 5, 6]],
        [[0, 4, 0, 5], [6, 7, 0, 2]],
        [[5, 6, 7, 0], [2, 3, 0, 4]],
    ]
    assert windows.per_epoch == 2
    assert windows[0].dtype == np.int32


@pytest.mark.parametrize("most_blocks", [1 << 16, 10])
def test_epochs_hold_whole_sequences_each_in_an_order_of_its_own(most_blocks, monkeypatch):
    monkeypatch.setattr("lmgen.data.windows.MAX_BLOCKS", most_blocks)
    ids = ids_of([k % 7 + 1 for k in range(1000)])
    rings = []
    for seed in (0, 1):
        windows = Windows(ids, 1, ids.symbols, carry=False, seed=seed)
        rings += [sequences_in(windows[epoch][:-1, 0].tolist()) for epoch in (0, 1)]
    as_written = sequences_in(ids.stream[:-1].tolist())
    for ring in rings:
        assert sorted(ring) == as_written
        torn = len(set(pairwise(as_written)) - set(pairwise(ring)))  # neighbours that are neighbours no more
        assert torn > 950 if most_blocks > 1000 else 0 < torn <= most_blocks
    assert len(set(map(tuple, rings))) == len(rings)


def test_without_carry_the_state_is_fresh_with_each_epoch():
    windows = Windows(ids_of([3] * 20), 2, 8, carry=False, seed=0)
    assert windows.per_epoch == 5
    assert [windows.begins(step).tolist() for step in (0, 5, 10)] == [[True, True]] * 3
    assert not any(windows.begins(step).any() for step in (1, 2, 3, 4, 6, 9, 11))


def test_with_carry_a_state_is_given_up_now_and_then():
    windows = Windows(ids_of([3] * 20), 8, 8, carry=True, seed=0)
    assert windows.begins(0).all()
    assert 0.01 < np.mean([windows.begins(step) for step in range(1, 1000)]) < 0.04
