"""Samples beside held-out text: what each set shares with a corpus, and whether the samples share more.

A set is summed up from the `Novelty` of each of its texts; the control has the size and the lengths of the samples.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np

from lmgen.data.finding import names_of
from lmgen.data.reading import Text, whole
from lmgen.data.split import split_of
from lmgen.errors import InputError
from lmgen.evaluation.novelty import Index, Novelty

COPIED = 0.8  # the share of a sample in one span that makes it a copy, or nearly
ENOUGH = 10  # samples, and texts of the control, for a verdict


@dataclass(frozen=True)
class Summary:
    """A set of texts."""

    count: int
    length: float  # the mean
    known: float  # the share of them that is in the corpus …
    nearly: float  # … that is but for case and white space at the ends …
    copied: float  # … and that is for 80 % or more in one span
    span: float  # the mean length of the longest spans, and the mean share of the text in them
    span_share: float
    shared: float  # the share of all characters in spans of 50 or more
    new_ngrams: float | None  # the share of all n-grams; None if there are none


def summary(of: Sequence[Novelty]) -> Summary:
    """Sum up a set that is not empty."""
    count, characters, ngrams = len(of), sum(len(one.text) for one in of), sum(one.ngrams for one in of)
    return Summary(
        count=count,
        length=characters / count,
        known=sum(one.known for one in of) / count,
        nearly=sum(one.nearly for one in of) / count,
        copied=sum(one.span_share >= COPIED for one in of) / count,
        span=sum(len(one.span) for one in of) / count,
        span_share=sum(one.span_share for one in of) / count,
        shared=sum(one.shared * len(one.text) for one in of) / max(1, characters),
        new_ngrams=sum((one.new_ngrams or 0) * one.ngrams for one in of) / ngrams if ngrams else None,
    )


class Interval(NamedTuple):
    """The 95 % interval of a difference."""

    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or −1 if it excludes 0, else 0."""
        return (self.low > 0) - (self.high < 0)

    def __str__(self) -> str:
        return f"95 % interval of the difference {self.low:+.1%} to {self.high:+.1%}"


@dataclass(frozen=True)
class Comparison:
    """Samples and their control, summed up, their differences with 95 % intervals, and the conclusion in a sentence."""

    samples: Summary
    control: Summary | None = None
    copies_difference: float | None = None  # of `Summary.nearly`
    copies_interval: Interval | None = None
    difference: float | None = None  # of `Summary.span_share`
    interval: Interval | None = None
    verdict: str = "there is no held-out text to compare with"


def compare(samples: Sequence[Novelty], control: Sequence[Novelty]) -> Comparison:
    """Whether samples share more with the corpus than held-out text does.

    The share of copies decides, near ones included; if the interval of its difference (Newcombe's) contains 0, the mean share of
    a text in its longest span (Welch's interval, from the variance of each set). There is no verdict on fewer than ten texts.
    """
    ours = summary(samples)
    if not control:
        return Comparison(ours)
    theirs = summary(control)
    copies, spans = ours.nearly - theirs.nearly, ours.span_share - theirs.span_share
    if min(len(samples), len(control)) < ENOUGH:
        few = f"{len(samples)} samples and {len(control)} held-out texts are too few to tell: it takes {ENOUGH} of each"
        return Comparison(ours, theirs, copies, None, spans, None, few)
    of_copies = of_proportions(ours.nearly, ours.count, theirs.nearly, theirs.count)
    error = 1.96 * sqrt(sum(np.var([one.span_share for one in some], ddof=1) / len(some) for some in (samples, control)))
    of_spans = Interval(spans - error, spans + error)
    word = {1: "more", -1: "less", 0: "no more"}[of_copies.sign or of_spans.sign]
    verdict = (
        f"the samples share {word} with the corpus than held-out text does: {ours.nearly:.1%} of them are in it, exactly or "
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
    """The 95 % interval of a proportion that was p of n (Wilson 1927)."""
    middle, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


@dataclass(frozen=True)
class Reference:
    """What samples are compared with: the corpus, held-out sequences, and sentences about where these are from."""

    index: Index
    held_out: list[str]
    notes: list[str]


def reference(corpus: Text, control: Text | None = None, carry: bool = False) -> Reference:
    """Index a corpus. Without a control, the part on which `lmgen train` validates is left out and serves as one.

    Raises InputError if there is no text.
    """
    if control:
        train, held_out = list(whole(corpus)), list(whole(control))
        notes = [] if held_out else ["the control has no text, so there is nothing to compare with"]
    else:
        split = split_of(corpus, carry)
        train, held_out = (list(whole(split.part(corpus, side))) for side in (False, True))
        notes = ["the corpus is too small to hold out a part of it, so there is nothing to compare with: give --control FILE"]
        if held_out:
            notes = ["the control is the part of the corpus on which lmgen train validates; samples are compared with the rest"]
            if split.head is None:
                notes[0] += f", and none of it is there, since it was held out by distinct {corpus.sequence}s"
    if not train:
        raise InputError(f"there is no text in {names_of(corpus.paths)}: give the corpus that the model was trained on")
    return Reference(Index(train), held_out, [*corpus.notes, *(control.notes if control else ()), *notes])


def like(samples: Sequence[str], held_out: Sequence[str]) -> list[str]:
    """Held-out texts of the number and the lengths of the samples, as far as there are enough and long ones.

    For each sample, in a random order, this takes the shortest remaining text that is at least as long, cut to its length, or
    else the longest. If the samples have several lines and the held-out sequences one each, a text is a run of these, with as
    many lines as a sample (the median).
    """
    several = samples and not any("\n" in sequence for sequence in held_out)
    lines = sorted(sample.count("\n") + 1 for sample in samples)[len(samples) // 2] if several else 1
    cut = ("\n".join(held_out[k : k + lines]) for k in range(0, len(held_out) - lines + 1, lines))
    runs = [run for run in cut if run.strip()]
    draw = np.random.default_rng(0)
    left = sorted((runs[k] for k in draw.permutation(len(runs))), key=len)
    lengths = [len(run) for run in left]
    taken = []
    for k in draw.permutation(len(samples))[: len(runs)]:
        place = min(bisect_left(lengths, len(samples[k])), len(left) - 1)
        taken.append(left.pop(place)[: len(samples[k])])
        lengths.pop(place)
    return taken
