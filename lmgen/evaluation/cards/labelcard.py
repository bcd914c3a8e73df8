"""How well a model labels a text: accuracy, F1 and entity F1 with intervals, how far its confidence is off, beside baselines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lmgen.applied.labeller import Labeller
from lmgen.data.advice import number
from lmgen.errors import InputError
from lmgen.evaluation import labels
from lmgen.evaluation.baselines import FrequentTag, Majority, NaiveBayes
from lmgen.evaluation.cards.overlap import Overlap
from lmgen.evaluation.labels import Counts, Measure
from lmgen.labelled import calibration, tagging
from lmgen.labelled.examples import Example

Names = tuple[str, ...]
ABSENT = 1e-12  # the probability of a label that training has never seen


@dataclass(frozen=True)
class Row:
    """The figures of one label: `support` is how often it is gold."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Baseline:
    """The main figure of a rule that was fitted on the training text."""

    name: str
    value: float


@dataclass(frozen=True)
class LabelMeasures:
    """The measures of the labels of sequences, or of the tags of symbols (`of`).

    `accuracy` is the share that is right: of several labels, of the sequences whose labels are all right. `entity_f1` is that of
    the spans that BIO or IOBES tags mark, by the rule of conlleval. `interval` (95 %, by a bootstrap over sequences) is that of
    `main`: of the entity F1 where there are entities, of the micro F1 of several labels, else of the accuracy. `nats` a label,
    `calibration_error` and `brier` are of the calibrated probabilities. `unseen` labels are gold but not known to the model.
    """

    of: str
    count: int
    accuracy: float
    macro_f1: float
    micro_f1: float
    entity_f1: float | None
    main: str
    interval: tuple[float, float] | None
    nats: float
    calibration_error: float
    brier: float
    unseen: int
    rows: list[Row]
    entities: list[Row]
    names: list[str]
    confusion: np.ndarray | None
    counts: Counts
    baselines: list[Baseline] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The name of the main figure, in words."""
        return self.main.replace("_", " ").replace("f1", "F1")

    @property
    def value(self) -> float:
        """The main figure."""
        return float(getattr(self, self.main))

    def as_dict(self) -> dict[str, Any]:
        """All of it but the raw counts, for JSON."""
        plain = ("of", "count", "accuracy", "macro_f1", "micro_f1", "entity_f1", "main", "interval", "nats")
        found = {name: getattr(self, name) for name in (*plain, "calibration_error", "brier", "unseen")}
        tables = {name: [vars(row) for row in getattr(self, name)] for name in ("rows", "entities", "baselines")}
        confusion = None if self.confusion is None else {"labels": self.names, "counts": self.confusion.tolist()}
        return {**found, **tables, "confusion": confusion}


@dataclass(frozen=True)
class LabelCard:
    """The measures of a labelled text: of its labels, of its tags, or of both."""

    name: str
    sequences: int
    symbols: int
    unknown: int  # symbols that training has not seen
    labels: LabelMeasures | None
    tags: LabelMeasures | None
    lack: str = ""  # why there are no baselines
    nouns: tuple[str, str] = ("texts", "symbols")  # what sequences and symbols are
    overlap: Overlap | None = None
    further: int = 0  # texts with several labels for a model that predicts one: the first of them counts

    @property
    def parts(self) -> list[LabelMeasures]:
        return [part for part in (self.labels, self.tags) if part]

    @property
    def accuracy(self) -> float:
        """That of the labels or, without labels, of the tags."""
        return self.parts[0].accuracy

    @property
    def entity_f1(self) -> float | None:
        return self.tags.entity_f1 if self.tags else None

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON; the figures of the labels (or else of the tags) once more at the top."""
        top = {name: getattr(self.parts[0], name) for name in ("accuracy", "macro_f1", "micro_f1")}
        of = {part.of: part.as_dict() for part in self.parts}
        head: dict[str, Any] = {"file": self.name, "sequences": self.sequences, "symbols": self.symbols, "unknown": self.unknown}
        head |= {"overlap": self.overlap and vars(self.overlap), "further": self.further}
        return {**head, **top, "entity_f1": self.entity_f1, **of}


