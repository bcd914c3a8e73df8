"""Trees in brackets, with a label at every node: a stream of them from files, their recognition, and a tree back in brackets.

"(3 (2 It) (4 (2 's) (3 good)))" as in the Stanford Sentiment Treebank: a leaf is `(label word)`, any other node a label and its
children, one or more. A bracket without a label may stand around the whole. A tree may take several lines. What stands for a
bracket in a word, such as -LRB-, stays as it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lmgen.data import formats
from lmgen.data.advice import number
from lmgen.data.finding import name_of, opened
from lmgen.data.reading import PAUSE, Piece, Text, combined, known_encoding
from lmgen.errors import InputError, printable
from lmgen.labelled.examples import Found
from lmgen.labelled.forms import wrong

FORM, TASK = "trees", "tree"
DEEPEST = 1_000  # brackets that are open at once
LARGEST = 1 << 16  # nodes of a tree, which is read and learnt whole
LONGEST = 1 << 12  # characters of a label or a word
ENOUGH = 0.98  # of the lines at the beginning of a file of trees are whole trees
WITHIN = 0.1  # of its trees have a node below one of the same label
_TOKEN = re.compile(r"[()]|[^\s()]+", re.ASCII)  # a no-break space is part of a word
_TOO_LARGE = f"the tree has over {LARGEST:,} nodes, too many to be read whole: give its parts"
_SUCH = "such as (3 (2 very) (3 good))"


class Tree(NamedTuple):
    """A tree: of each node, in the order of the opening brackets, its parent (−1 of the root), its label and its word.

    The label is None where none is given, the word where a node has children.
    """

    parents: tuple[int, ...]
    labels: tuple[str | None, ...]
    words: tuple[str | None, ...]
    line: int = 0  # where it begins in its file

    @property
    def leaves(self) -> tuple[str, ...]:
        """Its words from left to right."""
        return tuple(word for word in self.words if word is not None)

    @property
    def joined(self) -> str:
        """Its words as one string."""
        return " ".join(self.leaves)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """The words of each node: the number of its first, and that behind its last."""
        starts, ends, seen = list[int](), [0] * len(self.parents), 0
        for word in self.words:
            starts.append(seen)
            seen += word is not None
        for k in reversed(range(len(self.parents))):  # children come after their parents
            ends[k] = max(ends[k], starts[k] + (self.words[k] is not None))
            if k:
                ends[self.parents[k]] = max(ends[self.parents[k]], ends[k])
        return [*zip(starts, ends, strict=True)]

    def brackets(self, labels: Sequence[str | None] | None = None) -> str:
        """The tree in brackets, with other labels if given."""
        parts, path = list[str](), list[int]()
        for k, (parent, label, word) in enumerate(zip(self.parents, labels or self.labels, self.words, strict=True)):
            while path and path[-1] != parent:
                path.pop()
                parts.append(")")
            path.append(k)
            first = not k or not parts[-1]  # of a bracket without a label
            parts += ["(" if first else " (", " ".join(filter(None, (label, word)))]
        return "".join(parts) + ")" * len(path)


class Outline(NamedTuple):
    """Brackets before it is known what their tokens mean: of each bracket, in the order in which they open, the bracket that it
    stands in (−1 of the first) and what it holds: tokens, and the numbers of brackets."""

    parents: list[int]
    holds: list[list[str | int]]
    path: Path
    line: int


def outlines(pieces: Iterable[Piece], path: Path) -> Iterator[Outline | None]:
    """The bracketed wholes of a text, one after the other, of which one is held at a time; None before each wait for more.

    Raises InputError, with file and line, for brackets that do not balance, that are too deep or too many, and for text outside
    of brackets.
    """
    line, rest, size = 1, "", 0
    down, outline = list[int](), Outline([], [], path, 1)  # the open brackets; what they have held so far
    for piece in pieces:
        if piece is PAUSE:
            yield None
            continue
        text, rest = rest + piece.text, ""
        for match in _TOKEN.finditer(text):
            token = match[0]
            if len(token) > LONGEST:
                raise wrong(path, line, f"a word of over {LONGEST:,} characters: give trees, {_SUCH}")
            if token == "(":
                if not down:
                    outline, size = Outline([], [], path, line), 0
                elif len(down) == DEEPEST:
                    raise wrong(path, line, f"over {DEEPEST:,} brackets are open at once: close them, or leave this tree out")
                outline.parents.append(down[-1] if down else -1)
                if down:
                    outline.holds[down[-1]].append(len(outline.holds))
                down.append(len(outline.holds))
                outline.holds.append([])
            elif not down:
                what = "a ) closes nothing" if token == ")" else f"{printable(token, 40)!r} stands outside of brackets"
                raise wrong(path, line, f"{what}: give trees, {_SUCH}")
            elif token == ")":
                down.pop()
                if not down:
                    yield outline
            elif match.end() == len(text) and not piece.ends:  # a very long line comes in pieces, which may part a word
                rest = token
            else:
                outline.holds[down[-1]].append(token)
            size += 1
            if size > 4 * LARGEST:  # of which a node has four at most
                raise wrong(path, outline.line, _TOO_LARGE)
        line += piece.ends
    if down:
        many = f"{len(down):,} brackets are" if len(down) > 1 else "a bracket is"
        raise wrong(path, outline.line, f"{many} not closed in the tree that begins here: close each")


def _within(outline: Outline) -> Outline:
    """What a bracket without a label holds, if that is a single bracket: so the Penn Treebank writes its trees, ( (S …) )."""
    if len(outline.holds[0]) != 1 or not isinstance(outline.holds[0][0], int):
        return outline
    holds = [[one - 1 if isinstance(one, int) else one for one in some] for some in outline.holds[1:]]
    return outline._replace(parents=[parent - 1 for parent in outline.parents[1:]], holds=holds)


def labelled(outline: Outline) -> Tree | str:
    """The tree of an outline in which each bracket holds a label first, but for one around the whole; or what is wrong with it,
    in words."""
    outline = _within(outline)
    labels, words = list[str | None](), list[str | None]()
    for holds in outline.holds:
        label, *held = holds or [0]
        if not isinstance(label, str):
            return "a bracket without a label"
        word = held[0] if held else None
        if len(held) == 1 and isinstance(word, str):
            words.append(word)
        elif held and all(isinstance(one, int) for one in held):
            words.append(None)
        else:
            what = "nothing else" if not held else "several words" if isinstance(word, str) else "words beside brackets"
            return f"the bracket labelled {printable(label, 40)!r} holds {what}"
        labels.append(label)
    return Tree(tuple(outline.parents), tuple(labels), tuple(words), outline.line)


def bare(outline: Outline) -> Tree | str:
    """The tree of an outline without labels, in which every token is a leaf, as in ((not (very good)) though); a bracket around a
    single word is that leaf. Or what is wrong with it, in words."""
    parents, words = list[int](), list[str | None]()
    waiting: list[tuple[int, str | int]] = [(-1, 0)]  # parents with what is to become their next child
    while waiting:
        parent, one = waiting.pop()
        holds = outline.holds[one] if isinstance(one, int) else [one]
        if not holds:
            return "an empty bracket"
        leaf = isinstance(holds[0], str) and len(holds) == 1
        waiting += [] if leaf else ((len(parents), held) for held in reversed(holds))
        parents.append(parent)
        words.append(str(holds[0]) if leaf else None)
    return Tree(tuple(parents), (None,) * len(parents), tuple(words), outline.line)


def tree_of(outline: Outline, known: Collection[str] | None = None) -> Tree:
    """The tree of an outline. Given the labels that are `known`, it need not be labelled: where none of its labels is known, its
    tokens are words. Raises InputError, with file and line, for text that is not a tree."""
    found = labelled(outline)
    if known is not None and (isinstance(found, str) or not any(label in known for label in found.labels)):
        found = bare(outline)
    if isinstance(found, Tree) and len(found.parents) > LARGEST:
        raise wrong(outline.path, outline.line, _TOO_LARGE)
    if isinstance(found, str):
        raise wrong(outline.path, outline.line, f"{found}: give trees, {_SUCH}")
    return found


class Trees:
    """The labelled trees of some files, to be iterated over as often as needed; they are never held.

    After a whole pass `sha256` is the fingerprint of the bytes (of several files, of their fingerprints) and `notes` has
    sentences on the text. Raises InputError, with file and line, for text that is not a tree.
    """

    def __init__(self, paths: Sequence[Path], encoding: str = "utf-8", errors: str = "strict"):
        self.paths, self.encoding, self.errors = tuple(paths), known_encoding(encoding), errors
        self.sha256 = ""
        self.notes: dict[str, None] = {}

    def __iter__(self) -> Iterator[Tree]:
        digests: list[str] = []
        for path in self.paths:
            text = Text([path], "line", True, self.encoding, self.errors)
            yield from map(tree_of, filter(None, outlines(text, path)))
            self.notes.update(text.notes)
            digests.append(text.sha256)
        self.sha256 = combined(digests)


def recognise(paths: Sequence[Path]) -> Found | None:
    """That all paths are files of labelled trees, by the first 64 KB of each; None where one is not.

    Each line is a tree, or the trees take several lines each; some node stands below one of the same label, and a label comes
    often, which tells trees from records and programs in brackets. Raises InputError for a missing file.
    """
    found = [_of_file(path) for path in paths]
    return found[0] if found and all(found) else None


def _of_file(path: Path) -> Found | None:
    if path.is_dir():
        return None
    with opened(path) as file:
        start = file.read(formats.HEAD + 1)
    encoding = next((name for mark, name in formats.BYTE_ORDER_MARKS.items() if start.startswith(mark)), "utf-8-sig")
    lines = start[: formats.HEAD].decode(encoding, "replace").split("\n")
    lines = [line for line in (lines[:-1] if len(start) > formats.HEAD and len(lines) > 1 else lines) if line.strip()]
    by_line = [trees for line in lines if (trees := _whole([line], path))]
    if not by_line or len(by_line) < ENOUGH * len(lines):
        by_line = [_whole(lines, path)]
    trees = [tree for some in by_line for tree in some]
    labels = Counter(label for tree in trees for label in tree.labels)
    recursive = sum(any(p >= 0 and tree.labels[p] == tree.labels[k] for k, p in enumerate(tree.parents)) for tree in trees)
    if not trees or recursive < max(1, WITHIN * len(trees)) or labels.total() < 4 * len(labels):
        return None
    reason = f"{number(len(labels), 'different label')} in {number(len(trees), 'tree')} at its beginning"
    return Found(FORM, TASK, f"{name_of(Path(path.name))} has {reason}")


def _whole(lines: list[str], path: Path) -> list[Tree]:
    """The labelled trees of these lines, without one that goes on behind them; none if anything else is there."""
    found: list[Tree] = []
    rest = iter(lines)
    try:
        for outline in outlines((Piece(line, True, True, 1) for line in rest), path):
            tree = outline and labelled(outline)
            if not isinstance(tree, Tree):
                return []
            found.append(tree)
    except InputError:
        return [] if next(rest, None) is not None or len(lines) == 1 else found
    return found
