"""What a training is expected to reach: a scaling law for small recurrent networks, and the dropout that it needs.

The loss is a multiple of that of a Kneser-Ney model of the same text, so that one law serves texts of every kind and unit. Its
terms are those of Hoffmann et al. 2022, equation 2; a text that is read again counts less and less, and so does a network beyond
what the text bears (Muennighoff et al. 2023, equations 5 and 11). `benchmarks/planning.py fit` fits the constants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MILLION = 1e6
MANY = 1_000  # kinds of symbols: the head costs more than the layers, and one vector of each symbol serves input and output
MOST_DROPOUT = 0.55
FREE = 2.0  # of the pressure: a network that feels less needs no dropout
STEPS = 20  # dropout is a multiple of 1 ÷ this


@dataclass(frozen=True)
class Facts:
    """What the law knows of a training: the number of weights in the layers, of the symbols of the text, those read in all and
    those of a step, and the length of a sequence."""

    weights: float
    text: float
    read: float
    a_step: float
    length: float

    @property
    def passes(self) -> float:
        """How often the text is read."""
        return self.read / self.text


@dataclass(frozen=True)
class Law:
    """loss ÷ loss of the n-gram model = 1 − G (1 − floor − network · N^−by_weights − text · P^−by_passes · U^−by_text)

    N are the weights of the layers for each symbol of the text, P the passes over it, both as far as they count, and U are its
    symbols in millions. G is the share of the gain that sequences of this length allow: an n-gram model sees most of a short one.
    Nine of ten of the trainings by which the constants were chosen are within the factor `spread` of the law.
    """

    floor: float
    network: float
    length: float  # symbols of a sequence that allows half of the gain
    by_weights: float = 0.20
    text: float = 0.105
    by_passes: float = 0.70
    by_text: float = 0.20
    repeats: float = 15.4  # times that a text can be read again before half of all gains are used up, about
    excess: float = 3.0  # the same for weights beyond one a symbol of the text
    crowd: float = 2000.0  # symbols a step of which half count, in a training of a million; more in a longer one
    pressure: float = 1.0  # to learn the text by heart, times that of letters
    spread: float = 1.08

    @property
    def most_passes(self) -> int:
        """The passes over a text after which the others could give less than a fiftieth of what all give."""
        return round(4 * self.repeats)  # exp(−4) = 0.018

    def ratio(self, facts: Facts) -> float:
        """The loss of such a training against the n-gram model's."""
        crowd = self.crowd * math.sqrt(facts.read / MILLION)  # the critical batch size of McCandlish et al. 2018
        passes = counting(facts.passes / (1 + facts.a_step / crowd), self.repeats)
        of_network = self.network * counting(facts.weights / facts.text, self.excess) ** -self.by_weights
        of_text = self.text * passes**-self.by_passes * (facts.text / MILLION) ** -self.by_text
        return 1 - facts.length / (facts.length + self.length) * (1 - self.floor - of_network - of_text)

    def dropout(self, weights: float, facts: Facts) -> float:
        """The dropout rate of a training; `weights` is the number of weights of the whole network.

        Both a larger network and more passes learn a text by heart; a tenth more is dropped whenever the pressure doubles, which
        is passes · √(weights ÷ symbols).
        """
        pressure = self.pressure * facts.passes * math.sqrt(weights / facts.text)
        rate = 0.1 * math.log2(max(pressure, FREE) / FREE)
        return min(MOST_DROPOUT, math.floor(rate * STEPS + 0.5) / STEPS)


# Of few kinds of symbols, such as letters, and of many, such as words, whose vectors hold much of what is learnt: they need more
# text, and a text that is read again teaches them less.
OF_FEW = Law(floor=0.70, network=0.182, length=20)
OF_MANY = Law(floor=0.74, network=0.08, length=2, by_text=0.9, repeats=6, pressure=2, spread=1.12)


def law(kinds: int) -> Law:
    """The law for a vocabulary with this number of kinds of symbols."""
    return OF_MANY if kinds > MANY else OF_FEW


def counting(amount: float, repeats: float) -> float:
    """What an amount is worth of which only the first unit is new: 1 + r (1 − exp(−(a − 1) ÷ r)) where it is more."""
    return amount if amount <= 1 else 1 + repeats * (1 - math.exp((1 - amount) / repeats))