class Tally:
    """Gold and predicted labels, gathered sequence by sequence; `names` grows by gold labels that the model does not know."""

    def __init__(self, of: str, names: Names, several: bool, scheme: str | None):
        self.of, self.several, self.scheme = of, several, scheme
        self.known, self.names = len(names), [*names]
        self.ids = {name: k for k, name in enumerate(names)}
        self.gold: list[list[int]] = []  # of each sequence
        self.predicted: list[list[int]] = []
        self.confidence: list[float] = []
        self.nats = self.brier = 0.0

    def add(self, gold: Sequence[str], predicted: Sequence[str]) -> list[int]:
        """One sequence: its gold labels and the predicted ones."""
        for name in (*gold, *predicted):
            if name not in self.ids:
                self.ids[name] = len(self.names)
                self.names.append(name)
        ids = [self.ids[name] for name in gold]
        self.gold.append(ids)
        self.predicted.append([self.ids[name] for name in predicted])
        return ids

    def weigh(self, gold: list[int], p: np.ndarray) -> None:
        """The probabilities [n, K] of the labels gold [n]."""
        ids = np.array(gold, np.int64)
        known = ids < self.known
        right = np.where(known, p[np.arange(len(ids)), np.where(known, ids, 0)], ABSENT)
        self.nats -= float(np.log(np.maximum(right, ABSENT)).sum())
        self.brier += float((np.square(p).sum(1) - 2 * right * known + 1).sum())

    def weigh_several(self, gold: list[int], p: np.ndarray) -> None:
        """The probabilities [K] of independent labels."""
        holds = np.zeros(len(p), bool)
        holds[[k for k in gold if k < self.known]] = True
        self.nats -= float(np.log(np.maximum(np.where(holds, p, 1 - p), ABSENT)).sum())
        self.brier += float(np.square(p - holds).sum())
        self.confidence.extend(np.where(p >= 0.5, p, 1 - p))

    def main(self) -> tuple[str, Measure, list[str], Counts]:
        """The name of the main figure, how it is measured, and the names and the counts that it is of."""
        if self.scheme:
            named = ([[self.names[k] for k in ids] for ids in some] for some in (self.gold, self.predicted))
            both = tagging.scheme(self.names) or self.scheme  # that of the gold tags may have more letters: IOBES beside BIO
            return "entity_f1", labels.micro_f1, *labels.of_spans(next(named), next(named), both)
        name, measure = ("micro_f1", labels.micro_f1) if self.several else ("accuracy", labels.accuracy)
        return name, measure, self.names, self.counts()

    def counts(self) -> Counts:
        """The counts of the labels by sequence."""
        if self.several:
            return labels.of_sets(*self._sets())
        place = np.repeat(np.arange(len(self.gold)), [*map(len, self.gold)])
        return labels.of_labels(*self._flat(), len(self.names), place)

    def value(self) -> float:
        """The main figure."""
        _, measure, _, counts = self.main()
        return float(measure(counts.total))

    def _flat(self) -> tuple[np.ndarray, np.ndarray]:
        gold, predicted = (np.array([k for one in some for k in one], np.int64) for some in (self.gold, self.predicted))
        return gold, predicted

    def _sets(self) -> np.ndarray:
        """Which labels each sequence has, and which were predicted: bool [2, n, K]."""
        sets = np.zeros((2, len(self.gold), len(self.names)), bool)
        for table, some in zip(sets, (self.gold, self.predicted), strict=True):
            for row, ids in zip(table, some, strict=True):
                row[ids] = True
        return sets

    def measures(self, baselines: list[Baseline]) -> LabelMeasures:
        """All figures."""
        main, measure, names, counts = self.main()
        own = self.counts()
        if self.several:
            same = np.equal(*self._sets())
            right, correct, confusion = same.all(1), same[:, : self.known].reshape(-1), None
        else:
            right = correct = np.equal(*self._flat())
            confusion = labels.confusion(*self._flat(), len(self.names))
        n, total = max(1, len(right)), own.total
        return LabelMeasures(
            of=self.of,
            count=len(right),
            accuracy=float(right.sum()) / n,
            macro_f1=float(labels.macro_f1(total)),
            micro_f1=float(labels.micro_f1(total)),
            entity_f1=float(labels.micro_f1(counts.total)) if self.scheme else None,
            main=main,
            interval=labels.interval(measure, counts),
            nats=self.nats / n,
            calibration_error=calibration.calibration_error(np.array(self.confidence), correct) if len(right) else 0.0,
            brier=self.brier / n,
            unseen=sum(k >= self.known for ids in self.gold for k in ids),
            rows=_rows(self.names, total),
            entities=_rows(names, counts.total) if self.scheme else [],
            names=self.names,
            confusion=confusion,
            counts=counts,
            baselines=baselines,
        )


