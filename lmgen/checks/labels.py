"""A report on labelled text before a training: labels and tags, contradictions, invalid tags, and what the splits share.

It takes a pass over each split, and a second one for excerpts. A text costs two fingerprints of 64 bits, a label its entry in a
table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import compress, pairwise

import numpy as np

from lmgen.checks.plain import Lengths
from lmgen.data.advice import LEAK, leak, number, percent
from lmgen.data.corpus import among
from lmgen.data.finding import name_of, names_of
from lmgen.data.split import fingerprint
from lmgen.data.symbols import excerpt
from lmgen.errors import InputError, printable
from lmgen.labelled import tagging
from lmgen.labelled.examples import Examples
from lmgen.labelled.forms import SEQ_OUT, Example

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

    `different` is the number of labels and of tags; `labels` and `tags` are the `MOST_LISTED` most frequent, `rare` those of them
    that training has, but fewer than `RARE` times, and `only` those of one split.
    """

    files: list[str]
    form: str
    is_tokens: bool
    examples: dict[str, int]
    unlabelled: dict[str, int]
    tokens: dict[str, int]
    lengths: dict[str, Lengths]
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

    def __init__(self, examples: Examples):
        self.lengths, self.labels, self.tags, self.pairs = Counter[int](), Counter[str](), Counter[str](), Counter[Pair]()
        self.unlabelled, self.several, self.is_tokens = 0, False, False
        texts, answers = bytearray(), bytearray()
        for example in examples:
            text, labels, tags, _ = example
            self.is_tokens = not isinstance(text, str)
            self.lengths[len(text.split() if isinstance(text, str) else text)] += 1
            self.labels.update(labels)
            self.unlabelled += not labels
            self.several |= len(labels) > 1
            if tags:
                self.tags.update(tags)
                if len(self.tags) <= MOST_CHECKED:
                    self.pairs.update(_pairs(tags))
            texts += fingerprint(example.joined).to_bytes(8, "little")
            answers += fingerprint(_answer(example)).to_bytes(8, "little")
        if not self.lengths:
            raise InputError(f"there is no example in {names_of(examples.paths)}: give a file with a line of it")
        self.texts, self.answers = np.frombuffer(texts, "<u8"), np.frombuffer(answers, "<u8")

    @property
    def examples(self) -> int:
        return len(self.texts)


def _pairs(tags: Sequence[str]) -> Iterator[Pair]:
    return pairwise((None, *tags, None))


def _answer(example: Example) -> str:
    """The labels, sorted, and the tags as one string."""
    return " ".join([", ".join(sorted(example.labels)), *(example.tags or ())]).strip()


def check(training: Examples, valid: Examples | None = None, test: Examples | None = None) -> LabelReport:
    """Examine labelled text for training, and that for validation and test.

    Raises InputError where a split has no examples.
    """
    given = {name: e for name, e in (("training", training), ("validation", valid), ("test", test)) if e is not None}
    splits = {name: _Split(examples) for name, examples in given.items()}
    first = splits["training"]
    labels, tags = (_counted({name: getattr(s, kind) for name, s in splits.items()}) for kind in ("labels", "tags"))
    names = [one.name for one in tags]
    scheme = tagging.scheme(names) if 0 < len(names) <= MOST_CHECKED else None
    pairs = [("validation", "training"), ("test", "training"), ("test", "validation")]
    report = LabelReport(
        files=[name_of(path) for path in training.paths],
        form=training.form,
        is_tokens=first.is_tokens,
        examples={name: s.examples for name, s in splits.items()},
        unlabelled={name: s.unlabelled for name, s in splits.items() if labels},
        tokens={name: sum(length * n for length, n in s.lengths.items()) for name, s in splits.items()},
        lengths={name: Lengths.of(s.lengths) for name, s in splits.items()},
        different={kind: len(set().union(*(getattr(s, kind) for s in splits.values()))) for kind in ("labels", "tags")},
        labels=labels,
        tags=tags,
        several=any(s.several for s in splits.values()),
        scheme=scheme,
        rare=[one for one in [*labels, *tags] if _is_rare(one)],
        conflicts=_conflicts(training, first),
        invalid=[*_invalid(given, splits, names, scheme)] if scheme else [],
        overlaps=[_shared(given, splits, *pair) for pair in pairs if given.keys() >= {*pair}],
        only=[one for one in [*labels, *tags] if len(splits) > 1 and sum(map(bool, one.counts.values())) == 1],
        notes=list(dict.fromkeys(note for e in given.values() for note in e.notes)),
        warnings=[],
    )
    report.warnings.extend(_warnings(report))
    return report


