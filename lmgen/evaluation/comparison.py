"""Samples beside held-out text: what each set shares with a corpus, and whether the samples share more.

A set is summed up from the `Novelty` of each of its texts; the control is of the size and the lengths of the samples.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np

from lmgen.data.reading import Text, whole
from lmgen.data.split import Split, split_of
from lmgen.errors import InputError
from lmgen.evaluation.novelty import Index, Novelty

COPIED = 0.8  # of a sample in one span: a copy, or nearly
ENOUGH = 10  # samples, and as many of the control, from which on a verdict is given


@dataclass(frozen=True)
class Summary:
    """Of a set: how many and how long on average; the share that stands in the corpus, that which stands there exactly or but for
    case and white space at the ends, and that which stands there for 80 % or more in one span; the mean length of the longest
    spans and their mean share of the text; the share of all characters in spans of 50 or more, and of all n-grams that are new
    (None where there are none)."""

    count: int
    length: float
    known: float
    nearly: float
    copied: float
    span: float
    span_share: float
    shared: float
    new_ngrams: float | None


def summary(of: Sequence[Novelty]) -> Summary:
    """Sum up a set that is not empty."""
    count, characters, ngrams = len(of), sum(len(one.text) for one in of), sum(one.ngrams for one in of)
    return Summary(
        count,
        characters / count,
        sum(one.known for one in of) / count,
        sum(one.nearly for one in of) / count,
        sum(one.span_share >= COPIED for one in of) / count,
        sum(len(one.span) for one in of) / count,
        sum(one.span_share for one in of) / count,
        sum(one.shared * len(one.text) for one in of) / max(1, characters),
        sum((one.new_ngrams or 0) * one.ngrams for one in of) / ngrams if ngrams else None,
    )


class Interval(NamedTuple):
    """The bounds within which a difference lies at 95 %."""

    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or −1 where it leaves out 0, else 0."""
        return (self.low > 0) - (self.high < 0)

    def __str__(self) -> str:
        return f"95 % interval of the difference {self.low:+.1%} to {self.high:+.1%}"


@dataclass(frozen=True)
class Comparison:
    """Samples beside their control, both summed up; the difference of their shares of copies (`Summary.nearly`) and that of the
    mean shares of their longest spans, each with its 95 % interval; and what follows in a sentence."""

    samples: Summary
    control: Summary | None
    copies_difference: float | None
    copies_interval: Interval | None
    difference: float | None
    interval: Interval | None
    verdict: str


def compare(samples: Sequence[Novelty], control: Sequence[Novelty]) -> Comparison:
    """Do samples share more with the corpus than held-out text does?

    Judged by the share of copies, near ones included; where the interval of their difference (Newcombe's) holds 0, by the mean
    share of a text that its longest span covers (Welch's interval, from the variance of each set). With fewer than ten on either
    side nothing is judged.
    """
    ours = summary(samples)
    if not control:
        return Comparison(ours, None, None, None, None, None, "there is no held-out text to compare with")
    theirs = summary(control)
    copies, spans = ours.nearly - theirs.nearly, ours.span_share - theirs.span_share
    if min(len(samples), len(control)) < ENOUGH:
        few = f"{len(samples)} beside {len(control)} of held-out text are too few to tell: it takes {ENOUGH} of each"
        return Comparison(ours, theirs, copies, None, spans, None, few)
    of_copies = of_proportions(ours.nearly, ours.count, theirs.nearly, theirs.count)
    error = 1.96 * sqrt(sum(np.var([one.span_share for one in some], ddof=1) / len(some) for some in (samples, control)))
    of_spans = Interval(spans - error, spans + error)
    word = {1: "more", -1: "less", 0: "no more"}[of_copies.sign or of_spans.sign]
    verdict = (
        f"the samples share {word} with the corpus than held-out text does: {ours.nearly:.1%} of them stand in it, exactly or "
        f"but for case and spaces at the ends, and {theirs.nearly:.1%} of held-out text ({of_copies}); their longest spans cover "
        f"{ours.span_share:.1%} of them, those of held-out text {theirs.span_share:.1%} ({of_spans})"
    )
    return Comparison(ours, theirs, copies, of_copies, spans, of_spans, verdict)


def of_proportions(p: float, n: int, q: float, m: int) -> Interval:
    """The 95 % interval of the difference p − q of two proportions, of n and of m (Newcombe 1998, method 10)."""
    (p_low, p_high), (q_low, q_high) = wilson(p, n), wilson(q, m)
    low = p - q - sqrt((p - p_low) ** 2 + (q_high - q) ** 2)
    return Interval(low, p - q + sqrt((p_high - p) ** 2 + (q - q_low) ** 2))


def wilson(p: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """The bounds within which a proportion lies at 95 % that was p of n (Wilson 1927)."""
    middle, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


@dataclass(frozen=True)
class Reference:
    """What samples are compared with: the corpus, held-out sequences, and sentences on where these come from."""

    index: Index
    held_out: list[str]
    notes: list[str]


def reference(corpus: Text, control: Text | None = None, carry: bool = False) -> Reference:
    """Index a corpus. Without a control the part is left out on which `lmgen train` validates, and serves as one.

    Raises InputError where there is no text.
    """
    if control:
        train, held_out = list(whole(corpus)), list(whole(control))
        notes = [] if held_out else ["the control has no text, so there is nothing to compare with"]
    else:
        split = split_of(corpus, carry)
        train, held_out = (list(whole(split.part(corpus, side))) for side in (False, True))
        notes = [_about(held_out, split, corpus.sequence)]
    if not train:
        raise InputError(
            f"there is no text in {', '.join(map(str, corpus.paths))}: give the corpus that the model was trained on"
        )
    return Reference(Index(train), held_out, [*corpus.notes, *(control.notes if control else ()), *notes])


def _about(held_out: list[str], split: Split, noun: str) -> str:
    if not held_out:
        return "the corpus is too small to hold out a part of it, so there is nothing to compare with: give --control FILE"
    kept = "the control is the part of the corpus on which lmgen train validates, and the rest is what samples are compared with"
    return kept if split.head is not None else f"{kept}; it was held out by distinct {noun}s, so none of it stands in the rest"


def like(samples: Sequence[str], held_out: Sequence[str]) -> list[str]:
    """As many held-out texts as samples, where there are so many, each of the length of one, where there are so long ones.

    For each sample, in a drawn order, the shortest that is left of those at least as long, cut to its length; or the longest of
    the others. Where the samples have several lines and the held-out sequences one each, they are runs of these: of as many as a
    sample has lines (the median).
    """
    several = samples and not any("\n" in sequence for sequence in held_out)
    lines = sorted(sample.count("\n") + 1 for sample in samples)[len(samples) // 2] if several else 1
    cut = ("\n".join(held_out[k : k + lines]) for k in range(0, len(held_out) - lines + 1, lines))
    runs = [run for run in cut if run.strip()]
    draw = np.random.default_rng(0)
    left = sorted((runs[k] for k in draw.permutation(len(runs))), key=len)
    lengths = [len(run) for run in left]
    taken = []
    for wanted in [len(samples[k]) for k in draw.permutation(len(samples))][: len(runs)]:
        place = min(bisect_left(lengths, wanted), len(left) - 1)
        taken.append(left.pop(place)[:wanted])
        lengths.pop(place)
    return taken