def _rows(names: Sequence[str], counts: Counts) -> list[Row]:
    figures = zip(names, labels.precision(counts), labels.recall(counts), labels.f1(counts), counts.gold, strict=True)
    return [Row(name, float(p), float(r), float(f), int(n)) for name, p, r, f, n in figures if n or p or r]


def card(lm: Labeller, name: str, examples: Iterable[Example], baselines: bool = True) -> LabelCard:
    """The measures of a labelled text by a model, beside baselines fitted on its training text.

    Raises InputError for a text that lacks the labels, or the tags, that the model predicts.
    """
    wanted = {"labels": (lm.config.labels, lm.config.several, None), "tags": (lm.config.tags, False, lm.labels.scheme)}
    tallies = {of: Tally(of, *how) for of, how in wanted.items() if how[0]}
    lack, rules = "", {}
    if baselines:
        try:
            rules = {of: _fitted(lm, of) for of in tallies}
        except InputError as error:
            lack = str(error)
    beside = {of: {rule: Tally(of, *wanted[of]) for rule in rules.get(of, {})} for of in tallies}
    sequences = symbols = unknown = further = 0
    for example, read, logits in lm.read(examples):
        if not read:
            continue  # training left such texts out, too
        sequences, symbols = sequences + 1, symbols + len(read)
        unknown += sum(not lm.seen(symbol) for symbol in read)
        prediction = lm.prediction(example, read, logits)
        for of, tally in tallies.items():
            gold = example.labels if of == "labels" else example.tags
            if gold is None or (not gold and not tally.several):
                raise InputError(
                    f"{name}, line {example.line:,} has no {of}, which this model predicts: give a text that has them"
                )
            if of == "tags":
                if len(gold) != len(read):
                    tags = f"{number(len(gold), 'tag')} for {number(len(read), 'symbol')}"
                    raise InputError(f"{name}, line {example.line:,}: {tags}: give tokens that are {lm.vocab.unit} symbols each")
                p = lm.probabilities(logits.tags, of)  # type: ignore[arg-type]
                tally.weigh(tally.add(gold, [tag for tag, _ in prediction.tags]), p)
                tally.confidence.extend(share for _, share in prediction.tags)
            elif tally.several:
                tally.weigh_several(tally.add(gold, prediction.chosen), lm.probabilities(logits.labels, of))  # type: ignore[arg-type]
            else:
                further += len(gold) > 1
                p = lm.probabilities(logits.labels, of)  # type: ignore[arg-type]
                tally.weigh(tally.add(gold[:1], prediction.chosen), p[None])
                tally.confidence.append(prediction.labels[0][1])
            for rule, its in beside[of].items():
                its.add(gold if of == "tags" or its.several else gold[:1], rules[of][rule].predict(example))
    if not sequences:
        raise InputError(f"there is no text in {name}: give a file with at least one line of it")
    found = {
        of: tally.measures([Baseline(rule, its.value()) for rule, its in beside[of].items()]) for of, tally in tallies.items()
    }
    parts = found.get("labels"), found.get("tags")
    return LabelCard(name, sequences, symbols, unknown, *parts, lack, further=further)


def _fitted(lm: Labeller, of: Any) -> dict[str, Any]:
    """The baselines, fitted on the training text of a model. Raises InputError where that is missing or has changed."""
    rules: dict[str, Any] = {"majority": Majority(of, lm.vocab.unit), "naive Bayes": NaiveBayes(lm.vocab.unit)}
    if of == "tags":
        rules = {"most frequent tag": FrequentTag(lm.vocab.unit)}
    return {name: rule.fit(lm.training_examples()) for name, rule in rules.items()}