def _counted(counts: Mapping[str, Counter[str]]) -> list[Label]:
    """Labels with their numbers, the most frequent of training first."""
    names = nsmallest(MOST_LISTED, set().union(*counts.values()), key=lambda name: (*(-of[name] for of in counts.values()), name))
    return [Label(name, {split: of[name] for split, of in counts.items()}) for name in names]


def _is_rare(label: Label) -> bool:
    return 0 < label.counts["training"] < RARE


def _conflicts(examples: Examples, read: _Split) -> Conflicts:
    order = np.lexsort((read.answers, read.texts))
    texts, answers = read.texts[order], read.answers[order]
    conflicting = np.unique(texts[1:][(texts[1:] == texts[:-1]) & (answers[1:] != answers[:-1])])
    hits = among(read.texts, conflicting)
    shown = list(dict.fromkeys(read.texts[hits].tolist()))[:SHOWN]
    some: dict[str, dict[str, None]] = {}
    for example in compress(examples, np.isin(read.texts, np.array(shown, "u8"))) if shown else ():
        some.setdefault(example.joined, {})[_answer(example)] = None
    return Conflicts(len(conflicting), int(hits.sum()), [(excerpt(text), [*map(excerpt, of)]) for text, of in some.items()])


def _invalid(given: Mapping[str, Examples], splits: Mapping[str, _Split], tags: list[str], scheme: str) -> Iterator[Invalid]:
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


def _shared(given: Mapping[str, Examples], splits: Mapping[str, _Split], of: str, within: str) -> Shared:
    one = splits[of]
    hits = among(one.texts, np.unique(splits[within].texts))
    first = next(compress(given[of], hits), None) if hits.any() else None
    return Shared(of, within, one.examples, int(hits.sum()), excerpt(first.joined) if first else None)


def _warnings(r: LabelReport) -> Iterator[str]:
    """Sentences on what is wrong, the most serious first."""
    examples, labelled = r.examples["training"], sum(one.counts["training"] for one in r.labels)
    for o in r.overlaps:
        if o.shared >= LEAK * o.examples:
            yield leak(o.shared, o.examples, f"texts of the {o.of} examples are also among the {o.within} examples")
    if (different := r.different["labels"]) > max(FEW, examples / 2):
        yield f"{different:,} different labels in {number(examples, 'example')} are hardly classes: check which column has them"
    for kind, names in (("label", r.labels), ("tag", r.tags)):
        if len(names) == 1:
            yield f"the only {kind} is {_named(names)}, so there is nothing to learn: give examples of others"
        if new := [one for one in names if not one.counts["training"]]:
            where = " and ".join(split for split in r.examples if any(one.counts[split] for one in new))
            never = f"{number(len(new), kind)} of the {where} examples, but not of the training examples: {_named(new)}"
            yield f"{never}; the model cannot predict what it never saw, so add examples"
        if len(names) > 1 and (rare := [one for one in names if _is_rare(one)]):
            few = f"{len(rare):,} of {number(len(names), kind)} {'has' if len(rare) == 1 else 'have'} fewer than {RARE} examples"
            yield f"{few}, too few to learn from ({_named(rare)}): give more, or merge labels"
    for i in r.invalid:
        before, after = (f"{printable(tag, 40)!r}" if tag else None for tag in i.pair)
        what = f"{after} cannot come {f'after {before}' if before else 'first'}" if after else f"{before} cannot come last"
        where = f"the first in {i.file}, line {i.line:,}, where {what}"
        yield f"the tags of {number(i.sequences, f'{i.of} sequence')} break {r.scheme}, {where}: correct them"
    if r.conflicts.examples >= LEAK * examples:
        share = percent(r.conflicts.examples, examples)
        yield f"{share} of the examples have a text that also has other labels elsewhere: correct or remove the doubtful ones"
    if r.labels and not r.several and r.unlabelled["training"]:
        yield f"{number(r.unlabelled['training'], 'example')} of {examples:,} have no label: label them, or remove them"
    if len(r.labels) > 1 and not r.several and r.labels[0].counts["training"] >= UNBALANCED * labelled:
        share = percent(r.labels[0].counts["training"], labelled)
        yield f"{share} of the labels are {_named(r.labels[:1])}, so read the F1 of each label rather than the accuracy"
    if examples < FEW:
        yield f"only {number(examples, 'example')}, from which little is learnt: give more"


def _named(labels: list[Label]) -> str:
    return ", ".join(printable(one.name, 40) for one in labels[:SHOWN]) + ", …" * (len(labels) > SHOWN)
