"""Labelled trees in numbers, as binary trees, and the steps in which a network reads many of them at a time."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lmgen.data.finding import names_of
from lmgen.data.split import WHOLE, Split
from lmgen.data.vocab import EOS, Vocab
from lmgen.data.windows import Share
from lmgen.errors import InputError
from lmgen.labelled import vectors
from lmgen.labelled.corpus import UNKNOWN, LabelledCorpus, Labels, held_out, noted, origin, share_of, with_vectors
from lmgen.structured.trees import DEEPEST, TASK, Tree, Trees

NONE = -1  # stands for a child that is not there


@dataclass(frozen=True)
class CodedTrees:
    """Labelled trees in numbers: tree k has the nodes `starts[k]` … `starts[k + 1]` − 1.

    Its `own[k]` nodes come first, in the order of their brackets, and then those into which `folded` parts nodes of more than two
    children. `words` [n] are ids, from `len(vocab)` on those of `others`, which are not in the vocabulary; EOS where a node has
    children. `left` and `right` [n] are the children, `NONE` for one that is not there; `depths` [n] count from the root;
    `labels` [n] are the numbers of the names, `UNKNOWN` for others and for nodes of `folded`.
    """

    starts: np.ndarray
    own: np.ndarray
    words: np.ndarray
    left: np.ndarray
    right: np.ndarray
    depths: np.ndarray
    labels: np.ndarray
    spelt: tuple[str, ...] = ()
    others: list[str] = field(default_factory=list)

    @property
    def symbols(self) -> int:
        """The number of nodes that have a label."""
        return int(self.own.sum())

    @property
    def sequences(self) -> int:
        return len(self.own)


def folded(parents: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """The left and the right child and the depth of each node of a tree, made binary.

    A node of more than two children reads them from left to right: new nodes, behind those of the tree, have read the first two,
    the first three and so on. An only child is a left one.
    """
    children: list[list[int]] = [[] for _ in parents]
    for k, parent in enumerate(parents[1:], 1):
        children[parent].append(k)
    left, right, depths = ([value] * len(parents) for value in (NONE, NONE, 0))
    for k, some in enumerate(children):  # parents come before their children
        if not some:
            continue
        first, *between = some[:-1] or some
        depth = depths[k] + 1 + len(between)
        depths[first] = depth
        for child in between:
            left.append(first)
            right.append(child)
            depths.append(depth - 1)
            depths[child] = depth
            first, depth = len(left) - 1, depth - 1
        left[k] = first
        if len(some) > 1:
            right[k], depths[some[-1]] = some[-1], depths[k] + 1
    return left, right, depths


class Scan:
    """Trees read once, before their vocabulary and labels are known: words and labels have the numbers in which they came.

    Raises InputError for a tree with too many levels.
    """

    def __init__(self, trees: Iterable[Tree]):
        self.spelt, self.names = dict[str, int](), dict[str, int]()
        own, sizes, words, labels, left, right, depths = (array("i") for _ in range(7))
        for tree in trees:
            of_left, of_right, of_depths = folded(tree.parents)
            if max(of_depths) > DEEPEST:
                raise InputError(
                    f"the tree of line {tree.line:,} is over {DEEPEST:,} levels deep, of which each child after a node's second "
                    "takes one: give its parts"
                )
            more = [UNKNOWN] * (len(of_left) - len(tree.parents))
            words.extend(UNKNOWN if word is None else self.spelt.setdefault(word, len(self.spelt)) for word in tree.words)
            labels.extend(UNKNOWN if name is None else self.names.setdefault(name, len(self.names)) for name in tree.labels)
            for column, values in ((words, more), (labels, more), (left, of_left), (right, of_right), (depths, of_depths)):
                column.extend(values)
            own.append(len(tree.parents))
            sizes.append(len(of_left))
        self.own, self.sizes, self.words, self.labels = map(np.array, (own, sizes, words, labels))
        self.left, self.right, self.depths = map(np.array, (left, right, depths))

    def coded(self, chosen: np.ndarray, vocab: Vocab, labels: Labels) -> CodedTrees:
        """The chosen trees, bool [n], in the numbers of a vocabulary and of the names of labels."""
        within, sizes = np.repeat(chosen, self.sizes), self.sizes[chosen]
        starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        base, spelt = np.repeat(starts[:-1], sizes), [*self.spelt]
        words = self.words[within]
        ids = np.array([*(vocab.ids.get(word, UNKNOWN) for word in spelt), EOS], np.int32)  # number −1 is the last one
        there = np.bincount(words[words >= 0], minlength=len(spelt)).astype(bool)
        others = np.flatnonzero(there & (ids[:-1] == UNKNOWN))
        ids[others] = len(vocab) + np.arange(len(others))
        names = np.array([*(labels.label_ids.get(name, UNKNOWN) for name in self.names), UNKNOWN], np.int32)
        left, right = (np.where(some[within] < 0, NONE, some[within] + base) for some in (self.left, self.right))
        return CodedTrees(
            starts,
            self.own[chosen],
            ids[words],
            left,
            right,
            self.depths[within],
            names[self.labels[within]],
            vocab.symbols,
            [spelt[k] for k in others.tolist()],
        )

    def label_names(self, chosen: np.ndarray) -> tuple[str, ...]:
        """The labels of the chosen trees, bool [n]."""
        found, names = np.unique(self.labels[np.repeat(chosen, self.sizes)]), [*self.names]
        return tuple(sorted(names[k] for k in found.tolist() if k != UNKNOWN))

    def word_counts(self, chosen: np.ndarray) -> Counter[str]:
        """How often each word is in the chosen trees, bool [n]."""
        words = self.words[np.repeat(chosen, self.sizes)]
        counts = np.bincount(words[words >= 0], minlength=len(self.spelt))
        return +Counter(dict(zip(self.spelt, counts.tolist(), strict=True)))


def encode(trees: Iterable[Tree], vocab: Vocab, labels: Labels) -> CodedTrees:
    """Trees in numbers."""
    scan = Scan(trees)
    return scan.coded(np.ones(len(scan.own), bool), vocab, labels)


def load(
    trees: Trees,
    valid: Trees | None,
    task: str = TASK,
    unit: str | None = None,
    min_count: int = 1,
    vocab_size: int | None = None,
    unk_token: str | None = None,
    vocab: Vocab | None = None,
    labels: Labels | None = None,
    split: Split | None = None,
    vectors_of: str | Path | None = None,
) -> LabelledCorpus:
    """Scan, split and encode labelled trees, with the vocabulary and the labels of a model if given.

    The task is always the same, and so is the unit: the word of a leaf. Without validation text a tenth of the trees is held out,
    by their words. Vocabulary and labels come from the training part only. Raises InputError where there is nothing to train on.
    """
    hashes = array("Q")

    scan = Scan(noted(trees, hashes))
    where = names_of(trees.paths)
    if not hashes:
        raise InputError(f"there is no tree in {where}: give a file with at least one")
    split = split or (WHOLE if valid else share_of(len(hashes)))
    split, held = held_out(hashes, split)
    if labels is None:
        labels = Labels(scan.label_names(~held))
        if len(labels.labels) < 2:
            has = f"only the label {labels.labels[0]!r}" if labels.labels else "no labels"
            raise InputError(f"{where} has {has}, so there is nothing to tell apart: give trees with two labels or more")
    vocab = vocab or Vocab.of(scan.word_counts(~held), "word", min_count, vocab_size, unk_token)
    seen, matrix, notes = len(vocab), None, []
    if vectors_of:
        vocab, matrix, note = with_vectors(vocab, vectors.read(Path(vectors_of)))
        notes.append(note)
    train = scan.coded(~held, vocab, labels)
    if valid:
        scan = Scan(valid)
        held = np.ones(len(scan.own), bool)
    rest = scan.coded(held, vocab, labels) if held.any() else None
    sha256, said = origin(trees, valid)
    known = np.unique(np.array(hashes, np.uint64))
    return LabelledCorpus(train, rest, vocab, labels, known, sha256, (*said, *notes), split, seen, matrix)


class Steps(NamedTuple):
    """The order in which a network reads some trees: all L leaves at once, then in each of S steps up to W nodes whose children
    have been read.

    The state of leaf k is row k of a buffer, that of node w of step s is row L + s W + w, and row L + S W stands for a child that
    is not there, as do all children of filler. `left` and `right` [S, W] are the rows of the children; `nodes` [L + S W] are the
    numbers of the nodes in the text, −1 for filler.
    """

    leaves: int
    left: np.ndarray
    right: np.ndarray
    nodes: np.ndarray


def shared_steps(data: CodedTrees, chosen: np.ndarray, width: int, share: Share) -> Steps:
    """Steps for the trees that a device reads, of those of these numbers; all devices get arrays of the same shapes."""
    parts = [chosen[k :: share.devices] for k in range(share.devices)]
    if len(parts) == 1:
        return steps(data, chosen, width)
    every = [steps(data, part, width) for part in parts]
    return steps(data, parts[share.device], width, max(one.leaves for one in every), max(len(one.left) for one in every))


def steps(data: CodedTrees, chosen: np.ndarray, width: int, leaves_at_least: int = 0, steps_at_least: int = 0) -> Steps:
    """Steps for the trees of these numbers, `width` nodes at a time; those farthest from their root come first, which takes the
    fewest steps or nearly so (Hu 1961). Leaves and steps are rounded up, so that few shapes are compiled."""
    starts, ends = data.starts[chosen], data.starts[chosen + 1]
    sizes = ends - starts
    shift = np.repeat(starts - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes)  # of a node's number to its place in `nodes`
    nodes = np.arange(len(shift)) + shift
    left, right = (np.where(some[nodes] == NONE, NONE, some[nodes] - shift) for some in (data.left, data.right))
    leaves = np.flatnonzero(left == NONE)
    inner = np.flatnonzero(left != NONE)
    inner = inner[np.argsort(-data.depths[nodes[inner]], kind="stable")]
    L = max(rounded(len(leaves)), leaves_at_least)
    read_in, rows, counts, open_step = [-1] * (len(nodes) + 1), [0] * len(nodes), list[int](), 0  # the last is for NONE
    for node, one, other in zip(inner.tolist(), left[inner].tolist(), right[inner].tolist(), strict=True):
        step = max(open_step, 1 + read_in[one], 1 + read_in[other])
        while step < len(counts) and counts[step] == width:
            step += 1
        if step == len(counts):
            counts.append(0)
        read_in[node], rows[node] = step, L + step * width + counts[step]
        counts[step] += 1
        while open_step < len(counts) and counts[open_step] == width:
            open_step += 1
    S = max(rounded(len(counts)) if counts else 0, steps_at_least)
    row = np.array([*rows, L + S * width], np.int32)
    row[leaves] = np.arange(len(leaves))
    of_left, of_right = np.full((2, S * width), L + S * width, np.int32)
    of_left[row[inner] - L], of_right[row[inner] - L] = row[left[inner]], row[right[inner]]
    placed = np.full(L + S * width, -1, np.int64)
    placed[row[:-1]] = nodes
    return Steps(L, of_left.reshape(S, width), of_right.reshape(S, width), placed)


def rounded(n: int) -> int:
    """The least of 8, 12, 16, 24, 32, 48, 64 … that is not less than n."""
    power = 1 << max(3, (n - 1).bit_length())
    return power * 3 // 4 if 8 < n <= power * 3 // 4 else power
