"""A report on text with a structure before a training: sizes, labels and tags, contradictions, and what the splits share.

It takes a pass over each split, and a second one for excerpts. An example costs two or three fingerprints of 64 bits, a label its
entry in a table. How the examples of a structure are seen, `structured.views` says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import compress, pairwise
from typing import Any

import numpy as np

from lmgen.checks.plain import Lengths
from lmgen.data.advice import LEAK, leak, number, percent
from lmgen.data.corpus import among
from lmgen.data.finding import name_of, names_of
from lmgen.data.split import fingerprint
from lmgen.data.symbols import excerpt
from lmgen.errors import InputError, printable
from lmgen.labelled import tagging
from lmgen.labelled.forms import SEQ_OUT
from lmgen.structured.views import LABELS, View

RARE = 10  # a label with fewer examples is hardly learnt
MOST_LISTED = 10_000  # labels of a report
MOST_CHECKED = 2_000  # tags of which each pair is checked against their scheme
FEW = 100  # examples from which little is learnt
UNBALANCED = 0.8  # the share of one label from which on accuracy says little
SHOWN = 3  # examples, and labels in a sentence

Pair = tuple[str | None, str | None]  # of tags; None is the start or the end of a sequence


@dataclass(frozen=True)
class Label:
    """A label or a tag with the number of texts or tokens that have it in each split."""

    name: str
    counts: dict[str, int]


@dataclass(frozen=True)
class Conflicts:
    """The number of different texts of training that have different labels or tags in different places, and the examples with
    such a text; some of them, with their labels."""

    texts: int
    examples: int
    some: list[tuple[str, list[str]]]


@dataclass(frozen=True)
class Invalid:
    """The number of sequences of a split whose tags break their scheme, where the first is, and the two tags there that do not
    follow each other (None: the start or the end)."""

    of: str
    sequences: int
    file: str
    line: int
    pair: Pair


@dataclass(frozen=True)
class Shared:
    """The number of examples of a split whose text is in another split."""

    of: str
    within: str
    examples: int
    shared: int
    example: str | None


@dataclass(frozen=True)
class LabelReport:
    """The findings of `check`, by split; where the form has no tokens, they are words by white space.

    `tokens` and `lengths` are those of the first size of the view, `further` has the lengths of the others. `repeats` counts the
    examples that equal an earlier one. `different` is the number of labels and of tags; `labels` and `tags` are the `MOST_LISTED`
    most frequent, `rare` those of them that training has, but fewer than `RARE` times, and `only` those of one split.
    """

    files: list[str]
    form: str
    is_tokens: bool
    examples: dict[str, int]
    unlabelled: dict[str, int]
    tokens: dict[str, int]
    lengths: dict[str, Lengths]
    further: dict[str, dict[str, Lengths]]
    repeats: dict[str, int]
    different: dict[str, int]
    labels: list[Label]
    tags: list[Label]
    several: bool
    scheme: str | None
    rare: list[Label]
    conflicts: Conflicts
    invalid: list[Invalid]
    overlaps: list[Shared]
    only: list[Label]
    notes: list[str]
    warnings: list[str]


class _Split:
    """What one pass over the examples of a split finds."""

    def __init__(self, examples: Any, view: View):
        self.labels, self.tags, self.pairs = Counter[str](), Counter[str](), Counter[Pair]()
        self.sizes = {title: Counter[int]() for title in view.sizes}
        self.unlabelled, self.several, self.is_tokens = 0, False, False
        texts, given, answers = bytearray(), bytearray(), bytearray()
        for example in examples:
            labels, tags = view.labels(example), view.tags(example)
            self.is_tokens = not isinstance(getattr(example, "text", ""), str)
            for title, size in view.sizes.items():
                self.sizes[title][size(example)] += 1
            self.labels.update(labels)
            self.unlabelled += not labels
            self.several |= len(labels) > 1
            self.tags.update(tags)
            if tags and view.ordered and len(self.tags) <= MOST_CHECKED:
                self.pairs.update(_pairs(tags))
            texts += _hash(example.joined)
            given += _hash(view.given(example)) if view.given else b""
            answers += _hash(view.answer(example))
        if not texts:
            raise InputError(f"there is no {view.noun} in {names_of(examples.paths)}: give a file with at least one")
        self.texts, self.answers = np.frombuffer(texts, "<u8"), np.frombuffer(answers, "<u8")
        self.given = np.frombuffer(given, "<u8") if given else self.texts

    @property
    def examples(self) -> int:
        return len(self.texts)

    @property
    def repeats(self) -> int:
        """The number of examples that equal an earlier one."""
        return self.examples - len(np.unique(np.stack([self.given, self.answers], axis=1), axis=0))


def _hash(text: str) -> bytes:
    return fingerprint(text).to_bytes(8, "little")


def _pairs(tags: Sequence[str]) -> Iterator[Pair]:
    return pairwise((None, *tags, None))


def check(training: Any, valid: Any = None, test: Any = None, view: View = LABELS, form: str = "") -> LabelReport:
    """Examine the examples of a structure for training, and those for validation and test; `form` is what they are read from.

    Raises InputError where a split has no examples.
    """
    given = {name: e for name, e in (("training", training), ("validation", valid), ("test", test)) if e is not None}
    splits = {name: _Split(examples, view) for name, examples in given.items()}
    first = splits["training"]
    labels, tags = (_counted({name: getattr(s, kind) for name, s in splits.items()}) for kind in ("labels", "tags"))
    names = [one.name for one in tags]
    scheme = tagging.scheme(names) if view.ordered and 0 < len(names) <= MOST_CHECKED else None
    main, *further = view.sizes
    pairs = [("validation", "training"), ("test", "training"), ("test", "validation")]
    report = LabelReport(
        files=[name_of(path) for path in training.paths],
        form=form or training.form,
        is_tokens=first.is_tokens,
        examples={name: s.examples for name, s in splits.items()},
        unlabelled={name: s.unlabelled for name, s in splits.items() if labels},
        tokens={name: sum(length * n for length, n in s.sizes[main].items()) for name, s in splits.items()},
        lengths={name: Lengths.of(s.sizes[main]) for name, s in splits.items()},
        further={title: {name: Lengths.of(s.sizes[title]) for name, s in splits.items()} for title in further},
        repeats={name: s.repeats for name, s in splits.items()},
        different={kind: len(set().union(*(getattr(s, kind) for s in splits.values()))) for kind in ("labels", "tags")},
        labels=labels,
        tags=tags,
        several=any(s.several for s in splits.values()),
        scheme=scheme,
        rare=[one for one in [*labels, *tags] if _is_rare(one)],
        conflicts=_conflicts(training, first, view),
        invalid=[*_invalid(given, splits, names, scheme)] if scheme else [],
        overlaps=[_shared(given, splits, *pair) for pair in pairs if given.keys() >= {*pair}],
        only=[one for one in [*labels, *tags] if len(splits) > 1 and sum(map(bool, one.counts.values())) == 1],
        notes=list(dict.fromkeys(note for e in given.values() for note in e.notes)),
        warnings=[],
    )
    report.warnings.extend(_warnings(report, view))
    return report


def _counted(counts: Mapping[str, Counter[str]]) -> list[Label]:
    """Labels with their numbers, the most frequent of training first."""
    names = nsmallest(MOST_LISTED, set().union(*counts.values()), key=lambda name: (*(-of[name] for of in counts.values()), name))
    return [Label(name, {split: of[name] for split, of in counts.items()}) for name in names]


def _is_rare(label: Label) -> bool:
    return 0 < label.counts["training"] < RARE


def _conflicts(examples: Any, read: _Split, view: View) -> Conflicts:
    order = np.lexsort((read.answers, read.given))
    texts, answers = read.given[order], read.answers[order]
    conflicting = np.unique(texts[1:][(texts[1:] == texts[:-1]) & (answers[1:] != answers[:-1])])
    hits = among(read.given, conflicting)
    shown = list(dict.fromkeys(read.given[hits].tolist()))[:SHOWN]
    some: dict[str, dict[str, None]] = {}
    for example in compress(examples, np.isin(read.given, np.array(shown, "u8"))) if shown else ():
        some.setdefault(example.joined, {})[view.answer(example)] = None
    return Conflicts(len(conflicting), int(hits.sum()), [(excerpt(text), [*map(excerpt, of)]) for text, of in some.items()])


def _invalid(given: Mapping[str, Any], splits: Mapping[str, _Split], tags: list[str], scheme: str) -> Iterator[Invalid]:
    ids: dict[str | None, int] = {name: k for k, name in enumerate([*tags, None])}
    allowed = tagging.allowed(tags, scheme)
    for of, examples in given.items():
        broken = {pair for pair in splits[of].pairs if not allowed[ids[pair[0]], ids[pair[1]]]}
        places = [
            (
                name_of(path / SEQ_OUT if path.is_dir() else path),
                example.line,
                next(filter(broken.__contains__, _pairs(example.tags))),
            )
            for path in (examples.paths if broken else ())
            for example in examples.of(path)
            if example.tags and not broken.isdisjoint(_pairs(example.tags))
        ]
        if places:
            yield Invalid(of, len(places), *places[0])


def _shared(given: Mapping[str, Any], splits: Mapping[str, _Split], of: str, within: str) -> Shared:
    one = splits[of]
    hits = among(one.texts, np.unique(splits[within].texts))
    first = next(compress(given[of], hits), None) if hits.any() else None
    return Shared(of, within, one.examples, int(hits.sum()), excerpt(first.joined) if first else None)


def _warnings(r: LabelReport, view: View) -> Iterator[str]:
    """Sentences on what is wrong, the most serious first."""
    examples, noun, labelled = r.examples["training"], view.noun, sum(one.counts["training"] for one in r.labels)
    for o in r.overlaps:
        if o.shared >= LEAK * o.examples:
            yield leak(o.shared, o.examples, f"{view.text}s of the {o.of} {noun}s are also among the {o.within} {noun}s")
    if (different := r.different["labels"]) > max(FEW, examples / 2):
        yield f"{different:,} different labels in {number(examples, noun)} are hardly classes: check which column has them"
    for kind, names in zip(view.nouns, (r.labels, r.tags), strict=True):
        if len(names) == 1:
            yield f"the only {kind} is {_named(names)}, so there is nothing to learn: give {noun}s with others"
        if new := [one for one in names if not one.counts["training"]]:
            where = " and ".join(split for split in r.examples if any(one.counts[split] for one in new))
            never = f"{number(len(new), kind)} of the {where} {noun}s, but not of the training {noun}s: {_named(new)}"
            yield f"{never}; the model cannot predict what it never saw, so add {noun}s"
        if len(names) > 1 and (rare := [one for one in names if _is_rare(one)]):
            few = f"{len(rare):,} of {number(len(names), kind)} {'has' if len(rare) == 1 else 'have'} fewer than {RARE} examples"
            yield f"{few}, too few to learn from ({_named(rare)}): give more, or merge {kind}s"
    for i in r.invalid:
        before, after = (f"{printable(tag, 40)!r}" if tag else None for tag in i.pair)
        what = f"{after} cannot come {f'after {before}' if before else 'first'}" if after else f"{before} cannot come last"
        where = f"the first in {i.file}, line {i.line:,}, where {what}"
        yield f"the tags of {number(i.sequences, f'{i.of} sequence')} break {r.scheme}, {where}: correct them"
    if r.conflicts.examples >= LEAK * examples:
        share = percent(r.conflicts.examples, examples)
        yield f"{share} of the {noun}s have a {view.text} that also has other {view.answers} elsewhere: {view.way_out}"
    if r.labels and not r.several and r.unlabelled["training"]:
        one = r.unlabelled["training"] == 1
        have, them = ("has", "it") if one else ("have", "them")
        yield f"{number(r.unlabelled['training'], noun)} of {examples:,} {have} no label: label {them}, or remove {them}"
    if len(r.labels) > 1 and not r.several and r.labels[0].counts["training"] >= UNBALANCED * labelled:
        share = percent(r.labels[0].counts["training"], labelled)
        yield f"{share} of the {view.nouns[0]}s are {_named(r.labels[:1])}, so read the F1 of each label rather than the accuracy"
    if examples < FEW:
        yield f"only {number(examples, noun)}, from which little is learnt: give more"


def _named(labels: list[Label]) -> str:
    return ", ".join(printable(one.name, 40) for one in labels[:SHOWN]) + ", …" * (len(labels) > SHOWN)
