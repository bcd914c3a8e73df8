"""How well a model translates: nats, BLEU, chrF and exact matches with intervals, by the length of the source, beside baselines.

Every figure is a function of counts that are summed over pairs: n pairs, C counts each.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from lmgen.data.corpus import among
from lmgen.data.split import fingerprint
from lmgen.errors import InputError
from lmgen.evaluation import labels
from lmgen.evaluation.cards.overlap import Overlap
from lmgen.evaluation.nearest import Nearest
from lmgen.structured.pairs import Pair

AT_ONCE = 1024  # pairs that are translated and scored together
BLOCKS, FEW = labels.BLOCKS, labels.FEW  # resampled are this many to twice as many blocks of pairs, or all pairs of fewer
LONGEST = 2048  # symbols of a source; longer ones count as this long
ROWS = 5  # of the table by length
WORDS = 4  # of the n-grams that BLEU counts
ABSENT = "BLEU and chrF need sacrebleu, which is not installed: pip install sacrebleu"
SHORT = f"no BLEU: it counts n-grams of up to {WORDS} words, and the targets have fewer on average"
_HAN, _KANA = re.compile("[\u3400-\u9fff]"), re.compile("[\u3040-\u30ff]")


# ---- figures -----------------------------------------------------------------------------------------------------------


class Figure(NamedTuple):
    """A figure: the number of counts that it is computed from, and the function of their sums [R, counts] that gives it [R]."""

    counts: int
    of: Callable[[np.ndarray], np.ndarray]


def _ratio(sums: np.ndarray) -> np.ndarray:
    return sums[:, 0] / np.maximum(sums[:, 1], 1)


RATIO = Figure(2, _ratio)


class Scores:
    """The scores of sacrebleu by name, if it is installed."""

    def __init__(self, references: Sequence[str]):
        """`references` are some of the targets, whose script decides how BLEU cuts them into words."""
        try:
            from sacrebleu.metrics import BLEU, CHRF
        except ImportError:
            self._metrics: dict[str, Any] = {}
        else:
            self._metrics = {"bleu": BLEU(tokenize=_tokenizer(references), force=True), "chrf": CHRF()}
        self.figures = {
            name: Figure(self.counts(name, [""], [""]).shape[1], self._of(metric)) for name, metric in self._metrics.items()
        }

    def counts(self, name: str, texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """The counts [n, C] of texts beside their references."""
        return np.array(self._metrics[name]._extract_corpus_statistics(texts, [references]), np.float64)

    @staticmethod
    def _of(metric: Any) -> Callable[[np.ndarray], np.ndarray]:
        return lambda sums: np.array([metric._compute_score_from_stats(row.tolist()).score for row in sums])

    @property
    def signatures(self) -> dict[str, str]:
        """What sacrebleu prints beside a score, so that others can compute the same."""
        return {name: str(metric.get_signature()) for name, metric in self._metrics.items()}


def _tokenizer(references: Sequence[str]) -> str:
    """The tokenizer of sacrebleu for the script of some texts: by characters where no spaces separate words."""
    text = "".join(references)
    han, kana = len(_HAN.findall(text)), len(_KANA.findall(text))
    if 2 * (han + kana) <= sum(map(str.isalpha, text)) or not text:
        return "13a"
    return "char" if 10 * kana > han else "zh"


class Tally:
    """The counts of figures, summed over blocks of neighbouring pairs for resampling, and over the pairs of each length."""

    def __init__(self, figures: dict[str, Figure]):
        self.figures = figures
        ends = np.cumsum([figure.counts for figure in figures.values()])
        self._places = {name: slice(end - figures[name].counts, end) for name, end in zip(figures, ends, strict=True)}
        self._blocks = np.zeros((2 * BLOCKS, ends[-1]))
        self._each = 1  # pairs of a block
        self.pairs = 0
        self.lengths = np.zeros(LONGEST + 1, np.int64)  # how many sources have each length …
        self._by_length = np.zeros((LONGEST + 1, ends[-1]))  # … and the counts of these

    def add(self, counts: dict[str, np.ndarray], lengths: np.ndarray) -> None:
        """Add the counts [n, C] of each figure, of pairs whose sources have some lengths [n]."""
        rows, lengths = np.concatenate([counts[name] for name in self.figures], axis=1), np.minimum(lengths, LONGEST)
        while self.pairs + len(rows) > len(self._blocks) * self._each:  # two neighbours become one
            self._blocks[:BLOCKS] = self._blocks[::2] + self._blocks[1::2]
            self._blocks[BLOCKS:] = 0
            self._each *= 2
        np.add.at(self._blocks, (self.pairs + np.arange(len(rows))) // self._each, rows)
        np.add.at(self._by_length, lengths, rows)
        self.lengths += np.bincount(lengths, minlength=LONGEST + 1)
        self.pairs += len(rows)

    @property
    def blocks(self) -> np.ndarray:
        """The sums of each block [blocks, C]."""
        return self._blocks[: -(-self.pairs // self._each)]

    def values(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """The figures [R] of sums [R, C]."""
        return {name: figure.of(sums[:, self._places[name]]) for name, figure in self.figures.items()}

    def value(self, sums: np.ndarray) -> dict[str, float]:
        """The figures of the sum of sums [R, C]."""
        return {name: float(value[0]) for name, value in self.values(sums.sum(0, keepdims=True)).items()}

    def counts(self, name: str) -> np.ndarray:
        """The counts [C] of one figure, over all pairs."""
        return self.blocks[:, self._places[name]].sum(0)

    def resampled(self) -> dict[str, np.ndarray]:
        """The figures of each resample of the blocks [1000]; nothing for fewer than 20."""
        if len(self.blocks) < FEW:
            return {}
        some = [self.values(times @ self.blocks) for times in labels.draws(len(self.blocks))]
        return {name: np.concatenate([one[name] for one in some]) for name in self.figures}

    def rows(self) -> Iterator[tuple[int, int, int, dict[str, float]]]:
        """The figures of sources of similar length: the least and the greatest length, the number of pairs, the figures.

        Each row has as many pairs as the others, as far as pairs of one length allow it.
        """
        upto = np.cumsum(self.lengths)
        begin = 0
        for end in np.unique(np.searchsorted(upto, self.pairs * np.arange(1, ROWS + 1) / ROWS)):
            lengths = begin + np.flatnonzero(self.lengths[begin : end + 1])
            yield int(lengths[0]), int(end), int(self.lengths[lengths].sum()), self.value(self._by_length[lengths])
            begin = end + 1


# ---- the card ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """The figures of the pairs whose sources have `shortest` to `longest` symbols."""

    shortest: int
    longest: int
    pairs: int
    nats_per_symbol: float
    bleu: float | None
    chrf: float | None
    exact: float


@dataclass(frozen=True)
class Baseline:
    """The figures of a rule that translates."""

    name: str
    bleu: float | None
    chrf: float | None
    exact: float


@dataclass(frozen=True)
class PairCard:
    """The figures of a text of pairs.

    `nats` are those of the targets, each given its source, over `symbols`, EOS included, of which `unknown` are not in the
    vocabulary. `bleu` and `chrf` (0 to 100, with `signatures`) and the shares `exact`, `copied` and `novel` are of what the model
    wrote: the outputs that equal the target, that equal the source, and that are no target of the training text, up to white
    space. `intervals` (95 %, by a bootstrap over pairs) are by the name of the figure. `notes` say why a figure is None.
    """

    name: str
    pairs: int
    symbols: int
    unknown: int
    nats: float
    nats_per_symbol: float
    perplexity: float
    bleu: float | None
    chrf: float | None
    exact: float
    copied: float
    novel: float | None
    intervals: dict[str, tuple[float, float]]
    signatures: dict[str, str]
    by_length: list[Row]
    baselines: list[Baseline]
    notes: list[str]
    tally: Tally
    overlap: Overlap | None = None

    def as_dict(self) -> dict[str, Any]:
        """All of it but the raw counts, for JSON."""
        plain = {name: value for name, value in vars(self).items() if name not in ("name", "tally")}
        tables = {name: [vars(row) for row in getattr(self, name)] for name in ("by_length", "baselines")}
        return {"file": self.name, **plain, **tables, "overlap": self.overlap and vars(self.overlap)}


def difference(ours: PairCard, theirs: PairCard) -> dict[str, tuple[float, float]]:
    """The 95 % intervals of the differences of two models on the same pairs, by the same resamples (Koehn 2004)."""
    if ours.pairs != theirs.pairs:
        raise ValueError("the cards of the two models are not of the same pairs")
    first, second = ours.tally.resampled(), theirs.tally.resampled()
    return {name: labels.middle(first[name] - second[name]) for name in first if name in ours.intervals and name in second}


def card(lm: Any, name: str, examples: Iterable[Pair], baselines: bool = True, **decoding: Any) -> PairCard:
    """The figures of pairs by a model that translates; with `baselines`, also what needs its training text.

    `decoding` are settings of `predict`. Raises InputError for a text without a pair.
    """
    notes: list[str] = []
    known, nearest = _training(lm, notes) if baselines else (None, None)
    pairs, unknown, tallies = iter(examples), 0, dict[str, Tally]()
    scores: Scores | None = None
    while some := [*islice(pairs, AT_ONCE)]:
        sources, targets = [pair.source for pair in some], [pair.target for pair in some]
        scores = scores or Scores(targets)
        outputs = {"": [one.text for one in lm.predict(iter(sources), **decoding)]}
        if baselines:
            outputs["the source itself"] = sources
        if nearest:
            outputs["the nearest training source's"] = [*nearest.answers(sources)]
        lengths = np.array([len(lm.vocab.split(source)) for source in sources])
        for rule, texts in outputs.items():
            counts = _counts(scores, texts, targets)
            if not rule:
                scored = [*lm.score(iter(some))]
                unknown += sum(one.unknown for one in scored)
                counts["nats_per_symbol"] = np.array([(one.nats, len(one.symbols)) for one in scored])
                counts["copied"] = _shares(map(_same, texts, sources))
                if known is not None:
                    counts["novel"] = _shares(~among(_fingerprints(texts), known))
            if rule not in tallies:
                tallies[rule] = Tally({of: scores.figures.get(of, RATIO) for of in counts})
            tallies[rule].add(counts, lengths)
    if not scores:
        raise InputError(f"there is no pair in {name}: give a file with at least one")
    return _card(lm, name, tallies, unknown, scores, notes)


def _training(lm: Any, notes: list[str]) -> tuple[np.ndarray | None, Nearest | None]:
    """The sorted fingerprints of the targets of the training text, and an index of its sources; None where it is missing."""
    try:
        return np.sort(_fingerprints(pair.target for pair in lm.training_examples())), Nearest(lm.training_examples())
    except InputError as error:
        notes.append(f"no comparison with the training text: {error}")
        return None, None


def _plain(text: str) -> str:
    return " ".join(text.split())


def _same(one: str, other: str) -> bool:
    return _plain(one) == _plain(other)


def _fingerprints(texts: Iterable[str]) -> np.ndarray:
    return np.fromiter((fingerprint(_plain(text)) for text in texts), np.uint64)


def _shares(holds: Iterable[bool]) -> np.ndarray:
    """The counts [n, 2] of a share: 1 where it holds, and 1."""
    found = np.fromiter(holds, np.float64)
    return np.stack([found, np.ones_like(found)], axis=1)


def _counts(scores: Scores, texts: Sequence[str], targets: Sequence[str]) -> dict[str, np.ndarray]:
    """The counts [n, C] of the figures of translations beside the right ones."""
    return {of: scores.counts(of, texts, targets) for of in scores.figures} | {"exact": _shares(map(_same, texts, targets))}


def _card(lm: Any, name: str, tallies: dict[str, Tally], unknown: int, scores: Scores, notes: list[str]) -> PairCard:
    own = tallies[""]
    left_out = set()
    if not scores.figures:
        notes.append(ABSENT)
    elif own.counts("bleu")[1] < WORDS * own.pairs:
        notes.append(SHORT)
        left_out = {"bleu"}

    def shown(values: dict[str, Any], *names: str) -> dict[str, Any]:
        return {of: None if of in left_out else values.get(of) for of in names}

    values, (nats, symbols) = own.value(own.blocks), own.counts("nats_per_symbol")
    return PairCard(
        name=name,
        pairs=own.pairs,
        symbols=int(symbols),
        unknown=unknown,
        nats=float(nats),
        nats_per_symbol=values["nats_per_symbol"],
        perplexity=math.exp(min(values["nats_per_symbol"], 700)),
        **shown(values, "bleu", "chrf", "exact", "copied", "novel"),
        intervals={of: labels.middle(some) for of, some in own.resampled().items() if of not in left_out},
        signatures={of: signature for of, signature in scores.signatures.items() if of not in left_out},
        by_length=[Row(*place, **shown(row, "nats_per_symbol", "bleu", "chrf", "exact")) for *place, row in own.rows()],
        baselines=[
            Baseline(rule, **shown(tally.value(tally.blocks), "bleu", "chrf", "exact")) for rule, tally in tallies.items() if rule
        ],
        notes=notes,
        tally=own,
    )
